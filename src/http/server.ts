import { METHODS } from 'node:http'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'
import type { Log } from '../log.ts'
import type { Access } from '../service/access.ts'
import type { Orchestrator } from '../service/orchestrator.ts'
import { authorise, NO_POOL } from './authorisation.ts'
import { backupRoute } from './backup.ts'
import { answerBrokenRequest } from './broken-request.ts'
import { classicCreateRoute, classicRoutes } from './classic.ts'
import { dashboardRoutes } from './dashboard.ts'
import { documentRoutes } from './documents.ts'
import { checkLengthsFast } from './lengths.ts'
import { createListener, drain, listen, MAX_HEADER_BYTES, type Tls } from './listener.ts'
import { operationalRoutes } from './operational.ts'
import { Overload } from './overload.ts'
import { malformed, sendProblem } from './problem.ts'
import { type TracedRequest, traceRequests } from './tracing.ts'
import { batchRoutes } from './v1/batch.ts'
import { eventRoutes } from './v1/events.ts'
import { introspectionRoutes } from './v1/introspection.ts'
import { keyRoutes } from './v1/keys.ts'
import { leaseRoutes } from './v1/leases.ts'
import { poolRoutes } from './v1/pools.ts'
import { tokenRoutes } from './v1/tokens.ts'

const MAX_BODY_BYTES = 64 * 1024
/** Others have their turn between the reading of a body that is longer and the work on it. */
const LONG_BODY = 256 * 1024

const JSON_BODY = 'application/json'
const FORM = 'application/x-www-form-urlencoded'
const JSON_TYPE = /^application\/([\w.-]+\+)?json\s*(;|$)/i
const FORM_TYPE = /^application\/x-www-form-urlencoded\s*(;|$)/i
/** What a name of a field looks like. */
const FIELD = /^\w{1,24}$/
const UNDECODABLE = 'A % in a path begins two hex digits of UTF-8; a % itself is %25.'
const CLASSIC_KEY_PATH = /^\/(keys|keepalive)\/./

export interface HttpServerOptions {
  /** Null: it speaks plain HTTP. */
  tls?: Tls | null
  /** Told of each request. */
  trace?: ((request: TracedRequest) => void) | undefined
  /** In ms; by it an overload is known. */
  stopwatch?: () => number
}

/** The HTTP side of a server: its routes, and what they have in common. */
export class HttpServer {
  readonly #log: Log
  readonly #app: FastifyInstance

  private constructor(access: Access, log: Log, tls: Tls | null) {
    this.#log = log
    this.#app = Fastify({
      serverFactory: (dispatch) => createListener(dispatch, () => access.isOpen, tls),
      clientErrorHandler: answerBrokenRequest,
      bodyLimit: MAX_BODY_BYTES,
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_HEADER_BYTES },
      exposeHeadRoutes: false, // HEAD would draw a key
      return503OnClosing: false,
      logger: false,
      ajv: {
        plugins: [checkLengthsFast],
        customOptions: {
          coerceTypes: false,
          removeAdditional: false,
          useDefaults: false,
          discriminator: true,
          allowUnionTypes: true,
          verbose: true, // errors come with the schema, whose words may say more than a pattern
        },
      },
      frameworkErrors: (_error, request, reply: FastifyReply) => {
        // A path that is not even decodable: to the classic API one more key that does not exist.
        if (CLASSIC_KEY_PATH.test(request.raw.url!)) void reply.code(404).send({})
        else void sendProblem(reply, 'invalid_request', UNDECODABLE)
      },
    })
  }

  static async create(
    orchestrator: Orchestrator,
    access: Access,
    log: Log,
    { tls = null, trace, stopwatch = () => performance.now() }: HttpServerOptions = {},
  ): Promise<HttpServer> {
    const server = new HttpServer(access, log, tls)
    if (trace !== undefined) traceRequests(server.#app, trace)
    await server.#route(orchestrator, access, new Overload(stopwatch))
    return server
  }

  /**
   * @returns the port, chosen by the system where 0 was asked for.
   * @throws the system's error, where the address cannot be listened on.
   */
  listen(host: string, port: number): Promise<number> {
    return listen(this.#app.server, host, port)
  }

  /** Takes no more connections and resolves when all that was begun is answered. */
  async close(): Promise<void> {
    await drain(this.#app.server)
    await this.#app.close()
  }

  async #route(orchestrator: Orchestrator, access: Access, overload: Overload): Promise<void> {
    const app = this.#app
    for (const method of METHODS) {
      // Fastify would ask for a type of QUERY's body, before the 405.
      if (method === 'QUERY' || !app.supportedMethods.includes(method)) {
        app.addHttpMethod(method, { hasBody: false, overrideExisting: true })
      }
    }
    const allowed = new Map<string, string[]>()
    app.addHook('onRoute', ({ method, url }) => {
      allowed.set(url, [...(allowed.get(url) ?? []), ...[method].flat()])
    })
    app.decorateReply('errorCode', null)
    overload.watch(app)
    authorise(app, access)
    app.setErrorHandler(async (error: FastifyError, request, reply) => {
      const { code, detail } = this.#explain(error, request.routeOptions.bodyLimit)
      // Whether there is such a pool comes before what is wrong with the request.
      const { pool } = request.params as { pool?: string }
      const isPut = request.method === 'PUT' && pool !== NO_POOL
      const missing = pool !== undefined && !isPut && ERRORS[code].status < 500
      // While the store is away nobody knows, and what is wrong with the request is so all the same.
      if (missing && (await orchestrator.policy(pool).catch(() => null)) === undefined) {
        return sendProblem(reply, 'pool_not_found')
      }
      return sendProblem(reply, code, detail)
    })
    app.setNotFoundHandler((_request, reply) => sendProblem(reply, 'route_not_found'))

    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
      done(null, undefined)
    })
    classicRoutes(app, orchestrator)
    operationalRoutes(app, orchestrator, overload)
    backupRoute(app, orchestrator)
    documentRoutes(app)
    dashboardRoutes(app)
    eventRoutes(app, orchestrator, access)
    await app.register((scope, _options, done) => {
      scope.addContentTypeParser(JSON_TYPE, { parseAs: 'string' }, (_request, body, done) => {
        parseJson(body as string, done)
      })
      classicCreateRoute(scope, orchestrator)
      done()
    })
    await app.register((scope, _options, done) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser(types(FORM), { parseAs: 'string' }, (request, body, done) => {
        const type = request.headers['content-type']
        if (type !== undefined && FORM_TYPE.test(type)) parseForm(body as string, done)
        else done(malformed(`The body is a form: Content-Type: ${FORM}.`))
      })
      introspectionRoutes(scope, orchestrator)
      done()
    })
    await app.register((scope, _options, done) => {
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser(types(JSON_BODY), { parseAs: 'string' }, (request, body, done) => {
        const type = request.headers['content-type']
        if (body === '' || (type !== undefined && JSON_TYPE.test(type)))
          parseJson(body as string, done)
        else done(malformed(`The body is read as JSON only: say Content-Type: ${JSON_BODY}.`))
      })
      poolRoutes(scope, orchestrator)
      keyRoutes(scope, orchestrator)
      leaseRoutes(scope, orchestrator, access)
      batchRoutes(scope, orchestrator)
      tokenRoutes(scope, access, this.#log)
      done()
    })
    for (const [url, methods] of allowed) refuseOtherMethods(app, url, methods)
    await app.ready()
  }

  #explain(error: FastifyError, maxBytes = MAX_BODY_BYTES): { code: ErrorCode; detail?: string } {
    if (error.validation !== undefined) {
      return { code: 'invalid_request', detail: whatIsInvalid(error) }
    }
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
      return { code: 'body_too_large', detail: `At most ${maxBytes} bytes.` }
    }
    if (error.statusCode !== undefined && error.statusCode < 500) {
      return { code: 'invalid_request', detail: error.message }
    }
    // A failure of the store has a code of the table.
    if (Object.hasOwn(ERRORS, error.code)) return { code: error.code as ErrorCode }
    this.#log.error('a request failed', { error: error.stack ?? String(error) })
    return { code: 'internal_error' }
  }
}

