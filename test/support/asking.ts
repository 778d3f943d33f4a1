/** Requests made from the OpenAPI document, and who sends them and judges the answers. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import { type Document, droppedBy, type Operation, type Parameter } from './document.ts'
import { type FromSchema, oddOnes, valuesOf } from './from-schema.ts'
import { type Answer, type Asking, json, TestServer } from './server.ts'

/** One request, in which `@keyId:7@` stands for an id that the server has given. */
export interface Request {
  /** Of the operation. */
  id: string
  path: string
  headers: Record<string, string>
  body: string | undefined
}

const POOLS = ['default', 'alpha', 'beta']
const SERVER = { maxTotalKeys: 30_000, history: { keptMs: 60_000, records: 1000 } }
/** How long a request may be made to wait, lest the test does. */
const MAX_WAIT_MS = 10

/** Where an id is asked for, mostly one that there is. */
const ID_NAMES: Record<string, string> = {
  id: 'keyId',
  keyId: 'keyId',
  leaseId: 'leaseId',
  cursor: 'nextCursor',
}

const HOSTILE_TEXT = fc.constantFrom('__proto__', 'constructor', '..%2f', '%', '\0', 'ü', '🔑')

const FROM: Omit<FromSchema, 'resolve'> = {
  instead: (name) => {
    const kind = ID_NAMES[name]
    if (kind !== undefined) {
      return fc.oneof({ weight: 6, arbitrary: given(kind) }, { weight: 1, arbitrary: invented() })
    }
    if (name === 'pool') {
      const known = fc.constantFrom(...POOLS)
      return fc.oneof({ weight: 12, arbitrary: known }, { weight: 1, arbitrary: invented() })
    }
    if (name === 'token') {
      return fc.oneof(
        { weight: 6, arbitrary: given('keyId') },
        { weight: 1, arbitrary: invented() },
      )
    }
    if (name === 'waitMs') return fc.integer({ min: 0, max: MAX_WAIT_MS })
    return null
  },
}

function given(kind: string): fc.Arbitrary<string> {
  return fc.nat({ max: 500 }).map((at) => `@${kind}:${at}@`)
}

function invented(): fc.Arbitrary<string> {
  return fc.oneof(fc.string({ minLength: 1 }), fc.uuid(), HOSTILE_TEXT)
}

/** Requests of all operations, most of them valid. A pool is not deleted as often as it is used. */
export function requestsTo({ operations }: Document): fc.Arbitrary<Request> {
  const rare = ({ id, path }: Operation): boolean => id === 'deletePool' || !/keys|pools/.test(path)
  return fc.oneof(
    ...operations.map((operation) => ({
      weight: rare(operation) ? 1 : 4,
      arbitrary: requestsOf(operation),
    })),
  )
}

function requestsOf(operation: Operation): fc.Arbitrary<Request> {
  const resolve = operation.document.resolve.bind(operation.document)
  const from = idsOf(operation, { ...FROM, resolve })
  const path = operation.parameters.filter((parameter) => parameter.in === 'path')
  const segments = fc.record(
    Object.fromEntries(path.map(({ name, schema }) => [name, textOf(name, schema, from)])),
  )
  return fc
    .record({
      segments,
      query: queryOf(operation, from),
      header: headerOf(operation),
      asked: bodyOf(operation, from),
    })
    .map(({ segments, query, header, asked: { body, headers } }) => ({
      id: operation.id,
      path:
        operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encode(segments[name]!)) +
        query,
      headers: { ...headers, ...header },
      body,
    }))
}

/** An access token's id is called as any other. */
function idsOf({ path }: Operation, from: FromSchema): FromSchema {
  if (!path.startsWith('/v1/tokens')) return from
  return {
    ...from,
    instead: (name, schema) => (name === 'id' ? given('id') : from.instead(name, schema)),
  }
}

function textOf(name: string, schema: Parameter['schema'], from: FromSchema): fc.Arbitrary<string> {
  const values = from.instead(name, schema) ?? valuesOf(schema, from)
  return values.map((value) => String(value)).filter((text) => text !== '')
}

