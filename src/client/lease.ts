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
  readonly #calls: LeaseCalls
  readonly #granted: GrantedLease
  readonly #options: HoldOptions
  /** Made when somebody asks for it: few do, and it costs as much as all else here. */
  #lost: AbortController | null = null
  #whyLost: LeaseLostError | null = null
  /** Lost or released: no more renewals. */
  #isOver = false
  /** Gives up the renewal that is under way. */
  #renewing: AbortController | null = null
  /** By the client's clock, counted from the sending of the request that got it: not before that it ends. */
  #endsAt = 0
  #renewAt = 0
  #ttlMs = 0
  #cancelTimer = (): void => undefined
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
    this.#extend(sentAt, lease.expiresInMs)
  }

  /** What opens the door: the value, or the id of a key without one. */
  get key(): string {
    return this.value ?? this.keyId
  }

  /** Aborted, with a LeaseLostError, before the key can be another's. A release does not abort it. */
  get signal(): AbortSignal {
    this.#look()
    if (this.#lost === null) {
      this.#lost = new AbortController()
      if (this.#whyLost !== null) this.#lost.abort(this.#whyLost)
    }
    return this.#lost.signal
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
    if (this.#isOver) return 0
    return Math.max(0, this.#lostAt() - this.#now())
  }

  throwIfLost(): void {
    this.#look()
    if (this.#whyLost !== null) throw this.#whyLost
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

  /** When its signal is to be aborted, if no renewal succeeds until then. */
  #lostAt(): number {
    const marginMs = this.#options.marginMs ?? Math.min(this.#ttlMs * MARGIN, LONGEST_MARGIN_MS)
    return this.#endsAt - marginMs
  }

  /** It lasts so long from later than `sentAt`. */
  #extend(sentAt: number, expiresInMs: number): void {
    this.#ttlMs = Math.max(this.#ttlMs, expiresInMs)
    this.#endsAt = sentAt + expiresInMs
    this.#renewAt = sentAt + this.#ttlMs * RENEWED_AT
    this.#setTimer()
  }

  /** One for both, for there are many leases, and most are released before either comes. */
  #setTimer(): void {
    const lostAt = this.#lostAt()
    const now = this.#now()
    const isRenewalNext = this.#renewing === null && this.#renewAt < lostAt
    const dueAt = isRenewalNext ? this.#renewAt : lostAt
    this.#cancelTimer = this.#calls.transport.clock.callAfter(Math.max(0, dueAt - now), () => {
      if (isRenewalNext && this.#now() < this.#lostAt()) void this.#renew()
      else this.#lose('not_renewed', this.#whyNotRenewed)
    })
  }

  async #renew(): Promise<void> {
    const { requestTimeoutMs } = this.#calls.transport
    const renewing = new AbortController()
    this.#renewing = renewing
    this.#setTimer()
    const renewal = {
      pool: this.pool,
      leaseId: this.leaseId,
      body: renewalOf(this.#options),
      timeoutMs: Math.min(this.#ttlMs * RENEWAL_TIMEOUT, requestTimeoutMs),
      retryForMs: Math.max(0, this.#endsAt - this.#now()),
    }
    try {
      const { lease, sentAt } = await this.#calls.renew(renewal, renewing.signal)
      if (this.#isOver) return
      this.#renewed()
      this.#whyNotRenewed = undefined
      this.#extend(sentAt, lease.expiresInMs)
    } catch (error) {
      if (this.#isOver) return
      if (isGone(error)) {
        this.#lose(error.problem.reason ?? 'unknown', error)
        return
      }
      // An access token may be mended, a policy widened; until then the time runs down.
      this.#renewed()
      this.#whyNotRenewed = error
      this.#renewAt = this.#now() + this.#ttlMs * RENEWAL_TIMEOUT
      this.#setTimer()
    }
  }

  #renewed(): void {
    this.#cancelTimer()
    this.#renewing = null
  }

  /** Whoever asks looks at the clock: while the event loop is blocked no timer comes. */
  #look(): void {
    if (this.#now() >= this.#lostAt()) this.#lose('not_renewed', this.#whyNotRenewed)
  }

  #lose(reason: EndReason | 'not_renewed', cause?: unknown): void {
    if (this.#isOver) return
    this.#end()
    this.#whyLost = new LeaseLostError(reason, cause)
    this.#lost?.abort(this.#whyLost)
  }

  #end(): void {
    this.#cancelTimer()
    this.#isOver = true
    this.#renewing?.abort()
  }
}

export function renewalOf({ keepAlive = false }: HoldOptions): Renew {
  return keepAlive ? { keepAlive } : {}
}
