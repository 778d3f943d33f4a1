/** What is asked of the server about leases: by single requests, or by batches where many ask at once. */
import type { BatchOperation } from '../http/contract/batch.ts'
import type {
  AcquireBody,
  Lease as GrantedLease,
  Released,
  RenewBody,
} from '../http/contract/leases.ts'
import { type Problem, ProblemError } from './errors.ts'
import { Joined, type Unanswered } from './joined.ts'
import type { Report } from './outcome.ts'
import type { Asking, Transport } from './transport.ts'

export type { GrantedLease }
export type Acquire = Omit<NonNullable<AcquireBody>, 'waitMs'>
export type Renew = NonNullable<RenewBody>

/** A lease as the server described it, and when it was asked to: `expiresInMs` counts from later. */
export interface Granted {
  lease: GrantedLease
  sentAt: number
}

export interface Acquisition {
  pool: string
  body: Acquire
  /** By the client's clock. */
  waitUntil: number
}

export interface Renewal {
  pool: string
  leaseId: string
  body: Renew
  timeoutMs: number
  retryForMs: number
}

interface Release {
  pool: string
  leaseId: string
  report: Report
}

/** Of a batch: only a problem has a code. */
type Done<T> = Problem | (T & { code?: never })
type Acquired = Done<{ leases: GrantedLease[] }>

/** There may be a key for who waits. */
const NOTHING_TO_GIVE = ['pool_exhausted', 'pool_empty']

export class LeaseCalls {
  readonly transport: Transport
  readonly #isJoining: boolean
  readonly #acquisitions: Joined<Acquisition, Granted>
  readonly #renewals: Joined<Renewal, Granted>
  readonly #releases: Joined<Release, Released>