/** As it goes into a URL; what stands for ids stays as it is. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(/%40(\w+)%3A(\d+)%40/g, '@$1:$2@')
}

function queryOf({ parameters }: Operation, from: FromSchema): fc.Arbitrary<string> {
  const fields = parameters
    .filter((parameter) => parameter.in === 'query')
    .map(({ name, schema }) =>
      fc.option(
        (from.instead(name, schema) ?? valuesOf(schema, from)).map(
          (value) => [name, value] as const,
        ),
      ),
    )
  const odd = fc.tuple(fc.constantFrom('limit', 'force', 'foo', '__proto__'), invented())
  const some = fc.tuple(...fields).map((pairs) => pairs.filter((pair) => pair !== null))
  return fc
    .tuple(
      some,
      fc.oneof({ weight: 6, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.tuple(odd) }),
    )
    .map(([pairs, others]) => {
      const texts = [...pairs, ...others].flatMap(([name, value]) =>
        [value].flat().map((one) => `${encode(name)}=${encode(String(one))}`),
      )
      return texts.length === 0 ? '' : `?${texts.join('&')}`
    })
}

type Headers = Record<string, string>

function headerOf({ id, parameters }: Operation): fc.Arbitrary<Headers> {
  const none: fc.Arbitrary<Headers> = fc.constant({})
  if (id === 'verify') return given('keyId').map((key): Headers => ({ 'x-api-key': key }))
  const strange = fc.constantFrom('Basic YTpi', 'Bearer tok_unknown', 'Bearer', 'é')
  const value = fc.constantFrom('a', 'b', 'c', 'é', 'x'.repeat(256))
  const isRepeatable = parameters.some((parameter) => parameter.in === 'header')
  return fc.oneof(
    { weight: 14, arbitrary: none },
    { weight: 1, arbitrary: strange.map((authorization): Headers => ({ authorization })) },
    {
      weight: isRepeatable ? 7 : 0,
      arbitrary: value.map((key): Headers => ({ 'idempotency-key': key })),
    },
  )
}

interface Body {
  headers: Record<string, string>
  body: string | undefined
}

/** Text that is no JSON, or more of it than anybody means. */
const RAW = [
  ...[
    '',
    ' ',
    '{',
    'NaN',
    '{"count":NaN}',
    '{"count":1e999}',
    '{"count":01}',
    "{'count':1}",
    '\ufeff{}',
  ],
  ...['{"__proto__":{"count":2}}', '{"count":1,"count":2}', '[]', '"', 'null', '0', '\0'],
  ...['['.repeat(30_000), '{"operations":'.repeat(4000), `"${'x'.repeat(70_000)}"`],
]
const FORM = 'application/x-www-form-urlencoded'
const TYPES = [
  FORM,
  'application/json',
  'application/json; charset=utf-8',
  'text/plain',
  'a/b',
  'junk',
]

function bodyOf({ body, bodyType }: Operation, from: FromSchema): fc.Arbitrary<Body> {
  const none: fc.Arbitrary<Body> = fc.constant({ headers: {}, body: undefined })
  const raw = fc
    .tuple(fc.constantFrom(...RAW), fc.constantFrom(...TYPES))
    .map(([body, type]) => ({ headers: { 'content-type': type }, body }))
  const some = fc.oneof({ weight: 8, arbitrary: none }, { weight: 1, arbitrary: raw })
  if (body === undefined) return some
  const values = valuesOf(body, from)
  const asked = (value: unknown): Body =>
    bodyType === FORM ? form(value) : json(JSON.stringify(value, patient))
  return fc.oneof(
    { weight: 14, arbitrary: values.map(asked) },
    { weight: 5, arbitrary: oddOnes(values).map(asked) },
    { weight: 2, arbitrary: some },
  )
}

function form(value: unknown): Body {
  const pairs = Object.entries(value ?? {}).map(([name, one]) => [name, String(one)])
  return { headers: { 'content-type': FORM }, body: new URLSearchParams(pairs).toString() }
}

function patient(name: string, value: unknown): unknown {
  return name === 'waitMs' && typeof value === 'number' && value > MAX_WAIT_MS && value <= 60_000
    ? MAX_WAIT_MS
    : value
}

/** Sends requests to a server of its own, fills in the ids that it was given, and judges each answer. */
export class Asker implements AsyncDisposable {
  readonly #server: TestServer
  readonly #document: Document
  readonly #payloads: Map<string, unknown>
  /** Of an admin, who never deletes himself. */
  readonly #secret: string
  readonly #ownId: string
  /** Ids of each kind by pool, for elsewhere they are none. */
  readonly #given = new Map<string, string[]>()
  #asked = 0

  private constructor(
    server: TestServer,
    document: Document,
    payloads: Map<string, unknown>,
    { secret, id }: { secret: string; id: string },
  ) {
    this.#secret = secret
    this.#ownId = id
    this.#server = server
    this.#document = document
    this.#payloads = payloads
  }

