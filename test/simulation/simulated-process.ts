import assert from 'node:assert/strict'
import type { Engine } from '../../src/engine/engine.ts'
import type { Operation, Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { TableLimits } from '../../src/engine/tables.ts'
import type { Orchestrator } from '../../src/service/orchestrator.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { TEST_MASTER_KEY } from '../support/server.ts'
import type { SimulatedDisk } from '../support/simulated-disk.ts'
import { audit } from './audit.ts'
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

/** A call under way. */
export interface Call {
  readonly what: string
  /** What its answer has seen so far. */
  seen: Seen | null
  /** It is half done, and waits for settling. */
  isUnsettled: boolean
  /** What its answer must be, where that is not for the history to say. */
  expected: unknown
  /** How often the disk had been full when it came. */
  readonly fulls: number
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
  readonly #world: World
  readonly #callOf = new WeakMap<readonly Operation[], Call>()
  #orchestrator!: Orchestrator
  #store!: Store

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
        this.#store = await sources.EmbeddedStore.open(
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
        return this.#store
      },
      { policy: {}, masterKeys: () => [TEST_MASTER_KEY], random },
    )
    this.#follow(call, started, (orchestrator) => {
      this.#orchestrator = orchestrator
      this.phase = 'serving'
    })
  }

  run(pool: string, operations: Operation[]): void {
    const call = this.#begin(`${pool} ${operations.map(({ op }) => op).join(' ')}`)
    this.#callOf.set(operations, call)
    this.#follow(call, this.#orchestrator.runBatch(pool, operations, null), (results) => {
      assert(!('code' in results))
      for (const result of results) this.#given(result)
    })
  }

  putPool(name: string, policy: Policy): void {
    this.#callPools(`put ${name}`, () => this.#store.putPool(name, policy))
  }

  removePool(name: string): void {
    this.#callPools(`remove ${name}`, () => this.#store.removePool(name, { force: true }))
  }

  askPolicy(name: string): void {
    this.#callPools(`policy ${name}`, () => this.#store.policy(name))
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

  callOf(operations: readonly Operation[]): Call {
    return this.#callOf.get(operations)!
  }

  setRoom(left: boolean): void {
    this.hasRoom = left
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
    assert(this.engine!.nextDue > this.clock.now(), 'the sweeper was not woken')
    assert.equal(this.#world.history.untold.size, 0, 'a change was not told')
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

  #begin(what: string): Call {
    this.#world.note(`call ${what}`)
    if (this.isReloading) this.#world.saw('a call came while the state was read anew')
    const call: Call = {
      what,
      seen: null,
      isUnsettled: false,
      expected: undefined,
      fulls: this.fulls,
    }
    this.calls.add(call)
    return call
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
    }
    answer.then(
      (told) => {
        this.guard(() => {
          ended('answered')
          assert(!this.hasFailed, 'answered although the disk has failed')
          assert(call.seen !== null, 'answered without a look')
          history.answered(call.seen, disk)
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

  #rejected(call: Call, error: unknown): void {
    const { sources, saw } = this.#world
    if (call.what === 'start') this.phase = 'ended'
    if (call.what === 'start' && !this.hasRoom) return
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