  constructor(transport: Transport, isJoining: boolean) {
    const { clock } = transport
    this.transport = transport
    this.#isJoining = isJoining
    this.#acquisitions = new Joined(clock, {
      lane: ({ pool }) => pool,
      alone: (asked, signal) => this.#acquireOne(asked, signal),
      together: (asked, signal) => this.#acquireAll(asked, signal),
      unwanted: ({ pool }, { lease }) => {
        // What cannot be released ends by its TTL.
        this.release(pool, lease.leaseId, {}).catch(() => undefined)
      },
    })
    this.#renewals = new Joined(clock, {
      lane: ({ pool, timeoutMs }) => `${timeoutMs} ${pool}`,
      alone: (asked, signal) => this.#renewOne(asked, signal),
      together: (asked, signal) => this.#renewAll(asked, signal),
    })
    this.#releases = new Joined(clock, {
      lane: ({ pool }) => pool,
      alone: (asked) => this.#releaseOne(asked),
      together: (asked) => this.#releaseAll(asked),
    })
  }

  /** Waits at the server. What repeats it has the same Idempotency-Key, so that one key is leased at most. */
  acquire(asked: Acquisition, signal?: AbortSignal): Promise<Granted> {
    // For a certain key all others are of no use.
    if (!this.#isJoining || asked.body.keyId !== undefined) return this.#acquireOne(asked, signal)
    return this.#acquisitions.ask(asked, signal)
  }

  /** A renewal counts from when it is done, so that doing it twice is harmless. */
  renew(asked: Renewal, signal?: AbortSignal): Promise<Granted> {
    return this.#isJoining ? this.#renewals.ask(asked, signal) : this.#renewOne(asked, signal)
  }

  /** Of an ended lease nothing changes, so that doing it twice is harmless. */
  release(pool: string, leaseId: string, report: Report): Promise<Released> {
    const asked = { pool, leaseId, report }
    return this.#isJoining ? this.#releases.ask(asked) : this.#releaseOne(asked)
  }

  async #acquireOne(asked: Acquisition, signal?: AbortSignal): Promise<Granted> {
    const { requestTimeoutMs, retryForMs, clock } = this.transport
    const waitMs = Math.max(0, Math.floor(asked.waitUntil - clock.now()))
    const { body: lease, sentAt } = await this.transport.request('POST', leasesOf(asked.pool), {
      body: { ...asked.body, waitMs },
      idempotencyKey: newIdempotencyKey(),
      signal,
      timeoutMs: requestTimeoutMs + waitMs,
      retryForMs: retryForMs + waitMs,
    })
    return { lease: lease as GrantedLease, sentAt }
  }

  async #renewOne(asked: Renewal, signal?: AbortSignal): Promise<Granted> {
    const { pool, leaseId, body, timeoutMs, retryForMs } = asked
    const path = `${leasesOf(pool)}/${leaseId}/renew`
    const asking = { body, repeatable: true, signal, timeoutMs, retryForMs }
    const { body: lease, sentAt } = await this.transport.request('POST', path, asking)
    return { lease: lease as GrantedLease, sentAt }
  }

  async #releaseOne({ pool, leaseId, report }: Release): Promise<Released> {
    const path = `${leasesOf(pool)}/${leaseId}/release`
    const asking = { body: report, repeatable: true }
    const { body } = await this.transport.request('POST', path, asking)
    return body as Released
  }

  /** None of them waits: who finds nothing and would wait asks alone. */
  async #acquireAll(
    asked: readonly Acquisition[],
    signal: AbortSignal,
  ): Promise<(Granted | ProblemError | Unanswered)[]> {
    // Those who ask for the same are one operation.
    const shares = new Map<string, { count: number; body: Acquire; got: Acquired | null }>()
    const shareOf = asked.map(({ body }) => {
      const name = `${body.ttlMs} ${body.holder}`
      const share = shares.get(name) ?? { count: 0, body, got: null }
      shares.set(name, share)
      share.count++
      return share
    })
    const operations = Array.from(shares.values(), ({ count, body }) => ({
      op: 'acquire' as const,
      count,
      ...body,
    }))
    const idempotencyKey = newIdempotencyKey()
    const asking = { idempotencyKey, signal }
    const { results, sentAt } = await this.#batch(asked[0]!.pool, operations, asking)
    for (const [at, share] of [...shares.values()].entries()) share.got = results[at] as Acquired
    const now = this.transport.clock.now()
    return asked.map(({ waitUntil }, at) => {
      const got = shareOf[at]!.got!
      if (got.code === undefined) {
        const lease = got.leases.pop()
        return lease === undefined ? 'again' : { lease, sentAt }
      }
      if (NOTHING_TO_GIVE.includes(got.code) && waitUntil > now) return 'alone'
      return new ProblemError(got, null)
    })
  }

  async #renewAll(
    asked: readonly Renewal[],
    signal: AbortSignal,
  ): Promise<(Granted | ProblemError)[]> {
    const operations = asked.map(
      ({ leaseId, body }) => ({ op: 'renew', leaseId, ...body }) as const,
    )
    // Each tries again by itself, so that none needs more time than the one that has the least.
    const retryForMs = asked.reduce((least, one) => Math.min(least, one.retryForMs), Infinity)
    const { timeoutMs, pool } = asked[0]!
    const asking = { repeatable: true, signal, timeoutMs, retryForMs }
    const { results, sentAt } = await this.#batch(pool, operations, asking)
    return (results as Done<GrantedLease>[]).map((got) =>
      got.code === undefined ? { lease: got, sentAt } : new ProblemError(got, null),
    )
  }

  async #releaseAll(asked: readonly Release[]): Promise<(Released | ProblemError)[]> {
    const operations = asked.map(
      ({ leaseId, report }) => ({ op: 'release', leaseId, ...report }) as const,
    )
    const { results } = await this.#batch(asked[0]!.pool, operations, { repeatable: true })
    return (results as Done<Released>[]).map((got) =>
      got.code === undefined ? got : new ProblemError(got, null),
    )
  }

  async #batch(
    pool: string,
    operations: readonly BatchOperation[],
    asking: Asking,
  ): Promise<{ results: unknown[]; sentAt: number }> {
    const path = `/v1/pools/${encodeURIComponent(pool)}/batch`
    const answer = await this.transport.request('POST', path, { body: { operations }, ...asking })
    return { results: (answer.body as { results: unknown[] }).results, sentAt: answer.sentAt }
  }
}

/** Not a UUID by the platform: browsers have those only where a page came by TLS or from loopback. */
function newIdempotencyKey(): string {
  return crypto.getRandomValues(new BigUint64Array(2)).join('-')
}

function leasesOf(pool: string): string {
  return `/v1/pools/${encodeURIComponent(pool)}/leases`
}
