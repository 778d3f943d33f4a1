import type { Clock } from '../../clock.ts'
import { CHANGE_NAMES, type Change, ChangeKind, type ChangeName } from '../../engine/changes.ts'
import { Engine, Run } from '../../engine/engine.ts'
import type { Refusal } from '../../engine/errors.ts'
import type { Operation, Results } from '../../engine/operations.ts'
import type { Policy } from '../../engine/policy.ts'
import { UNSETTLED } from '../../engine/pool.ts'
import type { Random } from '../../engine/random.ts'
import { NEVER } from '../../engine/rows.ts'
import type { TableLimits } from '../../engine/tables.ts'
import type { Store, StoreEvents, StoreStats } from '../store.ts'

/** Keys settled between two looks at the stopwatch. */
const KEYS_A_LOOK = 64
/** How long is settled for those who wait for it before others go first. */
const TURN_MS = 0.5

/** The engine in this process. */
export class EmbeddedStore implements Store {
  readonly #engine: Engine
  readonly #clock: Clock
  readonly #events: StoreEvents
  /** The instant that was last announced by `wakeAt`, unless it has come. */
  #announced = NEVER
  #changes: Change[] = []
  #nextTurn: Promise<void> | null = null

  /** @throws RangeError where the operating system refuses to reserve room for that many keys. */
  constructor(limits: TableLimits, clock: Clock, random: Random, events: StoreEvents) {
    this.#engine = new Engine(limits, random)
    this.#clock = clock
    this.#events = events
    const { tables } = this.#engine
    tables.onAvailable = events.available ?? null
    if (events.changed !== undefined) tables.onChange = (change) => this.#changes.push(change)
  }

  async run<const O extends readonly Operation[]>(
    pool: string,
    operations: O,
  ): Promise<Results<O>> {
    const run = new Run(pool, operations)
    while (!this.#engine.run(run, this.#clock.now())) await this.#turn()
    this.#announce()
    return run.results as Results<O>
  }

  async putPool(name: string, policy: Policy): Promise<'created' | 'replaced' | Refusal> {
    for (;;) {
      const result = this.#engine.putPool(name, policy)
      if (result !== UNSETTLED) return result
      await this.#turn()
    }
  }

  async removePool(name: string): Promise<Refusal | null> {
    const refusal = this.#engine.removePool(name)
    this.#announce()
    return refusal
  }

  async policy(name: string): Promise<Policy | undefined> {
    return this.#engine.policy(name)
  }

  async settle(budgetMs: number): Promise<void> {
    this.#announced = NEVER
    this.#settleFor(budgetMs)
    this.#announce()
  }

  async stats(pools: number): Promise<StoreStats> {
    while (this.#engine.nextDue <= this.#clock.now()) await this.#turn()
    this.#announce()
    const { tables } = this.#engine
    const [disabled, cooling, leased, available] = tables.stateCounts
    const named = this.#engine.poolNames().take(pools)
    return {
      keys: { available: available!, leased: leased!, cooling: cooling!, disabled: disabled! },
      poolCount: this.#engine.poolCount,
      pools: [...named.map((name) => ({ name, counts: this.#engine.settledCounts(name)! }))],
      changes: namedCounts(tables.changeCounts),
      bytes: tables.bytes,
    }
  }

  async close(): Promise<void> {
    // Nothing to write: what is in memory ends with the process.
  }

  /** Settles for a while when others have had their turn. All who wait share it: many cost no more than one. */
  #turn(): Promise<void> {
    this.#nextTurn ??= this.#clock.yield().then(() => {
      this.#nextTurn = null
      this.#settleFor(TURN_MS)
    })
    return this.#nextTurn
  }

  #settleFor(budgetMs: number): void {
    const deadline = this.#clock.elapsedMs() + budgetMs
    while (this.#engine.settle(this.#clock.now(), KEYS_A_LOOK) === KEYS_A_LOOK) {
      if (this.#clock.elapsedMs() >= deadline) return
    }
  }

  /** Tells what has happened, and when to settle next if that is earlier than was said. */
  #announce(): void {
    if (this.#changes.length > 0) {
      const changes = this.#changes
      this.#changes = []
      this.#events.changed!(changes)
    }
    const due = this.#engine.nextDue
    if (due >= this.#announced) return
    this.#announced = due
    this.#events.wakeAt(due)
  }
}

function namedCounts(counts: number[]): Record<ChangeName, number> {
  const entries = CHANGE_NAMES.map((name) => [name, counts[ChangeKind[name]]!])
  return Object.fromEntries(entries) as Record<ChangeName, number>
}
