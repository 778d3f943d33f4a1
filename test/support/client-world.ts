/** The client and a real server in one virtual time, with a wire between them that does as it is told. */
import { type ClientOptions, TokenOrchestrator } from '../../src/client/client.ts'
import { isRefusal } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import { TestServer } from './server.ts'
import { PoolClient } from './v1.ts'
import { VirtualClock } from './virtual-clock.ts'

/**
 * What becomes of a request: done and answered; never answered, done or not; refused by the system; its
 * answer later by so many ms.
 */
export type Fate = 'answered' | 'request lost' | 'answer lost' | 'refused' | { lateMs: number }

export interface Sent {
  method: string
  path: string
  body: Record<string, unknown> | null
  idempotencyKey: string | null
  at: number
}

const POOL = 'pool'
/** More turns than anything here takes that waits for no time and no answer. */
const TURNS = 10
/** Time goes on in such steps, so that an answer is heard at most so much later. */
const STEP_MS = 200

export class ClientWorld implements AsyncDisposable {
  readonly clock: VirtualClock
  readonly server: TestServer
  readonly pool: PoolClient
  readonly sent: Sent[] = []
  /** Decides on each request; the first is number 0. */
  fate: (sent: Sent, number: number) => Fate = () => 'answered'
  readonly #due = new Map<number, Set<() => void>>()
  #underWay = 0
  #waiting = 0

  private constructor(clock: VirtualClock, server: TestServer, pool: PoolClient) {
    this.clock = clock
    this.server = server
    this.pool = pool
  }

  static async start(keys: number, policy: Partial<Policy> = {}): Promise<ClientWorld> {
    const clock = new VirtualClock()
    const server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: null, ...policy }, POOL)
    if (keys > 0) await pool.create(keys)
    return new ClientWorld(clock, server, pool)
  }

  client(options: Partial<ClientOptions> = {}): TokenOrchestrator {
    const { clock } = this
    return new TokenOrchestrator({
      url: `http://127.0.0.1:${this.server.port}/`,
      fetch: this.#fetch,
      clock: {
        now: () => clock.now(),
        callAfter: (delayMs, callback) => this.#callAt(clock.now() + Math.ceil(delayMs), callback),
      },
      random: () => 0.5,
      ...options,
    })
  }

  /** Lets time go by; `look` is called at each step, when all has come to rest. */
  async advance(ms: number, look: () => Promise<void> | void = () => undefined): Promise<void> {
    for (let left = ms; left > 0; left -= STEP_MS) {
      await this.settle()
      await this.clock.advance(Math.min(STEP_MS, left))
      await this.settle()
      await look()
    }
  }

  /** Until nothing more happens without time going by. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < TURNS; quiet++) {
      await this.clock.yield()
      if (this.#underWay > 0 || this.#waiting !== this.server.orchestrator.waiters(POOL)) quiet = 0
    }
  }

  /** Whether the server, asked behind the wire, says that the lease goes on. */
  async isLive(leaseId: string): Promise<boolean> {
    const [shown] = await this.server.orchestrator.run(POOL, [{ op: 'showLease', leaseId }])
    return !isRefusal(shown)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]()
  }

  /** What is due at one instant comes in one turn, as timers do. */
  #callAt(instant: number, callback: () => void): () => void {
    const due = this.#due.get(instant) ?? new Set()
    if (!this.#due.has(instant)) {
      this.#due.set(instant, due)
      this.clock.callAt(instant, () => {
        this.#due.delete(instant)
        for (const each of due) each()
      })
    }
    // A set has each thing once, and the same callback may be asked for twice.
    const once = (): void => {
      callback()
    }
    due.add(once)
    return () => {
      due.delete(once)
    }
  }

  readonly #fetch: typeof fetch = async (input, init) => {
    const url = new URL(input as string)
    const body = init!.body === null ? null : (JSON.parse(init!.body as string) as Sent['body'])
    const sent: Sent = {
      method: init!.method!,
      path: url.pathname,
      body,
      idempotencyKey: new Headers(init!.headers).get('idempotency-key'),
      at: this.clock.now(),
    }
    const fate = this.fate(sent, this.sent.push(sent) - 1)
    const { signal } = init!
    if (fate === 'refused') throw new TypeError('fetch failed')
    if (fate === 'request lost') return hang(signal!)
    const response = await this.#ask(url, init!, Number(body?.waitMs ?? 0) > 0)
    if (fate === 'answer lost') return hang(signal!)
    if (fate !== 'answered') await this.#pass(fate.lateMs, signal!)
    return response
  }

  /** Counts what is on its way, so that time does not go on without it. */
  async #ask(url: URL, init: RequestInit, waits: boolean): Promise<Response> {
    const count = (change: number): void => {
      if (waits) this.#waiting += change
      else this.#underWay += change
    }
    count(1)
    try {
      const response = await fetch(url, init)
      const { status, headers } = response
      return new Response(await response.text(), { status, headers })
    } finally {
      count(-1)
    }
  }

  #pass(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.callAt(this.clock.now() + ms, resolve)
      signal.addEventListener('abort', () => {
        cancel()
        reject(signal.reason as Error)
      })
    })
  }
}

function hang(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => {
      reject(signal.reason as Error)
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end)
  })
}
