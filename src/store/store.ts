import type { Change, ChangeName, Tally } from '../engine/changes.ts'
import type { Refusal } from '../engine/errors.ts'
import type { FoundLease, Operation, PoolCounts, Results } from '../engine/operations.ts'
import type { Policy } from '../engine/policy.ts'

/**
 * Where pools live. Everything that a key can undergo goes through the one verb `run`.
 *
 * What every store guarantees:
 * - A resolved promise is a kept one: what was answered stays, on the terms of that store.
 * - Operations of one call are done in order. Each is atomic; of simultaneous draws each key goes to one
 *   at most.
 * - No answer shows a key, lease or cooldown after its time, whether or not `settle` has come round.
 * - Refusals are values. A promise rejected with a `StoreFailure` means that the store itself failed, and
 *   that the outcome is unknown.
 */
export interface Store {
  /** Does the operations in order on one pool; one result for each. */
  run<const O extends readonly Operation[]>(pool: string, operations: O): Promise<Results<O>>

  /** Creates the pool, or replaces its policy, which counts from the next event on. */
  putPool(name: string, policy: Policy): Promise<'created' | 'replaced' | Refusal>
  /** Changes what is given of a pool's policy; answers the whole. */
  patchPool(name: string, changes: Partial<Policy>): Promise<Policy | Refusal>
  /**
   * The pool and its keys are gone when this resolves; memory is freed by `settle`. One with keys goes only
   * by `force`. With `again` an empty pool of that name and policy takes its place.
   */
  removePool(name: string, how: { force?: boolean; again?: boolean }): Promise<Refusal | null>
  policy(name: string): Promise<Policy | undefined>
  /** A page of all pools, in an order that never changes. */
  pools(limit: number, cursor?: string): Promise<PoolPage | Refusal>

  /**
   * The leases of the keys that are that secret: that have a value with that digest, or are plain and have that
   * id; over all pools, and taking time for each pool that has the value.
   */
  find(digest: string, keyId: string): Promise<FoundLease[]>
  /** Whether any key has a value. */
  holdsValues(): Promise<boolean>

  /** What is kept by name beside pools and keys: few and small things, such as access tokens. */
  documents(): Promise<ReadonlyMap<string, string>>
  /** Keeps the document in place of what had that name; null: it is gone. */
  putDocument(name: string, text: string | null): Promise<Refusal | null>
  /**
   * Keeps the document in place of `before`; null: where there is none. False: there is another one by now.
   * @throws StoreFailure `storage_full`
   */
  replaceDocument(name: string, before: string | null, text: string): Promise<boolean>

  /** Does what has fallen due for about `budgetMs`, then says by `wakeAt` when to be called again. */
  settle(budgetMs: number): Promise<void>
  /**
   * Until the returned function is called `available` tells of keys of the pool that others than this process have
   * freed, too.
   */
  watch(pool: string): () => void

  /** A consistent look at everything, once all that is due is settled; names `pools` of the pools. */
  stats(pools: number): Promise<StoreStats>

  /**
   * Makes a consistent copy of all that is saved, while others are served, and returns the path of its file
   * on the server's machine. It is the caller's: to be moved or deleted.
   * @throws StoreFailure `not_durable`, `backup_elsewhere`, `storage_full`, `storage_failed`
   */
  backup(): Promise<string>

  /** What was answered is saved when this resolves. */
  close(): Promise<void>
}

export interface PoolPage {
  pools: { name: string; policy: Policy }[]
  nextCursor: string | null
}

/** Why a store could not do what it was asked for; the code is one of engine/errors.ts. */
export class StoreFailure extends Error {
  readonly code:
    'storage_full' | 'storage_failed' | 'store_unavailable' | 'not_durable' | 'backup_elsewhere'

  constructor(code: StoreFailure['code'], cause?: unknown) {
    super(cause instanceof Error ? cause.message : code, { cause })
    this.code = code
  }
}

/**
 * Whether a store can do all that is asked for. While storage is full it refuses what would change something; while
 * it is unavailable, everything.
 */
export type Health = 'ok' | 'storage_full' | 'store_unavailable'

/** It was made, or has another policy; it is gone; it is there, and its keys are gone. */
export type PoolChange = 'policy' | 'gone' | 'emptied'

/** What a store tells of its own accord. */
export interface StoreEvents {
  /** `settle` is wanted at that instant (ms since the epoch), or at once if it is past. */
  wakeAt: (instant: number) => void
  /** Keys of the pool may have become available: a hint to ask again. */
  available?: (pool: string) => void
  /** Something has happened for good, in this order. */
  changed?: (changes: readonly Change[]) => void
  /** Whether anybody wants to be told what changes now; unless it is given, somebody always does. */
  isHeard?: () => boolean
  /** So much has been done by others than this process that it is not told one by one. */
  tallied?: (pool: string, tally: Tally) => void
  /** What others than this process have done to a pool as a whole. */
  poolChanged?: (pool: string, change: PoolChange) => void
  /** Something that others have done may not have been told. */
  missed?: () => void
  /** Documents were put by others than this process. It is told again until this resolves. */
  documents?: () => Promise<void>
  health?: (health: Health) => void
  /** It cannot go on: the process should end, and a new one finds all that was answered. */
  failed?: (failure: StoreFailure) => void
  /** How far it has come with reading what was saved: slots read, and how many of them are in place. */
  recovering?: (read: number, built: number) => void
}

export interface StoreStats {
  keys: Omit<PoolCounts, 'nextAvailableAt'>
  poolCount: number
  /** The first pools by age, as many as were asked for. */
  pools: { name: string; counts: PoolCounts }[]
  changes: Readonly<Record<ChangeName, number>>
  /** Memory of the store's own structures. */
  bytes: number
}
