import type { EndReason, Refusal } from './errors.ts'
import type { StateName } from './rows.ts'
import type { Outcome } from './transitions.ts'

/**
 * What can be asked of a pool. Durations are whole ms, instants ms since the epoch; the caller has
 * checked ranges that do not depend on the pool (1 ms to 10 years, counts from 1 to 10 000).
 */
export type Operation =
  | CreateOperation
  | AcquireOperation
  | RenewOperation
  | ReleaseOperation
  | UnblockOperation
  | RevokeOperation
  | KeepAliveOperation
  | UpdateOperation
  | RemoveOperation
  | ShowOperation
  | ShowLeaseOperation
  | ListOperation
  | DescribeOperation
  | RecallOperation
  | RememberOperation

/** All or none. `lifetimeMs` makes keys with a lifetime of their own; null: they never die. */
export interface CreateOperation {
  op: 'create'
  count: number
  lifetimeMs?: number | null
}

/**
 * Leases for up to `count` random available keys, or for the one with that id. With a count of 0 none, but
 * what is said where there is none.
 */
export interface AcquireOperation {
  op: 'acquire'
  count: number
  ttlMs?: number | undefined
  keyId?: string | undefined
  /** So many available keys are left, for others who come first. */
  leave?: number | undefined
}

/** Without `ttlMs` the TTL of the grant or the last renewal. */
export interface RenewOperation {
  op: 'renew'
  leaseId: string
  ttlMs?: number | undefined
  keepAlive?: boolean | undefined
}

/** `retryAfterMs` (0 to 7 days) goes with `rate_limited` and `error`, `reason` with `invalid`. */
export interface ReleaseOperation {
  op: 'release'
  leaseId: string
  outcome?: Outcome | undefined
  retryAfterMs?: number | undefined
  reason?: string | undefined
}

/** The classic release, by key; with a lease id only if that lease is the current one. */
export interface UnblockOperation {
  op: 'unblock'
  keyId: string
  leaseId?: string | undefined
}

export interface RevokeOperation {
  op: 'revoke'
  keyId: string
}

export interface KeepAliveOperation {
  op: 'keepAlive'
  keyId: string
}

export interface UpdateOperation {
  op: 'update'
  keyId: string
  disabled?: boolean | undefined
  /** Why it is disabled, for those who look. */
  reason?: string | undefined
  coolingUntil?: null
}

export interface RemoveOperation {
  op: 'remove'
  keyId: string
}

export interface ShowOperation {
  op: 'show'
  keyId: string
}

export interface ShowLeaseOperation {
  op: 'showLease'
  leaseId: string
}

/** Keys in the order of their ids, after `cursor`. */
export interface ListOperation {
  op: 'list'
  limit: number
  state?: StateName | undefined
  cursor?: string | undefined
}

export interface DescribeOperation {
  op: 'describe'
}

/** Whether a request was done already. `key` names it, `body` tells one body from another. */
export interface RecallOperation {
  op: 'recall'
  key: string
  body: string
}

/** From now on the request is done: the `count` results before this one came of it. A single refusal is not kept. */
export interface RememberOperation {
  op: 'remember'
  key: string
  body: string
  count: number
}

/** What a holder is given. Its end is when the lease ends if nobody acts. */
export interface Lease {
  leaseId: string
  keyId: string
  fencingToken: number
  grantedAt: number
  expiresAt: number
  /** Null: the key does not die by itself. */
  keyExpiresAt: number | null
}

export interface Key {
  keyId: string
  state: StateName
  createdAt: number
  keepAliveAt: number
  expiresAt: number | null
  /** The flag; a leased key with it becomes disabled when its lease ends. */
  disabled: boolean
  disabledReason: string | null
  failures: number
  coolingUntil: number | null
  /** The current lease without its id, which only its holder may know. */
  lease: { fencingToken: number; grantedAt: number; expiresAt: number } | null
}

export interface PoolCounts {
  available: number
  leased: number
  cooling: number
  disabled: number
  /** The earliest end of a lease or cooldown; null if there is none. */
  nextAvailableAt: number | null
}

/** What each operation answers when it is not refused. */
export interface Answers {
  create: { keyIds: string[] }
  acquire: { leases: Lease[] }
  renew: { lease: Lease }
  release: { released: true } | { released: false; reason: EndReason }
  unblock: { keyId: string }
  revoke: { keyId: string }
  keepAlive: { keyId: string; expiresAt: number | null }
  update: { key: Key }
  remove: { keyId: string }
  show: { key: Key }
  showLease: { lease: Lease }
  list: { keys: Key[]; nextCursor: string | null }
  describe: { counts: PoolCounts }
  /** What it came to, as it is now; null: it is a new one. */
  recall: { results: readonly Result[] | null }
  remember: { remembered: boolean }
}

export type Result<O extends Operation = Operation> = Answers[O['op']] | Refusal

/** One result for each operation, in order. */
export type Results<O extends readonly Operation[]> = { [I in keyof O]: Result<O[I]> }

export function isRefusal(result: Result): result is Refusal {
  return 'code' in result
}
