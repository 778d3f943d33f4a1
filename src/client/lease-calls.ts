/** What is asked of the server about leases: by single requests. */
import type {
  AcquireBody,
  Lease as GrantedLease,
  Released,
  RenewBody,
} from '../http/contract/leases.ts'
import type { Report } from './outcome.ts'
import type { Asking, Transport } from './transport.ts'

export type { GrantedLease }
export type Acquire = NonNullable<AcquireBody>
export type Renew = NonNullable<RenewBody>

/** A lease as the server described it, and when it was asked to: `expiresInMs` counts from later. */
export interface Granted {
  lease: GrantedLease
  sentAt: number
}

export class LeaseCalls {
  readonly transport: Transport

  constructor(transport: Transport) {
    this.transport = transport
  }

  /** Waits at the server. What repeats it has the same Idempotency-Key, so that one key is leased at most. */
  async acquire(pool: string, body: Acquire, signal?: AbortSignal): Promise<Granted> {
    const { requestTimeoutMs, retryForMs } = this.transport
    const waitMs = body.waitMs ?? 0
    const { body: lease, sentAt } = await this.transport.request('POST', leasesOf(pool), {
      body,
      idempotencyKey: crypto.randomUUID(),
      signal,
      timeoutMs: requestTimeoutMs + waitMs,
      retryForMs: retryForMs + waitMs,
    })
    return { lease: lease as GrantedLease, sentAt }
  }

  /** A renewal counts from when it is done, so that doing it twice is harmless. */
  async renew(
    pool: string,
    leaseId: string,
    body: Renew,
    limits: Pick<Asking, 'signal' | 'timeoutMs' | 'retryForMs'>,
  ): Promise<Granted> {
    const path = `${leasesOf(pool)}/${leaseId}/renew`
    const asking = { body, repeatable: true, ...limits }
    const { body: lease, sentAt } = await this.transport.request('POST', path, asking)
    return { lease: lease as GrantedLease, sentAt }
  }

  /** Of an ended lease nothing changes, so that doing it twice is harmless. */
  async release(pool: string, leaseId: string, report: Report): Promise<Released> {
    const path = `${leasesOf(pool)}/${leaseId}/release`
    const asking = { body: report, repeatable: true }
    const { body } = await this.transport.request('POST', path, asking)
    return body as Released
  }
}

function leasesOf(pool: string): string {
  return `/v1/pools/${encodeURIComponent(pool)}/leases`
}
