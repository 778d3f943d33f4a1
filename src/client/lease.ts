/** A lease in the hands of its holder: it renews itself, and says by its signal when to stop. */
import type { EndReason, ErrorCode } from '../engine/errors.ts'
import { LeaseLostError, ProblemError } from './errors.ts'
import type { Granted, GrantedLease, LeaseCalls, Renew } from './lease-calls.ts'
import type { Report } from './outcome.ts'

export interface HoldOptions {
  /** Renewals put the death of the key off as well. */
  keepAlive?: boolean
  /** How long before the lease could be lost its signal is aborted: unless said a tenth of its TTL, at most 5 s. */
  marginMs?: number
  /** Hears of a lease that could not be released and ends by its TTL, where nothing is thrown. */
  onUnreleased?: (error: unknown, lease: Lease) => void
}

/** Of the TTL, from the sending of the request before. */
export const RENEWED_AT = 1 / 3
/** Of the TTL; so an answer that never comes leaves time for others. */
const RENEWAL_TIMEOUT = 1 / 6
const MARGIN = 1 / 10
const LONGEST_MARGIN_MS = 5000

/** After these there is nothing to renew or release. */
const GONE: readonly ErrorCode[] = ['lease_ended', 'lease_not_found', 'pool_not_found']

export function isGone(error: unknown): error is ProblemError {
  return error instanceof ProblemError && GONE.includes(error.code)
}

export class Lease implements AsyncDisposable {
  readonly pool: string
  readonly keyId: string
  readonly name: string | null
  readonly metadata: object | null
  /** What the key guards can refuse a lower one than it has seen. */
  readonly fencingToken: number
  readonly holder: string | null
  /** Aborted, with a LeaseLostError, before the key can be another's. A release does not abort it. */
  readonly signal: AbortSignal
  readonly #calls: LeaseCalls
  readonly #granted: GrantedLease
  readonly #options: HoldOptions
  readonly #lost = new AbortController()
  /** Aborted when it is lost or released: no more renewals. */
  readonly #over = new AbortController()
  /** By the client's clock, counted from the sending of the request that got it: not before that it ends. */
  #endsAt = 0
  #renewAt = 0
  #ttlMs = 0
  #cancelTimers = (): void => undefined
  #whyNotRenewed: unknown
  #released: Promise<boolean> | null = null

  constructor(calls: LeaseCalls, pool: string, granted: Granted, options: HoldOptions) {
    const { lease, sentAt } = granted
    this.#calls = calls
    this.#granted = lease
    this.#options = options
    this.pool = pool
    this.keyId = lease.keyId
    this.name = lease.name
    this.metadata = lease.metadata
    this.fencingToken = lease.fencingToken
    this.holder = lease.holder
    this.signal = this.#lost.signal
    this.#extend(sentAt, lease.expiresInMs)
  }

  /** What opens the door: the value, or the id of a key without one. */
  get key(): string {
    return this.value ?? this.keyId
  }

  // Not properties of the object, so that nobody logs them by accident.
  get value(): string | null {
    return this.#granted.value
  }

  /** Whoever knows it may renew and release. */
  get leaseId(): string {
    return this.#granted.leaseId
  }

  /** How long the key may surely be used if no renewal succeeds any more. */
  get remainingMs(): number {
    if (this.#over.signal.aborted) return 0
    return Math.max(0, this.#endsAt - this.#marginMs() - this.#now())
  }

  /** Looks at the clock too: while the event loop was blocked no signal can have been aborted. */
  throwIfLost(): void {
    if (this.#released === null && this.remainingMs === 0) this.#lose('not_renewed')
    this.signal.throwIfAborted()
  }

  /**
   * Gives the key back and says how it did; a second time is the first one. False: the lease had ended before, and
   * nothing has changed.
   * @throws what Transport.request does; the lease then ends by its TTL.
   */
  release(report: Report = {}): Promise<boolean> {
    return (this.#released ??= this.#release(report))
  }

  /** As release, but throws nothing: what was done with the key is done. */
  async giveBack(report: Report = {}): Promise<void> {
    try {
      await this.release(report)
    } catch (error) {
      this.#options.onUnreleased?.(error, this)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.giveBack()
  }

  async #release(report: Report): Promise<boolean> {
    this.#end()
    try {
      const { released, reason } = await this.#calls.release(this.pool, this.leaseId, report)
      // The answer to an earlier attempt may have been lost.
      return released || reason === 'released'
    } catch (error) {
      if (isGone(error)) return false
      throw error
    }
  }

  #now(): number {
    return this.#calls.transport.clock.now()
  }

  #marginMs(): number {
    return this.#options.marginMs ?? Math.min(this.#ttlMs * MARGIN, LONGEST_MARGIN_MS)
  }

  /** It lasts so long from later than `sentAt`. */
  #extend(sentAt: number, expiresInMs: number): void {
    this.#ttlMs = Math.max(this.#ttlMs, expiresInMs)
    this.#endsAt = sentAt + expiresInMs
    this.#renewAt = sentAt + this.#ttlMs * RENEWED_AT
    this.#setTimers()
  }

  #setTimers(): void {
    const { clock } = this.#calls.transport
    const now = clock.now()
    const renewal = clock.callAfter(Math.max(0, this.#renewAt - now), () => void this.#renew())
    const loss = clock.callAfter(Math.max(0, this.#endsAt - this.#marginMs() - now), () => {
      this.#lose('not_renewed', this.#whyNotRenewed)
    })
    this.#cancelTimers = () => {
      renewal()
      loss()
    }
  }

  async #renew(): Promise<void> {
    const { requestTimeoutMs } = this.#calls.transport
    const over = this.#over.signal
    try {
      const { lease, sentAt } = await this.#calls.renew(
        this.pool,
        this.leaseId,
        renewalOf(this.#options),
        {
          signal: over,
          timeoutMs: Math.min(this.#ttlMs * RENEWAL_TIMEOUT, requestTimeoutMs),
          retryForMs: Math.max(0, this.#endsAt - this.#now()),
        },
      )
      if (over.aborted) return
      this.#cancelTimers()
      this.#whyNotRenewed = undefined
      this.#extend(sentAt, lease.expiresInMs)
    } catch (error) {
      if (over.aborted) return
      if (isGone(error)) {
        this.#lose(error.problem.reason ?? 'unknown', error)
        return
      }
      // An access token may be mended, a policy widened; until then the time runs down.
      this.#whyNotRenewed = error
      this.#cancelTimers()
      this.#renewAt = this.#now() + this.#ttlMs * RENEWAL_TIMEOUT
      this.#setTimers()
    }
  }

  #lose(reason: EndReason | 'not_renewed', cause?: unknown): void {
    if (this.#over.signal.aborted) return
    this.#end()
    this.#lost.abort(new LeaseLostError(reason, cause))
  }

  #end(): void {
    this.#cancelTimers()
    this.#over.abort()
  }
}

export function renewalOf({ keepAlive = false }: HoldOptions): Renew {
  return keepAlive ? { keepAlive } : {}
}
