import type { Clock } from '../clock.ts'
import type { Operation, Results } from '../engine/operations.ts'
import { ERRORS } from '../engine/errors.ts'
import { DEFAULT_POLICY, type Policy } from '../engine/policy.ts'
import { type Store, type StoreEvents, StoreFailure, type StoreStats } from '../store/store.ts'
import { Sweeper } from './sweeper.ts'

/** The pool of the classic API, which is always there. */
export const DEFAULT_POOL = 'default'

/** The application, whatever protocol it is spoken to by: one store and the timer that keeps it tidy. */
export class Orchestrator {
  readonly #sweeper: Sweeper
  readonly #failure = Promise.withResolvers<StoreFailure>()
  #store!: Store
  #storeHealth: 'ok' | 'storage_full' = 'ok'
  #draining = false

  private constructor(clock: Clock) {
    this.#sweeper = new Sweeper(clock, (budgetMs) => this.#store.settle(budgetMs))
  }

  /**
   * Opens the store and sees to it that the default pool is there. What is given of its policy goes before
   * what it was.
   * @throws what `openStore` throws, StoreFailure where the policy cannot be saved, and Error where it
   *   contradicts itself.
   */
  static async start(
    clock: Clock,
    openStore: (events: StoreEvents) => Store | Promise<Store>,
    given: Partial<Policy>,
  ): Promise<Orchestrator> {
    const orchestrator = new Orchestrator(clock)
    const store = await openStore(orchestrator.#events())
    orchestrator.#store = store
    try {
      await orchestrator.#putDefaultPool(given)
    } catch (error) {
      await orchestrator.close()
      throw error
    }
    orchestrator.#sweeper.start()
    return orchestrator
  }

  /** Whether new work is welcome, or why not. */
  get status(): 'ready' | 'draining' | 'storage_full' {
    if (this.#draining) return 'draining'
    return this.#storeHealth === 'ok' ? 'ready' : this.#storeHealth
  }

  /** Resolves when the store cannot go on; every call fails from then on. */
  get failure(): Promise<StoreFailure> {
    return this.#failure.promise
  }

  run<const O extends readonly Operation[]>(pool: string, operations: O): Promise<Results<O>> {
    return this.#store.run(pool, operations)
  }

  stats(pools: number): Promise<StoreStats> {
    return this.#store.stats(pools)
  }

  /** Makes a consistent copy of all that is saved; its file on this machine is the caller's. */
  backup(): Promise<string> {
    return this.#store.backup()
  }

  /** From now on the status says so; what has begun goes on. */
  drain(): void {
    this.#draining = true
  }

  async close(): Promise<void> {
    this.#draining = true
    this.#sweeper.stop()
    await this.#store.close()
  }

  #events(): StoreEvents {
    return {
      wakeAt: (instant) => {
        this.#sweeper.wakeAt(instant)
      },
      health: (health) => {
        this.#storeHealth = health
      },
      failed: (failure) => {
        this.#failure.resolve(failure)
      },
    }
  }

  async #putDefaultPool(given: Partial<Policy>): Promise<void> {
    const before = await this.#store.policy(DEFAULT_POOL)
    if (before !== undefined && Object.keys(given).length === 0) return
    const policy = { ...DEFAULT_POLICY, ...before, ...given }
    const maxLeaseTtlMs = Math.max(policy.leaseTtlMs, policy.maxLeaseTtlMs)
    const wanted = { ...policy, maxLeaseTtlMs }
    if (before !== undefined && isSame(before, wanted)) return
    const put = await this.#store.putPool(DEFAULT_POOL, wanted)
    if (typeof put === 'string') return
    if (put.code === 'storage_full') throw new StoreFailure('storage_full')
    throw new Error(`the default pool cannot be made: ${put.detail ?? ERRORS[put.code].title}`)
  }
}

function isSame(a: Policy, b: Policy): boolean {
  return (Object.keys(b) as (keyof Policy)[]).every((field) => a[field] === b[field])
}
