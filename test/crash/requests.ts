import type { KnownLease, ShownKey } from './known.ts'

/** What a server can be asked for. */
export type Request =
  | { op: 'create'; count: number }
  | { op: 'draw' }
  | { op: 'release'; lease: KnownLease }
  | { op: 'keepAlive' | 'remove' | 'show'; keyId: string }

/** A request that is under way. */
export interface Attempt {
  readonly request: Request
  readonly sentAt: number
  /** The highest fencing token that was answered before it was sent. */
  readonly tokenBefore: number
}

/** What an answer says; null: there is no such key or lease, or none to be had. */
export type Told =
  | { keyIds: string[] }
  | { lease: { keyId: string; leaseId: string; fencingToken: number; blockedUntil: number } }
  | { key: ShownKey }
  | { done: true }
  | null

/** What the server was started with. */
export interface Terms {
  keyLifetimeMs: number
  leaseTtlMs: number
}
