/**
 * The oracle: what has been done, in order, checked against a naive model as it is done. What a disk holds
 * is a beginning of it, and what a store goes on from must be the model after just that beginning.
 */
import assert from 'node:assert/strict'
import {
  type AcquireOperation,
  isRefusal,
  type Lease,
  type Operation,
  type Result,
} from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { TableLimits } from '../../src/engine/tables.ts'
import { Model } from '../support/model.ts'
import { endOf, living, type ModelKey, restEnd, stateOf } from '../support/model-key.ts'

const READS = new Set<Operation['op']>(['show', 'showLease', 'list', 'listLeases', 'describe'])
const GONE = ['lease_ended', 'lease_not_found', 'pool_not_found']
const MAX_LOST = 30

/** Something that has changed the state. */
export type Deed =
  | { kind: 'operation'; pool: string; operation: Operation; told: Result; now: number }
  | { kind: 'put'; name: string; policy: Policy }
  | { kind: 'remove'; name: string }

/** What an answer has seen, and must not be given before. */
export interface Seen {
  /** Deeds done when it was made. */
  deeds: number
  /** The latest deadline whose effect it shows; 0: none. */
  deadline: number
  /** Which of the states it was made from: one more each time deeds are undone. */
  epoch: number
}

export class History {
  readonly #limits: TableLimits
  #model: Model
  readonly #deeds: Deed[] = []
  /** By group: the deeds done when it was closed. */
  readonly #closed = new Map([[0, 0]])
  /** By fencing token, or by id of a key: the deeds done with its grant, or creation. */
  readonly #marks = new Map<number | string, number>()
  #epoch = 0
  #lost: string[] = []
  /** Marks that a listener to changes has not been told of. */
  readonly untold = new Set<number | string>()
  /** Nobody may find himself before that instant: the effects of all deadlines up to there were shown. */
  shownUntil = 0
  /** The highest fencing token that an answer has given. */
  highestToken = 0

  constructor(limits: TableLimits) {
    this.#limits = limits
    this.#model = new Model(limits.maxTotalKeys)
  }

  get model(): Model {
    return this.#model
  }

  get deeds(): number {
    return this.#deeds.length
  }

  /** Leases that were granted, but whose grant has not outlived a crash. */
  get lostLeases(): readonly string[] {
    return this.#lost
  }

