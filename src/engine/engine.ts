import { DeadlinePages, Deadlines } from './deadlines.ts'
import { REFUSED, type Refusal } from './errors.ts'
import { parseKeyId } from './ids.ts'
import type { Import } from './import.ts'
import type { MakeRoom } from './key-operations.ts'
import {
  type FoundLease,
  type Lease,
  type Operation,
  type PoolCounts,
  READS,
  type Result,
} from './operations.ts'
import { contradiction, type Policy } from './policy.ts'
import { perform, type Progress } from './perform.ts'
import { Pool, type SavedPool, UNSETTLED } from './pool.ts'
import type { Random } from './random.ts'
import { RecordError } from './records.ts'
import { MAX_POOL_NUMBER, State } from './rows.ts'
import { type TableLimits, Tables } from './tables.ts'
import { endWithKey, isDead, lapse } from './transitions.ts'
import { heldLeaseOf } from './views.ts'

const id = new Uint32Array(4)

/** Keys settled before each run: more than that is a storm, which must not slow every request. */
const SETTLED_BEFORE_RUN = 16
/** Places of the key index that one turn moves to make room for a large create: under a millisecond. */
const PLACES_A_TURN = 4096

/** Operations on one pool that are done in order, and how far they have come. */
export class Run implements Progress {
  readonly pool: string
  readonly operations: readonly Operation[]
  readonly results: Result[] = []
  /** Of an acquire that was interrupted by a storm. */
  leases: Lease[] = []
  /** Of more keys than one turn makes. */
  importing: Import | null = null
  /** The pool that it began on, or what that has become: one made anew under that name is another. */
  begunOn: Pool | null = null

  constructor(pool: string, operations: readonly Operation[]) {
    this.pool = pool
    this.operations = operations
  }

  /** What has begun comes to nothing. */
  giveUpImport(): void {
    this.importing?.abandon()
    this.importing = null
  }
}

/** All pools, and the order in which their deadlines fall due. Instants are ms since the epoch. */
export class Engine {
  readonly #tables: Tables
  readonly #byName = new Map<string, Pool>()
  readonly #byNumber: (Pool | undefined)[] = [undefined]
  readonly #freeNumbers: number[] = []
  readonly #maxPools: number
  /** Pools by their next deadline. */
  readonly #agenda: Deadlines
  /** Pools that are gone for everybody, whose memory is still being freed. */
  readonly #closing: Pool[] = []
  /** Why nothing may be changed at present; null: all may be. */
  frozen: Refusal | null = null

  /** @throws RangeError where the operating system refuses to reserve room for that many keys. */
  constructor(limits: TableLimits, random: Random) {
    const maxPools = Math.min(limits.maxPools, MAX_POOL_NUMBER)
    this.#tables = new Tables({ ...limits, maxPools }, random)
    this.#maxPools = maxPools
    const places = new Uint32Array(maxPools + 1)
    this.#agenda = new Deadlines(new DeadlinePages(maxPools, 1, places, 1, 0))
  }

  get tables(): Tables {
    return this.#tables
  }

