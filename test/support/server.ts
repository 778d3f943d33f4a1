/** A real server in this process, and ways to speak to it: well-formed requests and bare bytes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
} from 'node:http'
import { connect, type Socket } from 'node:net'
import { type Clock, SystemClock } from '../../src/clock.ts'
import type { HistoryLimits } from '../../src/engine/history.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { HttpServer } from '../../src/http/server.ts'
import { Log } from '../../src/log.ts'
import { SystemRandom } from '../../src/random.ts'
import { Access } from '../../src/service/access.ts'
import { Orchestrator } from '../../src/service/orchestrator.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'

/** Longer than anything here takes: a test that waits for ever should say what for. */
const PATIENCE_MS = 20_000

/** Of servers in tests, so that one can read what another wrote. */
export const TEST_MASTER_KEY = Buffer.alloc(32, 'key')

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** Of a JSON answer; undefined of any other. */
  body: unknown
}

export interface Asking {
  headers?: OutgoingHttpHeaders
  body?: string | Buffer | undefined
}

export interface ServerOptions {
  clock?: Clock
  policy?: Partial<Policy>
  maxTotalKeys?: number
  maxPools?: number
  history?: HistoryLimits | null
  /** Connections at a time. */
  maxSockets?: number
  /** In memory unless told otherwise. */
  openStore?: (events: StoreEvents) => Promise<Store>
  masterKeys?: readonly Buffer[]
}

/** A real server in this process, on a port of its own. `await using` closes it. */
export class TestServer implements AsyncDisposable {
  readonly port: number
  readonly orchestrator: Orchestrator
  readonly access: Access
  readonly http: HttpServer
  /** What it logged, a line each. */
  readonly logged: string[]
  readonly #agent: Agent

  private constructor(
    port: number,
    orchestrator: Orchestrator,
    access: Access,
    http: HttpServer,
    logged: string[],
    agent: Agent,
  ) {
    this.port = port
    this.orchestrator = orchestrator
    this.access = access
    this.http = http
    this.logged = logged
    this.#agent = agent
  }

  static async start(options: ServerOptions = {}): Promise<TestServer> {
    const { clock = new SystemClock(), policy, maxTotalKeys = 50_000, maxSockets = 32 } = options
    const limits = {
      maxTotalKeys,
      maxPools: options.maxPools ?? 10,
      history: options.history ?? null,
    }
    const inMemory = (events: StoreEvents): Store =>
      EmbeddedStore.inMemory(limits, clock, new SystemRandom(), events)
    const { openStore = inMemory } = options
    const orchestrator = await Orchestrator.start(clock, openStore, {
      policy: { ...DEFAULT_POLICY, ...policy },
      masterKeys: () => options.masterKeys ?? [TEST_MASTER_KEY],
      random: new SystemRandom(),
    })
    const logged: string[] = []
    const access = await Access.open(orchestrator, clock, new SystemRandom())
    orchestrator.whenDocumentsChange(() => access.refresh())
    const http = await HttpServer.create(
      orchestrator,
      access,
      new Log('debug', (line) => logged.push(line)),
      // Whoever asks shares its event loop, so that its being late says nothing.
      { stopwatch: () => 0 },
    )
    const port = await http.listen('127.0.0.1', 0)
    const agent = new Agent({ keepAlive: true, maxSockets })
    return new TestServer(port, orchestrator, access, http, logged, agent)
  }

