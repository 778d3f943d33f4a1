/** The client of Token Orchestrator: leases keys and sees to it that nobody uses one that is another's. */
import { LeaseLostError, ProblemError } from './errors.ts'
import { type HoldOptions, isGone, Lease, RENEWED_AT, renewalOf } from './lease.ts'
import { type Acquire, type Granted, LeaseCalls } from './lease-calls.ts'
import { outcomeOf, type Report } from './outcome.ts'
import { Transport, type TransportOptions } from './transport.ts'

export type { ClientClock } from './clock.ts'
export { type Problem, UnreachableError } from './errors.ts'
export { LeaseLostError, ProblemError }
export type { Lease } from './lease.ts'
export { outcomeOf, type Report } from './outcome.ts'
export { type Answer, type Asking, Transport, type TransportOptions } from './transport.ts'

export interface ClientOptions extends TransportOptions {
  /** False: each call is a request of its own. Otherwise those of one moment are joined to batches. */
  batch?: boolean
}

export interface LeaseOptions extends HoldOptions {
  /** Unless said the pool's. */
  ttlMs?: number
  /** How long to wait for a key where there is none to give; 30 s unless said. */
  waitMs?: number
  /** Who you are, for whoever looks after the pool. */
  holder?: string
  /** That key or none. */
  keyId?: string
  /** Gives up the asking, not the lease. */
  signal?: AbortSignal
}

export interface WithKeyOptions extends LeaseOptions {
  /** What an error that the work throws says about the key. */
  outcomeOf?: (error: unknown) => Report
}

const WAIT_MS = 30_000
/** The longest that the server lets wait at a time. */
const LONGEST_WAIT_MS = 60_000

export class TokenOrchestrator {
  /** For all else that the server can do: typed refusals, and sent again where that is safe. */
  readonly transport: Transport
  readonly #calls: LeaseCalls

  constructor(options: ClientOptions) {
    this.transport = new Transport(options)
    this.#calls = new LeaseCalls(this.transport, options.batch ?? true)
  }

  /**
   * Leases a key for as long as the work takes, and gives it back however that ends.
   * @throws what the work throws, and what `lease` does.
   */
  async withKey<T>(
    pool: string,
    work: (lease: Lease) => T | Promise<T>,
    options: WithKeyOptions = {},
  ): Promise<T> {
    const lease = await this.lease(pool, options)
    let report: Report = {}
    try {
      return await work(lease)
    } catch (error) {
      // What comes of stopping the work says nothing against the key.
      if (!lease.signal.aborted) report = (options.outcomeOf ?? outcomeOf)(error)
      throw error
    } finally {
      await lease.giveBack(report)
    }
  }

  /**
   * Leases a key, waiting for one if need be. It renews itself until it is released.
   * @throws ProblemError, UnreachableError, or the reason of the signal.
   */
  async lease(pool: string, options: LeaseOptions = {}): Promise<Lease> {
    const { waitMs = WAIT_MS } = options
    const { clock } = this.transport
    const until = clock.now() + waitMs
    for (;;) {
      const leftMs = Math.floor(until - clock.now())
      try {
        const lease = await this.#acquire(pool, options, Math.max(0, leftMs))
        if (lease.remainingMs > 0) return lease
        await lease.giveBack()
        if (leftMs <= 0) throw new LeaseLostError('not_renewed')
      } catch (error) {
        if (leftMs <= 0 || !mayAskAgain(error)) throw error
      }
    }
  }

  async #acquire(pool: string, options: LeaseOptions, leftMs: number): Promise<Lease> {
    const { ttlMs, holder, keyId, signal } = options
    const body: Acquire = {}
    if (ttlMs !== undefined) body.ttlMs = ttlMs
    if (holder !== undefined) body.holder = holder
    if (keyId !== undefined) body.keyId = keyId
    const waitUntil = this.transport.clock.now() + Math.min(leftMs, LONGEST_WAIT_MS)
    const granted = await this.#calls.acquire({ pool, body, waitUntil }, signal)
    const isFresh = this.#isFresh(granted)
    return new Lease(
      this.#calls,
      pool,
      isFresh ? granted : await this.#renewed(pool, granted, options),
      options,
    )
  }

  /** Nobody knows when a lease that was waited for began: unless enough of it is sure to be left, it is renewed first. */
  #isFresh({ lease, sentAt }: Granted): boolean {
    return this.transport.clock.now() - sentAt < lease.expiresInMs * RENEWED_AT
  }

  async #renewed(pool: string, granted: Granted, options: LeaseOptions): Promise<Granted> {
    const { leaseId, expiresInMs } = granted.lease
    const timeoutMs = this.transport.requestTimeoutMs
    const body = renewalOf(options)
    const renewal = { pool, leaseId, body, timeoutMs, retryForMs: expiresInMs }
    try {
      return await this.#calls.renew(renewal, options.signal)
    } catch (error) {
      // Nobody waits for that; what cannot be released ends by its TTL.
      this.#calls.release(pool, leaseId, {}).catch(() => undefined)
      throw error
    }
  }
}

/** No key came in the time that the server lets wait, or what came was lost on the way. */
function mayAskAgain(error: unknown): boolean {
  if (isGone(error)) return error.code !== 'pool_not_found'
  return (
    error instanceof ProblemError && ['pool_exhausted', 'pool_empty'].includes(error.problem.code)
  )
}