  /** When there is something to settle; NEVER if nothing ever will be, 0 if it is overdue. */
  get nextDue(): number {
    if (this.frozen !== null) return this.#agenda.next
    return this.#closing.length > 0
      ? 0
      : Math.min(this.#agenda.next, this.#tables.idempotency.nextDue)
  }

  poolNames(): MapIterator<string> {
    return this.#byName.keys()
  }

  get poolCount(): number {
    return this.#byName.size
  }

  policy(name: string): Policy | undefined {
    return this.#byName.get(name)?.policy
  }

  /**
   * Creates a pool, or gives one a new policy, which counts from the next event on. UNSETTLED: its place is
   * still taken by a pool that is gone; settle, and put it again.
   */
  putPool(name: string, policy: Policy): 'created' | 'replaced' | Refusal | typeof UNSETTLED {
    const wrong = contradiction(policy)
    if (wrong !== null) return { code: 'invalid_policy', detail: wrong }
    if (this.frozen !== null) return this.frozen
    const pool = this.#byName.get(name)
    if (pool !== undefined) {
      pool.policy = policy
      this.#note(pool)
      return 'replaced'
    }
    const number = this.#freeNumber()
    if (typeof number !== 'number' || number === UNSETTLED) return number
    this.#create(number, name, policy)
    return 'created'
  }

  /**
   * The pool and its keys are gone at once; their memory is freed by `settle`. One with keys goes only by
   * `force`. With `again` an empty pool of that name and policy takes its place. UNSETTLED: it may be that
   * all its keys are dead, or its successor has no place yet; settle, and ask again.
   */
  removePool(
    name: string,
    { force = false, again = false }: { force?: boolean; again?: boolean },
    now: number,
  ): Refusal | null | typeof UNSETTLED {
    const pool = this.#byName.get(name)
    if (pool === undefined) return REFUSED.pool_not_found
    if (this.frozen !== null) return this.frozen
    if (!force && pool.sets.size > 0) {
      return pool.nextDue <= now ? UNSETTLED : REFUSED.pool_not_empty
    }
    if (again && pool.sets.size === 0) return null
    const number = again ? this.#freeNumber() : 0
    if (typeof number !== 'number' || number === UNSETTLED) return number
    this.#byName.delete(name)
    this.#agenda.delete(pool.number)
    this.#closing.push(pool)
    this.#note(pool, true)
    if (again) pool.successor = this.#create(number, name, pool.policy)
    return null
  }

  /** Keeps a document in place of what had that name; null: it is gone. */
  putDocument(name: string, text: string | null): Refusal | null {
    if (this.frozen === null) this.#tables.setDocument(name, text)
    return this.frozen
  }

  /**
   * The leases of the keys that are that secret: that have a value with that digest, or are plain and have
   * that id; over all pools.
   */
  find(digest: string, keyId: string, now: number): FoundLease[] {
    const { rows, index, details } = this.#tables
    const slots = [...details.find(digest)]
    const plain = parseKeyId(keyId, id) ? index.find(id) : 0
    if (plain !== 0 && details.get(plain).value === null) slots.push(plain)
    const found: FoundLease[] = []
    for (const slot of slots) {
      if (!rows.isLive(slot)) continue
      const pool = this.#byNumber[rows.pool(slot)]!
      if (this.#byName.get(pool.name) !== pool || !pool.settleKey(slot, now)) continue
      if (rows.state(slot) !== State.leased) continue
      found.push({ pool: pool.name, ...heldLeaseOf(this.#tables, slot) })
    }
    return found
  }

  /** Keys of all pools by state, as far as they are settled. Those of pools that are gone are gone. */
  stateCounts(): number[] {
    const counts = [...this.#tables.stateCounts]
    for (const { sets } of this.#closing) {
      for (const state of Object.values(State)) counts[state]! -= sets.count(state)
    }
    return counts
  }

  /** Up to `limit` pools after the one that `cursor` names, in an order that never changes. */
  pools(limit: number, cursor: number): { pools: Pool[]; nextCursor: number | null } {
    const pools: Pool[] = []
    for (let number = cursor + 1; number < this.#byNumber.length; number++) {
      const pool = this.#byNumber[number]
      if (pool === undefined || this.#byName.get(pool.name) !== pool) continue
      if (pools.length === limit) return { pools, nextCursor: pools.at(-1)!.number }
      pools.push(pool)
    }
    return { pools, nextCursor: null }
  }

  /** Keys by state, as far as they are settled: for metrics, which must not cause work. */
  settledCounts(name: string): PoolCounts | undefined {
    return this.#byName.get(name)?.counts()
  }

  /** Does up to `limit` keys of what is due, over all pools. Returns how many it was. */
  settle(now: number, limit: number): number {
    let done = 0
    while (done < limit) {
      const closing = this.#closing.at(-1)
      if (this.#agenda.next <= now) {
        const pool = this.#byNumber[this.#agenda.top]!
        done += pool.settle(now, limit - done)
        this.#schedule(pool)
      } else if (closing !== undefined && this.frozen === null) {
        done += closing.drain(limit - done, now)
        if (closing.sets.size === 0) this.#close(closing)
      } else {
        break
      }
    }
    const { idempotency } = this.#tables
    if (this.frozen === null && idempotency.nextDue <= now) done += idempotency.settle(now, limit)
    return Math.min(done, limit)
  }

  /**
   * Does the operations in order, one result for each; a refusal does not stop the rest. False: what is
   * due in the pool, or making room for its keys, is more than one turn's work, and the next operation
   * cannot be answered before that is done. Then settle, and run again: it goes on where it stopped.
   */
  run(run: Run, now: number): boolean {
    const pool = this.#byName.get(run.pool)
    run.begunOn ??= pool ?? null
    while (run.begunOn?.successor) {
      run.begunOn = run.begunOn.successor
      run.leases = [] // they ended with their keys
      run.giveUpImport()
    }
    if (pool === undefined || pool !== run.begunOn) {
      run.giveUpImport()
      while (run.results.length < run.operations.length) run.results.push(REFUSED.pool_not_found)
      return true
    }
    // Of what an interrupted acquire has got, some may be over: nobody is told of that any more.
    if (run.leases.length > 0) run.leases = run.leases.filter(({ expiresAt }) => expiresAt > now)
    if (pool.nextDue <= now) pool.settle(now, SETTLED_BEFORE_RUN)
    const finished = this.#runAll(pool, run, now)
    this.#schedule(pool)
    return finished
  }

  #runAll(pool: Pool, run: Run, now: number): boolean {
    const { operations, results } = run
    while (results.length < operations.length) {
      const result = this.#runOne(pool, operations[results.length]!, run, now)
      if (result === UNSETTLED) return false
      results.push(result)
    }
    return true
  }

  #runOne(pool: Pool, operation: Operation, run: Run, now: number): Result | typeof UNSETTLED {
    if (this.frozen !== null && !READS.has(operation.op)) {
      const { leases } = run
      run.giveUpImport()
      if (operation.op !== 'acquire' || leases.length === 0) return this.frozen
      // What it has been granted is its caller's: nobody else knows of it.
      run.leases = []
      return { leases }
    }
    const result = perform(this.#tables, pool, operation, run, this.#makeRoom, now)
    if (result === UNSETTLED) return result
    if (operation.op === 'acquire') run.leases = []
    if (operation.op === 'import') run.importing = null
    return result
  }

  readonly #makeRoom: MakeRoom = (pool, count, ready, now) => {
    const full = this.#whyFull(pool, count, ready, now)
    if (full !== null) return full
    return this.#tables.index.prepare(count, PLACES_A_TURN) ? null : UNSETTLED
  }

  /** Why `count` more keys do not fit; null if they do. Dead keys are no reason: they are settled first. */
  readonly #whyFull: MakeRoom = (pool, count, ready, now) => {
    const { rows } = this.#tables
    if (count > pool.policy.maxKeys) return REFUSED.pool_full
    if (pool.sets.size + count > pool.policy.maxKeys) {
      return pool.nextDue <= now ? UNSETTLED : REFUSED.pool_full
    }
    if (count > rows.capacity) return REFUSED.server_full
    if (rows.used + count - ready > rows.capacity) {
      return this.nextDue <= now ? UNSETTLED : REFUSED.server_full
    }
    return null
  }

  /**
   * Puts a pool from before a restart in its place, the lowest number first.
   * @throws RecordError where there is no such place.
   */
  restorePool({ number, name, policy, closing, uid }: SavedPool): void {
    if (number < 1 || number > this.#maxPools) throw new RecordError(`pool ${number} has no place`)
    while (this.#byNumber.length < number) this.#byNumber.push(undefined)
    const pool = new Pool(number, name, policy, this.#tables)
    this.#byNumber[number] = pool
    if (uid !== undefined) this.#tables.uids.set(number, uid)
    if (closing) this.#closing.push(pool)
    else this.#byName.set(name, pool)
  }

  /**
   * Takes in a slot that is in use and whose record has been read. Returns whether there is a key in it, which
   * `restoreKey` then takes in.
   */
  restoreSlot(slot: number, now: number): boolean {
    const { rows } = this.#tables
    this.#tables.sawToken(rows.token(slot))
    if (!rows.isLive(slot)) {
      rows.give(slot)
      return false
    }
    // Of a key that time has ended nothing was saved, not even that its pool is gone since.
    if (isDead(rows, slot, now)) {
      this.#restoreDead(slot)
      return false
    }
    return true
  }

  /**
   * Puts a key in its place in all structures but the index.
   * @throws RecordError where it belongs to no pool.
   */
  restoreKey(slot: number): void {
    const { rows } = this.#tables
    const pool = this.#byNumber[rows.pool(slot)]
    if (pool === undefined) throw new RecordError(`slot ${slot} belongs to no pool`)
    pool.restore(slot)
  }

  /** All slots have been taken in. */
  restored(): void {
    for (let number = this.#byNumber.length - 1; number > 0; number--) {
      if (this.#byNumber[number] === undefined) this.#freeNumbers.push(number)
    }
    for (const pool of this.#byName.values()) this.#schedule(pool)
  }

  #create(number: number, name: string, policy: Policy): Pool {
    const pool = new Pool(number, name, policy, this.#tables)
    this.#byNumber[number] = pool
    this.#byName.set(name, pool)
    this.#note(pool)
    return pool
  }

  /** A number for a new pool. UNSETTLED: all are taken, but some by pools that are gone. */
  #freeNumber(): number | Refusal {
    const number = this.#freeNumbers.pop() ?? this.#byNumber.length
    if (number <= this.#maxPools) return number
    return this.#closing.length > 0 ? UNSETTLED : REFUSED.too_many_pools
  }

  /** Its row alone goes on, until the slot is used again. */
  #restoreDead(slot: number): void {
    const { rows, holds } = this.#tables
    this.#tables.unsaved?.lapsed(rows.expiresAt(slot))
    lapse(rows, holds, slot, rows.expiresAt(slot) - 1)
    endWithKey(rows, slot, 'key_expired')
    const hold = rows.hold(slot)
    if (hold !== 0) holds.give(hold)
    rows.end(slot)
  }

  /** Notes for the journal that a pool is there, with its policy, or being drained. */
  #note({ number, name, policy }: Pool, closing = false): void {
    const uid = this.#tables.uids.get(number)
    const saved: SavedPool = { number, name, policy, closing, ...(uid !== undefined && { uid }) }
    this.#tables.unsaved?.set(`pool/${number}`, JSON.stringify(saved))
  }

  #schedule(pool: Pool): void {
    this.#agenda.set(pool.number, pool.nextDue)
  }

  #close(pool: Pool): void {
    this.#closing.pop()
    this.#tables.unsaved?.set(`pool/${pool.number}`, null)
    this.#byNumber[pool.number] = undefined
    this.#tables.uids.delete(pool.number)
    this.#freeNumbers.push(pool.number)
  }
}