  /** Sends a request and checks what holds for every answer. */
  async ask(method: string, path: string, asking: Asking = {}): Promise<Answer> {
    const answer = await ask(this.port, this.#agent, method, path, asking)
    checkAnswer(answer)
    return answer
  }

  /** Creates a key. @returns its id. */
  async create(): Promise<string> {
    const { body } = await this.ask('POST', '/keys')
    return (body as { keyId: string }).keyId
  }

  /** Draws a key that must be there. */
  async draw(): Promise<Drawn> {
    const { status, body } = await this.ask('GET', '/keys')
    assert.equal(status, 200)
    return body as Drawn
  }

  async show(keyId: string): Promise<Shown> {
    const { status, body } = await this.ask('GET', `/keys/${keyId}`)
    assert.equal(status, 200)
    return body as Shown
  }

  /** The status alone, of a request that says it all with that. */
  async status(method: string, path: string): Promise<number> {
    return (await this.ask(method, path)).status
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
    this.orchestrator.drain()
    await this.http.close()
    await this.orchestrator.close()
  }
}

export interface Drawn {
  keyId: string
  key_id: string
  leaseId: string
  fencingToken: number
  blockedUntil: string
}

export interface Shown {
  keyId: string
  key_id: string
  isBlocked: boolean
  blockedAt: string | null
  createdAt: string
  blockedUntil: string | null
  expiresAt: string | null
  keepAliveAt: string
  state: string
}

/** The id of no key. */
export const NOBODY = '00000000-0000-4000-8000-000000000000'

/** Every route that names a key, the one that ends it last. */
export function idRoutes(id: string): [string, string][] {
  return [
    ['GET', `/keys/${id}`],
    ['PUT', `/keepalive/${id}`],
    ['PUT', `/keys/${id}`],
    ['DELETE', `/keys/${id}`],
  ]
}

export function json(body: object | string): { headers: { 'content-type': string }; body: string } {
  return {
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  }
}

/** Whatever is asked, the answer may not be kept, is what it says it is, and shows nothing of the inside. */
export function checkAnswer({ status, headers, text, body }: Answer): void {
  assert.equal(headers['cache-control'], 'no-store')
  assert.notEqual(status, 500, text)
  // The script of the page is another project's.
  if (headers['content-type']?.startsWith('text/javascript') !== true)
    assert.doesNotMatch(text, /\bat .+:\d+:\d+|node_modules|node:internal/)
  if (body === undefined || !headers['content-type']?.startsWith('application/problem+json')) return
  const { title, status: said, code } = body as Record<string, unknown>
  assert.deepEqual([typeof title, said, typeof code], ['string', status, 'string'])
}

async function ask(
  port: number,
  agent: Agent,
  method: string,
  path: string,
  { headers = {}, body }: Asking,
): Promise<Answer> {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const framing =
    body === undefined || 'transfer-encoding' in headers
      ? {}
      : { 'content-length': Buffer.byteLength(body) } // Node frames no body of a GET by itself.
  const options = { host: '127.0.0.1', port, agent, method, path, signal }
  const asked = request({ ...options, headers: { ...headers, ...framing } })
  asked.end(body)
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  response.setEncoding('utf8')
  let text = ''
  // A stream of events never ends: that it begins is the answer.
  if (response.headers['content-type'] === 'text/event-stream') response.destroy()
  else for await (const part of response) text += String(part)
  const json = /^application\/(problem\+)?json/.test(response.headers['content-type'] ?? '')
  return {
    status: response.statusCode!,
    headers: response.headers,
    text,
    body: json && text !== '' ? JSON.parse(text) : undefined,
  }
}

/**
 * Sends bytes as they are, part by part, and reads until the server ends the connection. The client's own
 * end stays open, so that nothing is learned from it.
 */
export async function exchange(port: number, ...parts: (string | Buffer)[]): Promise<string> {
  const socket = await dial(port)
  for (const part of parts) if (socket.writable) socket.write(part)
  return received(socket)
}

/** A bare connection. Its end is not answered by an end, nor is a reset an error. */
export async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  socket.on('error', () => undefined)
  return socket
}

/** All that comes from a connection until the other side ends it. */
export async function received(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (part: string) => (text += part))
  const patience = setTimeout(() => socket.destroy(new Error('nobody answers')), PATIENCE_MS)
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
  clearTimeout(patience)
  socket.destroy()
  return text
}
