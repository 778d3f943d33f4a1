import type { ChangeName } from './changes.ts'
import type { SealedValue } from './details.ts'
import type { EndReason, Refusal } from './errors.ts'
import type { StateName } from './rows.ts'
import type { Outcome } from './transitions.ts'

/**
 * What can be asked of a pool. Durations are whole ms, instants ms since the epoch; the caller has
 * checked ranges that do not depend on the pool (1 ms to 10 years, counts from 1 to 10 000).
 */
export type Operation =
  | CreateOperation
  | ImportOperation
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
  | ListLeasesOperation
  | RevokeLeasesOperation
  | DescribeOperation
  | HistoryOperation
  | RecallOperation
  | RememberOperation

/** Operations that change nothing. */
export const READS = new Set<Operation['op']>([
  'show',
  'showLease',
  'list',
  'listLeases',
  'describe',
  'recall',
  'history',
])

/** Who asks for it, for the history: the name of an access token. */
export interface Attributed {
  by?: string | undefined
}

/** All or none. `lifetimeMs` makes keys with a lifetime of their own; null: they never die. */
export interface CreateOperation extends Attributed {
  op: 'create'
  count: number
  lifetimeMs?: number | null
}

/** Keys with values, all or none. */
export interface ImportOperation extends Attributed {
  op: 'import'
  keys: readonly NewKey[]
  /** What becomes of a value that the pool holds already: the call is refused, or it is passed over. */
  onDuplicate: 'refuse' | 'skip'
}

export interface NewKey {
  value: SealedValue
  name: string | null
  /** A JSON object, as text. */
  metadata: string | null
  /** Undefined: that of the pool, as of a generated key; null: it never dies. */
  lifetimeMs?: number | null | undefined
}

/**
 * Leases for up to `count` (1) random available keys, or for the one with that id. With a count of 0 none,
 * but what is said where there is none.
 */
export interface AcquireOperation {
  op: 'acquire'
  count?: number | undefined
  ttlMs?: number | undefined
  keyId?: string | undefined
  /** Whose they are. */
  holder?: string | undefined
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
export interface UnblockOperation extends Attributed {
  op: 'unblock'
  keyId: string
  leaseId?: string | undefined
}

export interface RevokeOperation extends Attributed {
  op: 'revoke'
  keyId: string
}

export interface KeepAliveOperation extends Attributed {
  op: 'keepAlive'
  keyId: string
}

export interface UpdateOperation extends Attributed {
  op: 'update'
  keyId: string
  disabled?: boolean | undefined
  /** Why it is disabled, for those who look. */
  reason?: string | undefined
  coolingUntil?: null
  name?: string | null | undefined
  metadata?: string | null | undefined
}

export interface RemoveOperation extends Attributed {
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

/** Leases in the order of their keys' ids, after `cursor`. */
export interface ListLeasesOperation {
  op: 'listLeases'
  limit: number
  holder?: string | undefined
  cursor?: string | undefined
}

/**
 * Revokes leases of a holder that were granted by then, the oldest first; without an instant, by now. It looks at up
 * to `limit` of them.
 */
export interface RevokeLeasesOperation extends Attributed {
  op: 'revokeLeases'
  holder: string
  limit: number
  grantedBy?: number | undefined
}

export interface DescribeOperation {
  op: 'describe'
}

/** What has happened to a key, alive or not, after `cursor`. */
export interface HistoryOperation {
  op: 'history'
  keyId: string
  limit: number
  cursor?: string | undefined
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
  /**
   * It may have been done meanwhile, by another process on the same store: then it is not done again, and the results
   * are what it came to.
   */
  once?: boolean
}

/** What a holder is given. Its end is when the lease ends if nobody acts. */
export interface Lease {
  leaseId: string
  keyId: string
  /** Of a key with a value: encrypted. */
  sealed: string | null
  name: string | null
  /** A JSON object, as text. */
  metadata: string | null
  fencingToken: number
  holder: string | null
  grantedAt: number
  expiresAt: number
  /** Null: the key does not die by itself. */
  keyExpiresAt: number | null
}

/** A lease as others than its holder may see it. */
export interface HeldLease {
  keyId: string
  fencingToken: number
  holder: string | null
  grantedAt: number
  expiresAt: number
}

/** A lease that was found by a secret. */
export interface FoundLease extends HeldLease {
  pool: string
}

export interface Key {
  keyId: string
  name: string | null
  /** A JSON object, as text. */
  metadata: string | null
  /** Whether it carries a credential apart from its id. */
  hasValue: boolean
  state: StateName
  createdAt: number
  keepAliveAt: number
  expiresAt: number | null
  /** The flag; a leased key with it becomes disabled when its lease ends. */
  disabled: boolean
  disabledReason: string | null
  failures: number
  coolingUntil: number | null
  /** The current lease. */
  lease: Omit<HeldLease, 'keyId'> | null
}

export interface HistoryEntry {
  at: number
  change: ChangeName | 'disabled' | 'enabled'
  /** Of the lease that began, went on or ended. */
  fencingToken: number | null
  /** Whose it was. */
  holder: string | null
  /** The name of the access token that did it, where it was not the holder's doing. */
  by: string | null
  /** `released`: how the holder fared. */
  outcome: Outcome | null
  /** When the lease or the rest was to end from then on. */
  until: number | null
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
  /** `skipped`: places in the call, and the keys that hold their values. */
  import: { keyIds: string[]; skipped: { index: number; keyId: string }[] }
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
  listLeases: { heldLeases: HeldLease[]; nextCursor: string | null }
  /** `more`: there are some left to look at, of those granted by then. */
  revokeLeases: { revoked: number; more: boolean; grantedBy: number }
  describe: { counts: PoolCounts }
  /** The latest first. What was before `since` may be missing. */
  history: { entries: HistoryEntry[]; nextCursor: string | null; since: number }
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
