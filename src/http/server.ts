import {
  createServer,
  type IncomingMessage,
  METHODS,
  type Server,
  type OutgoingHttpHeaders,
  ServerResponse,
  STATUS_CODES,
} from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply } from 'fastify'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'
import type { Log } from '../log.ts'
import { Metrics } from '../service/metrics.ts'
import type { Orchestrator } from '../service/orchestrator.ts'
import { classicCreateRoute, classicRoutes } from './classic.ts'
import { whyNotLocal } from './guard.ts'
import { problem, PROBLEM_TYPE, sendProblem } from './problem.ts'

const MAX_BODY_BYTES = 64 * 1024
const MAX_HEADER_BYTES = 8 * 1024
const HEADERS_TIMEOUT_MS = 5000
/** To receive a request whole. */
const REQUEST_TIMEOUT_MS = 10_000
const KEEP_ALIVE_TIMEOUT_MS = 72_000
/** How often Node looks for connections that are over those times. */
const TIMEOUT_CHECK_MS = 1000
/** How long a connection that is given up may take to read its last answer. */
const LINGER_MS = 1000
/** How long the requests that are under way may take once the server is closing. */
const DRAIN_MS = 10_000

const JSON_TYPE = /^application\/([\w.-]+\+)?json\s*(;|$)/i
const MEDIA_TYPE = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(;|$)/
const CLASSIC_KEY_PATH = /^\/(keys|keepalive)\/./

/** Every answer says that it must not be kept. (`setHeader` would cost a fifth of a request.) */
class UncachedResponse extends ServerResponse {
  override writeHead(status: number, headers?: unknown): this {
    return super.writeHead(status, {
      ...(headers as OutgoingHttpHeaders),
      'cache-control': 'no-store',
    })
  }
}

/** The HTTP side of a server: routes, limits and timeouts. */
export class HttpServer {
  readonly #orchestrator: Orchestrator
  readonly #log: Log
  readonly #app: FastifyInstance
  readonly #server: Server
  #draining = false

