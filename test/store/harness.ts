import assert from 'node:assert/strict'
import type { Change } from '../../src/engine/changes.ts'
import {
  type Answers,
  isRefusal,
  type Operation,
  type Result,
} from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import type { HistoryLimits } from '../../src/engine/history.ts'
import type { Random } from '../../src/engine/random.ts'
import type { TableLimits } from '../../src/engine/tables.ts'
import { Sweeper } from '../../src/service/sweeper.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'
import { LIMITS, type Subject } from '../support/model-steps.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export type OpenStore = (
  limits: TableLimits,
  clock: VirtualClock,
  random: Random,
  events: StoreEvents,
) => Store | Promise<Store>

/** Each look at the stopwatch costs some time, so that work with a budget comes to its end. */
export class BusyClock extends VirtualClock {
  #looks = 0

  /** What was last begun. */
  working: Promise<unknown> = Promise.resolve()

  override elapsedMs(): number {
    return this.#looks++ * 0.3
  }

  override async idle(): Promise<unknown> {
    await this.yield()
    return this.working
  }
}

/** A store under test, at a virtual time, and all that it has told. */
export class Harness {
  readonly clock = new BusyClock()
  store!: Store
  readonly changes: Change[] = []
  readonly wakes: number[] = []
  readonly available: string[] = []
  #sweeper: Sweeper | undefined

  /** With a pool of that name. Nobody settles it but who asks, unless it is swept. */
  static async open(
    openStore: OpenStore,
    policy: Partial<Policy> = {},
    options: {
      swept?: boolean
      maxTotalKeys?: number
      maxPools?: number
      history?: HistoryLimits
    } = {},
  ): Promise<Harness> {
    const { swept = false, maxTotalKeys = 50_000, maxPools = 10, history = null } = options
    const harness = new Harness()
    if (swept) {
      harness.#sweeper = new Sweeper(harness.clock, (budgetMs) => {
        const settled = harness.store.settle(budgetMs)
        harness.clock.working = settled
        return settled
      })
    }
    harness.store = await openStore(
      { maxTotalKeys, maxPools, history },
      harness.clock,
      new SeededRandom(1),
      {
        wakeAt: (instant) => {
          harness.wakes.push(instant)
          harness.#sweeper?.wakeAt(instant)
        },
        changed: (changes) => harness.changes.push(...changes),
        available: (pool) => harness.available.push(pool),
      },
    )
    await harness.putPool('pool', policy)
    harness.#sweeper?.start()
    return harness
  }

  get now(): number {
    return this.clock.now()
  }

  putPool(name: string, policy: Partial<Policy> = {}): ReturnType<Store['putPool']> {
    return this.store.putPool(name, { ...DEFAULT_POLICY, ...policy })
  }

  async ask(operation: Operation, pool = 'pool'): Promise<Result> {
    return (await this.store.run(pool, [operation]))[0]
  }

  /** The answer of an operation that must not be refused. */
  async do<O extends Operation>(operation: O, pool = 'pool'): Promise<Answers[O['op']]> {
    const result = await this.ask(operation, pool)
    assert(!isRefusal(result), `${operation.op}: ${JSON.stringify(result)}`)
    return result as Answers[O['op']]
  }

  async create(count = 1, pool = 'pool'): Promise<string[]> {
    return (await this.do({ op: 'create', count }, pool)).keyIds
  }

  async acquire(count = 1, pool = 'pool'): Promise<Answers['acquire']['leases']> {
    return (await this.do({ op: 'acquire', count }, pool)).leases
  }

  async stateOf(keyId: string): Promise<string> {
    const result = await this.ask({ op: 'show', keyId })
    if ('key' in result) return result.key.state
    assert('code' in result)
    return result.code
  }

  async close(): Promise<void> {
    this.#sweeper?.stop()
    await this.store.close()
  }
}

/**
 * A store in the random test against the model, which nobody settles but who asks. With a chance to be
 * opened again it must not be known from one that goes on.
 */
export class StoreSubject implements Subject {
  readonly #clock = new BusyClock()
  readonly #random: SeededRandom
  readonly #open: () => Store | Promise<Store>
  readonly #reopenChance: number
  #opened: Promise<Store>

  constructor(openStore: OpenStore, seed: number, reopenChance = 0) {
    this.#random = new SeededRandom(seed)
    this.#open = () => openStore(LIMITS, this.#clock, this.#random, { wakeAt: () => undefined })
    this.#opened = Promise.resolve(this.#open())
    this.#reopenChance = reopenChance
  }

  async run(pool: string, operations: Operation[], now: number): Promise<readonly Result[]> {
    if (this.#random.chance(this.#reopenChance)) this.#opened = Promise.resolve(this.#open())
    return (await this.#at(now)).run(pool, operations)
  }

  async close(): Promise<void> {
    await (await this.#opened).close()
  }

  async putPool(name: string, policy: Policy): ReturnType<Store['putPool']> {
    return (await this.#opened).putPool(name, policy)
  }

  async removePool(name: string): ReturnType<Store['removePool']> {
    return (await this.#opened).removePool(name, { force: true })
  }

  async settle(now: number): Promise<void> {
    await (await this.#at(now)).settle(1)
  }

  async #at(now: number): Promise<Store> {
    await this.#clock.advance(now - this.#clock.now())
    return this.#opened
  }
}
