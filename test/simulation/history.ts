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
import type { Repeatable } from '../../src/service/requests.ts'
import { Model } from '../support/model.ts'
import { endOf, living, type ModelKey, restEnd, stateOf } from '../support/model-key.ts'
import type { Sighting } from './sightings.ts'

const READS = new Set<Operation['op']>([
  'show',
  'showLease',
  'list',
  'listLeases',
  'describe',
  'recall',
])
const GONE = ['lease_ended', 'lease_not_found', 'pool_not_found']
/** What a repeat may be told instead of what it was told before. */
const FORGIVEN = ['lease_ended', 'pool_not_found', 'request_in_progress']
const MAX_LOST = 30

/** Something that has changed the state. */
export type Deed =
  | {
      kind: 'operation'
      pool: string
      operation: Operation
      told: Result
      now: number
      /** What was told before in the same call. */
      before: readonly Result[]
    }
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

interface Acknowledged {
  readonly body: string
  readonly ids: readonly string[]
  readonly until: number
  /** Of the process that said so. */
  readonly life: number
}

export class History {
  readonly #limits: TableLimits
  /** What was done for requests that may be repeated, and is not remembered yet. */
  readonly #unremembered = new Set<string>()
  /** What answers have said of such requests. */
  readonly #acknowledged = new Map<string, Acknowledged>()
  /** Of which process it is now. */
  #life = 0
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

  /** What has been seen by an answer that has seen this deadline, and maybe something before. */
  seen(deadline = 0, before: Seen | null = null): Seen {
    const earlier = before?.epoch === this.#epoch ? before.deadline : 0
    return {
      deeds: this.#deeds.length,
      deadline: Math.max(deadline, earlier),
      epoch: this.#epoch,
    }
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
  operation(
    pool: string,
    operation: Operation,
    told: Result,
    now: number,
    before: readonly Result[] = [],
  ): Seen {
    if ('leaseId' in operation && operation.op !== 'unblock') {
      if (this.#lost.includes(operation.leaseId)) {
        assert('code' in told ? GONE.includes(told.code) : 'released' in told && !told.released)
        return this.seen()
      }
    }
    if (operation.op === 'remember' && 'remembered' in told && told.remembered) {
      const memory = this.#model.memory(operation.key, now)
      assert(memory === null, 'a request was done although it is remembered')
      this.#unremembered.delete(operation.key)
    }
    this.#model.check(pool, operation, told, now, before)
    const deadline = this.#shownBy(pool, operation, told, now)
    if (hasChanged(operation, told)) {
      this.#deeds.push({ kind: 'operation', pool, operation, told, now, before })
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

  /** What has just been done is to be remembered with it. */
  owesMemory(key: string): void {
    this.#unremembered.add(key)
  }

  /** The answer to a request that may be repeated is given: from now on every repeat is answered so. */
  acknowledged(
    { key, body }: Repeatable,
    told: Result,
    now: number,
    saw: (sighting: Sighting) => void,
  ): void {
    const known = this.#acknowledged.get(key)
    const isRepeat = known !== undefined && known.until > now
    if ('code' in told) {
      if (told.code === 'idempotency_mismatch') saw('a repeat had another body')
      if (!isRepeat || known.body !== body) return
      assert(FORGIVEN.includes(told.code), `a repeat was refused: ${told.code}`)
      if (told.code === 'lease_ended') saw('a repeat was told that the lease has ended')
      return
    }
    const ids = idsIn(told)
    if (isRepeat) {
      assert.equal(body, known.body, 'a repeat with another body was answered')
      assert.deepEqual(ids, known.ids, 'two results of one request')
      if (known.life < this.#life) saw('a repeat got what it had before a crash')
      return
    }
    if (known !== undefined) saw('a repeat was a new request after ten minutes')
    const memory = this.#model.memory(key, now)
    if (memory === null) return // it took that long
    this.#acknowledged.set(key, { body, ids, until: memory.until, life: this.#life })
  }

  isHeld(leaseId: string, now: number): boolean {
    const lease = this.#model.leases.find(({ id }) => id === leaseId)
    if (lease === undefined || endOf(lease, now) !== null) return false
    return [...this.#model.pools.values()].includes(lease.pool) // else it went with its pool
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
    assert.equal(this.#unremembered.size, 0, 'what was done is saved without the memory of it')
    this.#closed.set(sequence, this.#deeds.length)
  }

  /** What was done by then is on a disk that has that group. */
  isKept(deeds: number, sequence: number): boolean {
    return deeds <= this.#closed.get(sequence)!
  }

  /** Whether an answer that has seen so much may be given, while the disk has come so far. */
  mayAnswer(seen: Seen, { sequence, instant }: { sequence: number; instant: number }): boolean {
    const isOnDisk = seen.deadline <= instant && this.isKept(seen.deeds, sequence)
    return seen.epoch === this.#epoch && isOnDisk
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
    this.#life++
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
    this.#unremembered.clear()
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
      else this.#model.check(deed.pool, deed.operation, deed.told, deed.now, deed.before)
    }
  }

  /** The latest deadline whose effect an answer shows. */
  #shownBy(poolName: string, operation: Operation, told: Result, now: number): number {
    const pool = this.#model.pools.get(poolName)
    if (pool === undefined) return 0
    if (operation.op === 'recall') return this.#model.forgottenAt(operation.key, now)
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
  if ('remembered' in told) return told.remembered
  if ('revoked' in told) return told.revoked > 0
  if ('keyIds' in told) return told.keyIds.length > 0
  return !('released' in told) || told.released
}

function idsIn(told: Result): string[] {
  if ('keyIds' in told) return told.keyIds
  return 'leases' in told ? told.leases.map(({ leaseId }) => leaseId) : []
}

/** The last deadline of the key that is past; of those that a count of states shows, if it is `counted`. */
function latestPast(key: ModelKey, now: number, counted: boolean): number {
  if (key.expiresAt <= now) return key.expiresAt
  const last = key.leases.at(-1)
  const lapsed = last?.ended === null && endOf(last, now) === 'expired' ? last.deadline : 0
  const rest = counted && key.disabled ? 0 : restEnd(key, now)
  return Math.max(lapsed, rest <= now ? rest : 0)
}