interface Invalid {
  keyword: string
  instancePath: string
  params: Record<string, unknown>
  data?: unknown
  parentSchema?: {
    description?: string
    oneOf?: { properties: Record<string, { const?: unknown }> }[]
  }
}

/** The message names the place; what it leaves out is added. */
function whatIsInvalid({ message, validation, validationContext }: FastifyError): string {
  const { keyword, instancePath, params, data, parentSchema } = validation![0]! as Invalid
  if (validationContext === 'body' && instancePath === '' && (data ?? null) === null)
    return `The body is missing: ${message}.`
  if (keyword === 'pattern' && parentSchema?.description !== undefined)
    return `${message} (${parentSchema.description}).`
  if (keyword === 'enum') return `${message}: ${quoted(params.allowedValues as unknown[])}.`
  if (keyword === 'additionalProperties') return `${message}${named(params.additionalProperty)}.`
  if (keyword === 'discriminator') {
    const { tag, tagValue } = params as { tag: string; tagValue: unknown }
    const allowed = parentSchema!.oneOf!.map(({ properties }) => properties[tag]!.const)
    return `body${instancePath}/${tag} must be one of ${quoted(allowed)}${named(tagValue, ', not')}.`
  }
  return `${message}.`
}

function quoted(values: unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join(', ')
}

/** Quotes what may be a typo, and not what may be a secret in the wrong place. */
function named(word: unknown, before = ':'): string {
  return typeof word === 'string' && FIELD.test(word) ? `${before} "${word}"` : ''
}

function refuseOtherMethods(app: FastifyInstance, url: string, methods: string[]): void {
  const others = {
    method: app.supportedMethods.filter((method) => !methods.includes(method)),
    url,
    scopes: null,
  }
  app.route({
    ...others,
    handler: (_request, reply) => {
      reply.header('allow', methods.join(', '))
      return sendProblem(reply, 'method_not_allowed', `Use ${methods.join(' or ')}.`)
    },
  })
}

/** What is named is found at once; what only `*` finds is taken apart each time. */
function types(usual: string): string[] {
  return [usual, '*']
}

/** A field that comes twice is a list, which no schema here takes. */
function parseForm(text: string, done: (error: Error | null, body?: unknown) => void): void {
  const fields = new URLSearchParams(text)
  const names = [...new Set(fields.keys())]
  done(
    null,
    Object.fromEntries(
      names.map((name) => {
        const values = fields.getAll(name)
        return [name, values.length === 1 ? values[0] : values]
      }),
    ),
  )
}

/** An empty body is none. Properties are looked up by name only, so that `__proto__` is just unknown. */
function parseJson(text: string, done: (error: Error | null, body?: unknown) => void): void {
  if (text.trim() === '') {
    done(null)
    return
  }
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    done(malformed('The body is not valid JSON.'))
    return
  }
  if (text.length < LONG_BODY) done(null, body)
  else setImmediate(done, null, body)
}
