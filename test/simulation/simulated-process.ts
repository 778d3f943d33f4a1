import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import type { Engine } from '../../src/engine/engine.ts'
import type { AcquireOperation, Operation, Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { TableLimits } from '../../src/engine/tables.ts'
import type { Orchestrator } from '../../src/service/orchestrator.ts'
import type { Repeatable } from '../../src/service/requests.ts'
import type { RunPool } from '../../src/service/waiters.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { TEST_MASTER_KEY } from '../support/server.ts'
import type { SimulatedDisk } from '../support/simulated-disk.ts'
import { audit } from './audit.ts'
import { type Call, CALL, isRefusalOf, isUnseen, leasesOf, type OfCall, START } from './calls.ts'
import type { History, Seen } from './history.ts'
import type { Sighting } from './sightings.ts'
import type { SimulatedClock } from './simulated-clock.ts'
import type { StoreSources } from './store-copies.ts'

/** What outlives a process. */
export interface World {
  readonly sources: StoreSources
  readonly limits: TableLimits
  readonly disk: SimulatedDisk
  readonly history: History
  readonly random: SeededRandom
  /** Enters what happens in the record by which two runs are compared. */
  readonly note: (what: string) => void
  readonly saw: (sighting: Sighting) => void
}

/** A server's process from its start to its crash: the real application on a simulated disk. */
export class SimulatedProcess {
  readonly clock: SimulatedClock
  readonly calls = new Set<Call>()
  phase: 'starting' | 'serving' | 'ended' = 'starting'
  /** The first thing that was wrong. */
  fault: unknown = null
  hasRoom = true
  /** How often the disk was full. */
  fulls = 0
  isReloading = false
  /** The disk has failed, and nothing can be answered any more. */
  hasFailed = false
  /** Set when it is ready. */
  engine: Engine | null = null
  /** Calls about pools come one at a time, so that it is known whose doing it is. */
  poolCall: Call | null = null
  /** Pools that were there and were removed. */
  readonly removed = new Set<string>()
  readonly #world: World
  /** By what they are remembered by. */
  readonly #repeatables = new Map<string, Call>()
  /** Leases of callers who hung up before they heard of them. */
  readonly #owed = new Set<string>()
  #begun = 0
  #orchestrator!: Orchestrator

  constructor(world: World, clock: SimulatedClock) {
    this.#world = world
    this.clock = clock
  }

  start(hasRoom: boolean): void {
    const { sources, limits, random, disk } = this.#world
    const call = this.#begin('start')
    this.poolCall = call
    const started = sources.Orchestrator.start(
      this.clock,
      async (events) => {
        const store = await sources.EmbeddedStore.open(
          limits,
          this.clock,
          random,
          this.#listen(events),
          async (journalEvents) => {
            const journal = await disk.open(journalEvents)
            if (!hasRoom) this.setRoom(false)
            return journal
          },
        )
        this.#noteFailures(store)
        return store
      },
      { policy: {}, masterKeys: () => [TEST_MASTER_KEY], random },
    )
    this.#follow(call, started, (orchestrator) => {
      this.#orchestrator = orchestrator
      this.phase = 'serving'
    })
  }

  run(pool: string, operations: Operation[], repeatable: Repeatable | null = null): void {
    const what = operations.map(({ op }) => op).join(' ')
    const call = this.#begin(what, { pool, repeatable })
    this.#tag(call, operations)
    this.#follow(call, this.#orchestrator.runBatch(pool, operations, repeatable), (results) => {
      if ('code' in results) return
      for (const result of results) this.#given(result)
    })
  }

  /** A lease within `waitMs`. */
  acquire(
    pool: string,
    operation: AcquireOperation,
    waitMs: number,
    repeatable: Repeatable | null,
  ): void {
    const gone = new AbortController()
    const waiting = {
      operation,
      waitMs,
      deadline: this.clock.now() + waitMs,
      latest: repeatable === null ? this.clock.now() + waitMs : Infinity,
      gone,
      entered: repeatable === null ? this.#begun : Infinity,
      isOver: false,
    }
    const what = waitMs > 0 ? `wait ${waitMs}` : 'acquire'
    const call = this.#begin(what, {
      pool,
      repeatable,
      waiting: waitMs > 0 ? waiting : null,
      isSingle: true,
    })
    this.#tag(call, [operation])
    const patience = waitMs === 0 ? null : { waitMs, gone: gone.signal, bar: () => null }
    const answer = this.#orchestrator.acquireLease(pool, operation, patience, repeatable)
    this.#follow(call, answer, (told) => {
      this.#checkOne(call, told)
    })
  }

  create(pool: string, count: number, repeatable: Repeatable): void {
    const operation = { op: 'create', count } as const
    const call = this.#begin('create', { pool, repeatable, isSingle: true })
    this.#tag(call, [operation])
    this.#follow(call, this.#orchestrator.create(pool, operation, repeatable), (told) => {
      this.#checkOne(call, told)
    })
  }

  hangUp(call: Call): void {
    const { saw } = this.#world
    saw('a waiter hung up')
    if (leasesOf(call).length > 0) saw('a waiter hung up with his grant under way')
    call.waiting!.gone.abort()
    this.#owe(call)
  }

  askAgain({ pool, repeatable, waiting }: Call): void {
    const { operation, waitMs } = waiting!
    this.acquire(pool, { ...operation }, waitMs, repeatable)
  }

  putPool(name: string, policy: Policy): void {
    this.#callPools(`put ${name}`, () => this.#orchestrator.putPool(name, policy))
  }

  removePool(name: string): void {
    this.#callPools(`remove ${name}`, () => this.#orchestrator.removePool(name, true))
  }

  askPolicy(name: string): void {
    this.#callPools(`policy ${name}`, () => this.#orchestrator.policy(name))
  }

  askStats(): void {
    this.#callPools('stats', async () => {
      const { keys, poolCount, pools } = await this.#orchestrator.stats(100)
      const named = Object.fromEntries(pools.map(({ name, counts }) => [name, counts]))
      return { keys, poolCount, pools: named }
    })
  }

  /** When nobody is waiting. Once it is closed, all that was done is on disk. */
  close(): void {
    const { history, disk, saw } = this.#world
    this.phase = 'ended'
    const call = this.#begin('close')
    const closed = this.#orchestrator.close().then(() => {
      call.seen = history.seen()
    })
    this.#follow(call, closed, () => {
      assert(history.isKept(history.deeds, disk.sequence), 'closed before all was saved')
      saw('the store was closed with nothing left to save')
    })
  }

  /** Whether a call is half done. */
  get isBusy(): boolean {
    return [...this.calls].some(({ isUnsettled }) => isUnsettled)
  }

  /** The place of the call that came last. */
  get lastPlace(): number {
    return this.#begun - 1
  }

  /** Those who wait for a key and have not been told anything. */
  get waiters(): Call[] {
    return [...this.calls].filter(({ waiting }) => waiting !== null)
  }

  /** The calls that operations are done for. What is given back is given back for nobody. */
  callsOf(operations: readonly Operation[]): Call[] {
    const calls = operations.map((operation) => this.callOf(operation))
    return [...new Set(calls.filter((call) => call !== undefined))]
  }

  callOf(operation: OfCall<Operation>): Call | undefined {
    return operation.op === 'recall' ? this.#repeatables.get(operation.key) : operation[CALL]
  }

  /** A lease is granted for a call: who is gone must give it back, unless he may come for it. */
  granted(call: Call): void {
    if (call.waiting?.gone.signal.aborted === true) this.#owe(call)
  }

  setRoom(left: boolean): void {
    this.hasRoom = left
    if (!left) this.#owed.clear() // it cannot be given back
    this.#world.disk.setRoom(left)
  }

  /** Of all structures. */
  audit(): void {
    assert.equal(this.#orchestrator.status, this.hasRoom ? 'ready' : 'storage_full')
    // Where there is no room, the keys of pools that are gone wait in them.
    if (this.hasRoom) audit(this.engine!)
  }

  /** When nobody has anything left to do. */
  checkRest(): void {
    const { history } = this.#world
    const now = this.clock.now()
    assert(this.engine!.nextDue > now, 'the sweeper was not woken')
    assert.equal(history.untold.size, 0, 'a change was not told')
    if (!this.hasRoom) return
    for (const { pool } of this.waiters) {
      assert(history.model.pools.has(pool), 'somebody waits in a pool that is gone')
      assert(!history.hasFree(pool, now), 'somebody waits although there is a key')
    }
    for (const leaseId of this.#owed) {
      assert(!history.isHeld(leaseId, now), 'a key is held by who hung up')
    }
    this.#owed.clear()
  }

  /** Who waits although his time is over, or for anything but a key. */
  get stuck(): string[] {
    const now = this.clock.now()
    const stuck = [...this.calls].filter(({ waiting }) => waiting === null || waiting.latest <= now)
    return stuck.map(({ what }) => what)
  }

  /** The disk is full: all that is under way is undone. */
  filled(): void {
    this.fulls++
    this.isReloading = true
    this.#owed.clear()
    if (this.waiters.length > 0) this.#world.saw('somebody waited while the state was read anew')
  }

  /** Keeps what goes wrong in there for who watches. */
  guard(look: () => void): void {
    if (this.fault !== null) return
    try {
      look()
    } catch (error) {
      this.fault = error
    }
  }

  #begin(
    name: string,
    {
      pool = '',
      repeatable = null,
      waiting = null,
      isSingle = false,
    }: Partial<Pick<Call, 'pool' | 'repeatable' | 'waiting' | 'isSingle'>> = {},
  ): Call {
    const what = `${pool} ${name}${repeatable ? ` as ${repeatable.key}` : ''}`
    this.#world.note(`call ${what}`)
    if (this.isReloading) this.#world.saw('a call came while the state was read anew')
    const call: Call = {
      what,
      pool,
      place: this.#begun++,
      repeatable,
      waiting,
      isSingle,
      looks: [],
      seen: null,
      isUnsettled: false,
      expected: undefined,
      fulls: this.fulls,
    }
    this.calls.add(call)
    if (repeatable !== null && !this.#repeatables.has(repeatable.key)) {
      this.#repeatables.set(repeatable.key, call)
    }
    return call
  }

  #tag(call: Call, operations: OfCall<Operation>[]): void {
    for (const operation of operations) operation[CALL] = call
  }

  /** Who waits and is served in vain, since the store fails, waits no more, though he has not heard of it yet. */
  #noteFailures(store: Store): void {
    const run = store.run.bind(store) as RunPool
    const noted: RunPool = async (pool, operations) => {
      try {
        return await run(pool, operations)
      } catch (error) {
        const served = operations.filter((one) => one.op !== 'acquire' || one.count !== 0)
        for (const { waiting } of this.callsOf(served)) if (waiting !== null) waiting.isOver = true
        throw error
      }
    }
    Object.assign(store, { run: noted })
  }

  #owe(call: Call): void {
    if (call.repeatable !== null) return
    for (const { leaseId } of leasesOf(call)) this.#owed.add(leaseId)
  }

  /** What is answered to who asked for one thing. */
  #checkOne(call: Call, told: Result): void {
    const { history, saw } = this.#world
    const { waiting, repeatable } = call
    if ('code' in told) {
      const inVain = told.code === 'pool_exhausted' || told.code === 'pool_empty'
      if (waiting !== null && inVain) {
        assert(this.clock.now() >= waiting.deadline, 'told too early that it was in vain')
        saw('somebody waited in vain')
      }
      if (told.code === 'request_in_progress') saw('a repeat came while the first was under way')
    } else if (waiting !== null) {
      saw('somebody waited for a key and got it')
    }
    this.#given(told)
    if (repeatable !== null) history.acknowledged(repeatable, told, this.clock.now(), saw)
  }

  #callPools(what: string, ask: () => Promise<unknown>): void {
    const call = this.#begin(what)
    this.poolCall = call
    this.#follow(call, ask(), (told) => {
      if (call.expected !== undefined) assert.deepEqual(told, call.expected, what)
    })
  }

  #follow<T>(call: Call, answer: Promise<T>, look: (told: T) => void): void {
    const { history, disk, note } = this.#world
    const ended = (how: string): void => {
      note(`${call.what}: ${how}`)
      this.calls.delete(call)
      if (this.poolCall === call) this.poolCall = null
      const { repeatable } = call
      if (repeatable !== null && this.#repeatables.get(repeatable.key) === call) {
        this.#repeatables.delete(repeatable.key)
      }
    }
    answer.then(
      (told) => {
        this.guard(() => {
          ended('answered')
          if (call.waiting?.gone.signal.aborted === true) return // nobody hears of it
          assert(!this.hasFailed || isUnseen(told), 'answered although the disk has failed')
          if (!isUnseen(told) && !this.#isDismissed(call, told)) {
            const seen = call.isSingle ? this.#seenBy(call, told) : call.seen
            assert(seen, 'answered without a look')
            history.answered(seen, disk)
          }
          look(told)
        })
      },
      (error: unknown) => {
        this.guard(() => {
          ended('rejected')
          this.#rejected(call, error)
        })
      },
    )
  }

  /** A look that may have brought the answer. */
  #seenBy({ looks }: Call, told: unknown): Seen | undefined {
    const { history, disk } = this.#world
    const equal = looks.filter((look) => isDeepStrictEqual(look.told, told))
    const good = equal.find(({ seen }) => history.mayAnswer(seen, disk))
    return (good ?? equal[0])?.seen
  }

  /** Who waits is told that his pool is gone by who has removed it. */
  #isDismissed({ waiting, pool }: Call, told: unknown): boolean {
    return waiting !== null && isRefusalOf(told, ['pool_not_found']) && this.removed.has(pool)
  }

  #rejected(call: Call, error: unknown): void {
    const { sources, saw } = this.#world
    if (call.what === START) this.phase = 'ended'
    if (call.what === START && !this.hasRoom) return
    if (!(error instanceof sources.StoreFailure)) throw error
    if (error.code === 'storage_failed') {
      assert(this.hasFailed, error)
      saw('a call was rejected since the disk had failed')
    } else {
      assert.equal(error.code, 'storage_full')
      assert(this.fulls > call.fulls, 'rejected although the disk was not full')
      saw('a call was rejected since the disk was full')
    }
  }

  #given(result: Result): void {
    if (!('leases' in result)) return
    const { history } = this.#world
    const tokens = result.leases.map(({ fencingToken }) => fencingToken)
    history.highestToken = Math.max(history.highestToken, ...tokens)
  }

  #listen(events: StoreEvents): StoreEvents {
    const { history, disk, note } = this.#world
    return {
      ...events,
      isHeard: () => true,
      changed: (changes) => {
        this.guard(() => {
          for (const { kind, keyId, fencingToken } of changes) {
            note(`told ${kind} ${keyId}`)
            if (kind === 'created') history.told(keyId, disk.sequence)
            if (kind === 'leased') history.told(fencingToken, disk.sequence)
          }
        })
      },
      failed: (failure) => {
        events.failed!(failure)
        this.guard(() => {
          assert(this.hasFailed, failure)
        })
      },
    }
  }
}