  private constructor(orchestrator: Orchestrator, log: Log) {
    this.#orchestrator = orchestrator
    this.#log = log
    this.#app = Fastify({
      serverFactory: (dispatch) => {
        const handle = (request: IncomingMessage, response: ServerResponse): void => {
          if (this.#admit(request, response)) dispatch(request, response)
        }
        const server = createServer(
          {
            ServerResponse: UncachedResponse,
            requireHostHeader: false, // the guard sees to it
            joinDuplicateHeaders: true, // two hosts are none
            maxHeaderSize: MAX_HEADER_BYTES,
            headersTimeout: HEADERS_TIMEOUT_MS,
            requestTimeout: REQUEST_TIMEOUT_MS,
            keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
            connectionsCheckingInterval: TIMEOUT_CHECK_MS,
          },
          handle,
        )
        server.on('checkExpectation', handle) // Node would answer by itself.
        server.on('connect', (_request, socket: Socket) => {
          socket.on('error', () => socket.destroy()) // Node has let go of it: else it would end us
          answerBrokenRequest(new Error('CONNECT'), socket)
        })
        return server
      },
      clientErrorHandler: answerBrokenRequest,
      bodyLimit: MAX_BODY_BYTES,
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_HEADER_BYTES },
      exposeHeadRoutes: false, // HEAD would draw a key
      return503OnClosing: false,
      logger: false,
      ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
      frameworkErrors: (_error, request, reply: FastifyReply) => {
        // A path that is not even decodable: to the classic API one more key that does not exist.
        if (CLASSIC_KEY_PATH.test(request.raw.url!)) void reply.code(404).send({})
        else void sendProblem(reply, 'route_not_found')
      },
    })
    this.#server = this.#app.server
  }

  static async create(orchestrator: Orchestrator, log: Log): Promise<HttpServer> {
    const server = new HttpServer(orchestrator, log)
    await server.#route()
    return server
  }

  /**
   * @returns the port, chosen by the system where 0 was asked for.
   * @throws the system's error, where the address cannot be listened on.
   */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port }, resolve)
    })
    const address = this.#server.address()
    return typeof address === 'object' && address !== null ? address.port : port
  }

  /** Takes no more connections and resolves when all that was begun is answered. */
  async close(): Promise<void> {
    this.#draining = true
    // What is answered from now on leaves no idle connection to wait for.
    this.#server.keepAliveTimeout = 1
    this.#server.keepAliveTimeoutBuffer = 0
    const closed = new Promise((resolve) => this.#server.close(resolve))
    const timeout = setTimeout(() => {
      this.#server.closeAllConnections()
    }, DRAIN_MS)
    await closed
    clearTimeout(timeout)
    await this.#app.close()
  }

  /** What holds for every request before any route sees it. False: it has been answered. */
  #admit(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#draining) response.shouldKeepAlive = false
    const foreign = whyNotLocal(request)
    if (foreign !== null) {
      response.writeHead(ERRORS.not_local.status, { 'content-type': PROBLEM_TYPE })
      response.end(problem('not_local', foreign))
      return false
    }
    const type = request.headers['content-type']
    // A type that is none counts as no type: where bodies are ignored, so is what is said of them.
    if (type !== undefined && !MEDIA_TYPE.test(type)) delete request.headers['content-type']
    return true
  }

  async #route(): Promise<void> {
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
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => {
      done(null, undefined)
    })
    app.setErrorHandler((error: FastifyError, _request, reply) => {
      const { code, detail } = this.#explain(error)
      return sendProblem(reply, code, detail)
    })
    app.setNotFoundHandler((_request, reply) => sendProblem(reply, 'route_not_found'))

    classicRoutes(app, this.#orchestrator)
    await app.register((scope, _options, done) => {
      scope.addContentTypeParser(JSON_TYPE, { parseAs: 'string' }, (_request, body, done) => {
        parseJson(body as string, done)
      })
      classicCreateRoute(scope, this.#orchestrator)
      done()
    })
    this.#operationalRoutes()

    for (const [url, methods] of allowed) {
      const others = app.supportedMethods.filter((method) => !methods.includes(method))
      app.route({
        method: others,
        url,
        handler: (_request, reply) => {
          reply.header('allow', methods.join(', '))
          return sendProblem(reply, 'method_not_allowed', `Use ${methods.join(' or ')}.`)
        },
      })
    }
    await app.ready()
  }

  #operationalRoutes(): void {
    const app = this.#app
    const metrics = new Metrics(this.#orchestrator)
    app.get('/healthz', () => ({ status: 'ok' }))
    app.get('/readyz', (_request, reply) => {
      const { ready } = this.#orchestrator
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'draining' })
    })
    app.get('/metrics', async (_request, reply) => {
      return reply.type(metrics.contentType).send(await metrics.text())
    })
  }

  #explain(error: FastifyError): { code: ErrorCode; detail?: string } {
    if (error.validation !== undefined) {
      return { code: 'invalid_request', detail: `${error.message}.` }
    }
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
      return { code: 'body_too_large', detail: `At most ${String(MAX_BODY_BYTES)} bytes.` }
    }
    if (error.statusCode !== undefined && error.statusCode < 500) {
      return { code: 'invalid_request', detail: error.message }
    }
    this.#log.error('a request failed', { error: error.stack ?? String(error) })
    return { code: 'internal_error' }
  }
}

/** An empty body is none. Properties are looked up by name only, so that `__proto__` is just unknown. */
function parseJson(text: string, done: (error: Error | null, body?: unknown) => void): void {
  if (text.trim() === '') {
    done(null)
    return
  }
  try {
    done(null, JSON.parse(text))
  } catch {
    done(Object.assign(new Error('The body is not valid JSON.'), { statusCode: 400 }))
  }
}

/** What never became a request: the parser refused it, or it took too long. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  let code: ErrorCode = 'invalid_request'
  if (error.code === 'HPE_HEADER_OVERFLOW') code = 'headers_too_large'
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') code = 'request_timeout'
  const { status } = ERRORS[code]
  const body = problem(code)
  const answer =
    `HTTP/1.1 ${String(status)} ${STATUS_CODES[status]!}\r\n` +
    `Content-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${String(Buffer.byteLength(body))}\r\n` +
    `Cache-Control: no-store\r\nConnection: close\r\n\r\n${body}`
  // The answer to what came before it on the connection goes first.
  setImmediate(() => {
    if (!socket.writable) return
    socket.end(answer)
    socket.resume() // what is left unread would turn the end into a reset, and lose the answer
    setTimeout(() => socket.destroy(), LINGER_MS)
  })
}