  /** What has been seen by an answer that has seen nothing of any key. */
  seen(deadline = 0): Seen {
    return { deeds: this.#deeds.length, deadline, epoch: this.#epoch }
  }

  /** What has been seen by an answer about all pools. */
  seenAll(now: number): Seen {
    const keys = [...this.#model.pools.values()].flatMap(({ keys }) => keys)
    return this.seen(Math.max(0, ...keys.map((key) => latestPast(key, now, true))))
  }

  putPool(name: string, policy: Policy, told: unknown): void {
    if (typeof told === 'object') {
      assert.deepEqual(told, { code: 'too_many_pools' })
      assert.equal(this.#model.pools.size, this.#limits.maxPools, 'there is room for a pool')
      return
    }
    assert.equal(told, this.#model.putPool(name, policy))
    this.#deeds.push({ kind: 'put', name, policy })
  }

  removePool(name: string, told: unknown): void {
    assert.deepEqual(told, this.#model.removePool(name))
    if (told === null) this.#deeds.push({ kind: 'remove', name })
  }

  /** An operation has this result: it must be the model's. */
  operation(pool: string, operation: Operation, told: Result, now: number): Seen {
    if ('leaseId' in operation && operation.op !== 'unblock') {
      if (this.#lost.includes(operation.leaseId)) {
        assert('code' in told ? GONE.includes(told.code) : 'released' in told && !told.released)
        return this.seen()
      }
    }
    this.#model.check(pool, operation, told, now)
    const deadline = this.#shownBy(pool, operation, told, now)
    if (hasChanged(operation, told)) {
      this.#deeds.push({ kind: 'operation', pool, operation, told, now })
      if ('keyIds' in told) for (const id of told.keyIds) this.#mark(id)
      if ('leases' in told) {
        for (const { fencingToken } of told.leases) {
          assert(fencingToken > this.highestToken, 'a fencing token did not rise')
          this.#mark(fencingToken)
        }
      }
    }
    return this.seen(deadline)
  }

  /** One lease of an acquire that was granted more before, or goes on later. */
  grant(pool: string, lease: Lease, { ttlMs, holder }: AcquireOperation, now: number): void {
    const { keyId } = lease
    const operation: Operation = { op: 'acquire', count: 1, ttlMs, holder, keyId }
    this.operation(pool, operation, { leases: [lease] }, now)
  }

  hasFree(pool: string, now: number): boolean {
    const { keys } = this.#model.pools.get(pool)!
    return living(keys, now).some((key) => stateOf(key, now) === 'available')
  }

  /** A group is closed, with all that has been done. */
  closed(sequence: number): void {
    this.#closed.set(sequence, this.#deeds.length)
  }

  /** What was done by then is on a disk that has that group. */
  isKept(deeds: number, sequence: number): boolean {
    return deeds <= this.#closed.get(sequence)!
  }

  /** An answer is given that has seen so much, while the disk has come so far. */
  answered(seen: Seen, { sequence, instant }: { sequence: number; instant: number }): void {
    assert.equal(seen.epoch, this.#epoch, 'answered from a state that is gone')
    assert(this.isKept(seen.deeds, sequence), 'answered before what it has seen is on disk')
    // Else a crash right now and a clock set back would bring back what it shows as over.
    assert(seen.deadline <= instant, 'answered before the time it shows is on disk')
    this.shownUntil = Math.max(this.shownUntil, seen.deadline)
  }

  /** That a key was created, or a lease granted, is told for good, with that group on disk. */
  told(mark: number | string, sequence: number): void {
    const deeds = this.#marks.get(mark)
    assert(deeds !== undefined && this.isKept(deeds, sequence), 'told before it is on disk')
    assert(this.untold.delete(mark), 'told twice')
  }

  /** Who listens now is told of what comes from now on. */
  restarted(): void {
    this.untold.clear()
  }

  /** Only what a disk with that group holds has been done. Returns the deeds that are undone. */
  backTo(sequence: number): readonly Deed[] {
    const kept = this.#closed.get(sequence)!
    const undone = this.#deeds.splice(kept)
    for (const number of this.#closed.keys()) if (number > sequence) this.#closed.delete(number)
    for (const [mark, deeds] of this.#marks) {
      if (deeds <= kept) continue
      this.#marks.delete(mark)
      this.untold.delete(mark)
    }
    for (const deed of undone) {
      if (deed.kind !== 'operation' || !('leases' in deed.told)) continue
      this.#lost.push(...deed.told.leases.map(({ leaseId }) => leaseId))
    }
    this.#lost = this.#lost.slice(-MAX_LOST)
    this.#epoch++
    if (undone.length > 0) this.#replay()
    return undone
  }

  /** The deed that was done last has made this key, or granted the lease with this token. */
  #mark(mark: number | string): void {
    this.#marks.set(mark, this.#deeds.length)
    this.untold.add(mark)
  }

  #replay(): void {
    this.#model = new Model(this.#limits.maxTotalKeys)
    for (const deed of this.#deeds) {
      if (deed.kind === 'put') this.#model.putPool(deed.name, deed.policy)
      else if (deed.kind === 'remove') this.#model.removePool(deed.name)
      else this.#model.check(deed.pool, deed.operation, deed.told, deed.now)
    }
  }

  /** The latest deadline whose effect an answer shows. */
  #shownBy(poolName: string, operation: Operation, told: Result, now: number): number {
    const pool = this.#model.pools.get(poolName)
    if (pool === undefined) return 0
    const { op } = operation
    const all = op === 'describe' || (op === 'acquire' && 'counts' in told)
    let keys: ModelKey[] = []
    if (all) {
      keys = pool.keys
    } else if (op === 'list' && 'keys' in told) {
      const whole = told.nextCursor === null && operation.cursor === undefined
      const named = new Set(told.keys.map(({ keyId }) => keyId))
      keys = pool.keys.filter(({ id }) => named.has(id) || (whole && operation.state === undefined))
    } else if ('keyId' in operation && operation.keyId !== undefined) {
      keys = pool.keys.filter(({ id }) => id === operation.keyId)
    } else if ('leaseId' in operation) {
      const { leaseId } = operation
      keys = pool.keys.filter(({ leases }) => leases.at(-1)?.id === leaseId)
    }
    return Math.max(0, ...keys.map((key) => latestPast(key, now, all)))
  }
}

export function isRead({ op }: Operation): boolean {
  return READS.has(op)
}

function hasChanged(operation: Operation, told: Result): boolean {
  if (isRead(operation) || isRefusal(told)) return false
  if ('revoked' in told) return told.revoked > 0
  if ('keyIds' in told) return told.keyIds.length > 0
  return !('released' in told) || told.released
}

/** The last deadline of the key that is past; of those that a count of states shows, if it is `counted`. */
function latestPast(key: ModelKey, now: number, counted: boolean): number {
  if (key.expiresAt <= now) return key.expiresAt
  const last = key.leases.at(-1)
  const lapsed = last?.ended === null && endOf(last, now) === 'expired' ? last.deadline : 0
  const rest = counted && key.disabled ? 0 : restEnd(key, now)
  return Math.max(lapsed, rest <= now ? rest : 0)
}
