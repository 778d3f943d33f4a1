import type { Clock } from '../clock.ts'
import type { Operation, Results } from '../engine/operations.ts'
import type { Policy } from '../engine/policy.ts'
import type { Store, StoreEvents, StoreStats } from '../store/store.ts'
import { Sweeper } from './sweeper.ts'

/** The pool of the classic API, which is always there. */
export const DEFAULT_POOL = 'default'

/** The application, whatever protocol it is spoken to by: one store and the timer that keeps it tidy. */
export class Orchestrator {
  readonly #store: Store
  readonly #sweeper: Sweeper
  #draining = false

  private constructor(clock: Clock, openStore: (events: StoreEvents) => Store) {
    this.#store = openStore({
      wakeAt: (instant) => {
        this.#sweeper.wakeAt(instant)
      },
    })
    this.#sweeper = new Sweeper(clock, (budgetMs) => this.#store.settle(budgetMs))
  }

  /** Opens the store and sees to it that the default pool is there, with that policy. */
  static async start(
    clock: Clock,
    openStore: (events: StoreEvents) => Store,
    defaultPolicy: Policy,
  ): Promise<Orchestrator> {
    const orchestrator = new Orchestrator(clock, openStore)
    await orchestrator.#store.putPool(DEFAULT_POOL, defaultPolicy)
    return orchestrator
  }

  /** Whether new work is welcome: not any more once `drain` was called. */
  get ready(): boolean {
    return !this.#draining
  }

  run<const O extends readonly Operation[]>(pool: string, operations: O): Promise<Results<O>> {
    return this.#store.run(pool, operations)
  }

  stats(pools: number): Promise<StoreStats> {
    return this.#store.stats(pools)
  }

  /** From now on `ready` is false; what has begun goes on. */
  drain(): void {
    this.#draining = true
  }

  async close(): Promise<void> {
    this.#draining = true
    this.#sweeper.stop()
    await this.#store.close()
  }
}