  static async start(document: Document): Promise<Asker> {
    const payloads = new Map<string, unknown>()
    const server = await withPayloads(payloads, () => TestServer.start(SERVER))
    const admin = { name: 'admin', scopes: ['admin'], pools: '*', lifetimeMs: null } as const
    const made = await server.access.create(admin)
    if (!('secret' in made)) throw new Error(made.code)
    const { secret, token } = made
    const asker = new Asker(server, document, payloads, { secret, id: token.id })
    const make = (method: string, path: string, body: object): Promise<Answer> =>
      asker.#ask(method, path, {
        headers: { ...asker.#introduction(''), 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    await make('PUT', '/v1/pools/alpha', { maxLeaseTotalMs: 200, maxKeys: 20 })
    await make('PUT', '/v1/pools/beta', { cooldownMs: 50, maxLeaseTtlMs: 70_000 })
    for (const pool of POOLS) await make('POST', `/v1/pools/${pool}/keys`, { count: 4 })
    await make('POST', '/v1/tokens', { name: 'spare', scopes: ['read'], pools: '*' })
    return asker
  }

  /** @returns the status, which is documented as the whole answer is. @throws Error that says the fault. */
  async ask({ id, path, headers, body }: Request): Promise<number> {
    const operation = this.#document.operations.find((one) => one.id === id)!
    const number = String(this.#asked++)
    const pool = poolOf(path)
    const target = this.#fill(pool, path)
    const filled = {
      headers: { ...this.#introduction(id), ...this.#fillAll(pool, headers), 'x-asked': number },
      body: body && this.#fill(pool, body),
    }
    const answer = await this.#ask(operation.method, target, filled)
    const fault = this.#document.faultOf(operation, answer)
    const request = `${operation.method} ${target} ${JSON.stringify(filled).slice(0, 500)}`
    if (fault !== null) throw new Error(`${fault}\n${request}`)
    const payload = this.#payloads.get(number)
    if (payload !== undefined && droppedBy(payload, answer)) {
      throw new Error(`${id} says less than it means: ${answer.text}\n${request}`)
    }
    this.#payloads.clear()
    return answer.status
  }

  async #ask(method: string, path: string, asking: Asking): Promise<Answer> {
    const answer = await this.#server.ask(method, path, asking)
    if (answer.status < 300) this.#learn(poolOf(path), '', answer.body)
    return answer
  }

  /** Who asks, where that operation looks for it. */
  #introduction(id: string): Headers {
    return id === 'verify'
      ? { 'x-access-token': this.#secret }
      : { authorization: `Bearer ${this.#secret}` }
  }

  #fillAll(pool: string, headers: Headers): Headers {
    const filled = Object.entries(headers).map(([name, text]) => [name, this.#fill(pool, text)])
    return Object.fromEntries(filled) as Headers
  }

  #fill(pool: string, text: string): string {
    return text.replaceAll(/@(\w+):(\d+)@/g, (_, kind: string, at: string) => {
      const known = this.#given.get(`${pool} ${kind}`) ?? []
      // The latest are those that are most likely still there.
      return known.at(-1 - (Number(at) % Math.min(known.length, 20))) ?? `no-${kind}`
    })
  }

  /** `keyIds` are so many of `keyId`. */
  #learn(pool: string, name: string, part: unknown): void {
    if (typeof part === 'string') {
      if (part === this.#ownId) return
      const kind = `${pool} ${name}`
      this.#given.set(kind, [...(this.#given.get(kind) ?? []), part])
    } else if (Array.isArray(part)) {
      for (const one of part) this.#learn(pool, name.replace(/s$/, ''), one)
    } else if (typeof part === 'object' && part !== null) {
      for (const [field, value] of Object.entries(part)) this.#learn(pool, field, value)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]()
  }
}

function poolOf(path: string): string {
  return /^\/v1\/pools\/([^/?]+)/.exec(path)?.[1] ?? 'default'
}

/** What handlers answer before it is serialised, by the number that the request came with. */
async function withPayloads<T>(
  payloads: Map<string, unknown>,
  start: () => Promise<T>,
): Promise<T> {
  const listen = (message: unknown): void => {
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.addHook('preSerialization', async (request, _reply, payload) => {
      payloads.set(request.headers['x-asked'] as string, payload)
      return payload
    })
  }
  subscribe('fastify.initialization', listen)
  try {
    return await start()
  } finally {
    unsubscribe('fastify.initialization', listen)
  }
}
