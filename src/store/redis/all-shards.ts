/** The shards of a pool that has several, for what one caller asks. */
import type { Clock } from '../../clock.ts'
import {
  isRefusal,
  type Operation,
  type PoolCounts,
  READS,
  type Result,
} from '../../engine/operations.ts'
import type { Random } from '../../engine/random.ts'
import { StoreFailure } from '../store.ts'
import { Run } from './run.ts'
import type { Shard } from './shard.ts'
import type { Look, WireOperation, WireResult } from './wire.ts'

/** The pool is gone: a pool of several shards is there only as long as all of them are. */
export class Gone extends Error {}

/** Operations for one of the shards. */
export interface Part {
  shard: number
  operations: readonly Operation[]
}

export class AllShards {
  readonly random: Random
  readonly clock: Clock
  readonly #shards: readonly Shard[]
  /** How often something was changed for good: from then on a failure leaves the outcome unknown. */
  changes = 0
  /** What a look found that has found no free key, until something else is done than draws. */
  nothing: readonly Look[] | null = null

  constructor(shards: readonly Shard[], random: Random, clock: Clock) {
    this.#shards = shards
    this.random = random
    this.clock = clock
  }

  get uid(): number {
    return this.#shards[0]!.place.uid
  }

  get count(): number {
    return this.#shards.length
  }

  /** How many keys were free in each not long ago; null where one has not told. */
  get available(): readonly number[] | null {
    const known = this.#shards.flatMap(({ available }) => available ?? [])
    return known.length < this.count ? null : known
  }

  /** An operation of the script's own. */
  async ask(shard: number, operation: WireOperation): Promise<WireResult> {
    const result = await this.#shards[shard]!.ask(operation)
    if (result === null) throw new Gone()
    return result
  }

  /** What there is, once all that is due is settled. */
  async look(): Promise<Look[]> {
    const looks = await Promise.all(this.#shards.map((shard) => shard.look()))
    if (looks.includes(null)) throw new Gone()
    return looks as Look[]
  }

  /**
   * Does something in several shards at once. Null stands for the results of a part that failed, which is told once all
   * are done.
   * @throws Gone
   */
  async tryRun(
    parts: readonly Part[],
    begun = false,
  ): Promise<{ results: (Result[] | null)[]; failure: unknown }> {
    const runs = parts.map(({ operations }) => new Run(operations, this.random, begun))
    const told = await Promise.allSettled(
      parts.map(({ shard }, place) => this.#shards[shard]!.run(runs[place]!)),
    )
    let failure: unknown = null
    const results = told.map((one, place) => {
      if (one.status === 'fulfilled') return runs[place]!.results
      // Of several failures the one that leaves most open.
      if (failure === null || isOpen(one.reason)) failure = one.reason
      return null
    })
    if (told.some((one) => one.status === 'fulfilled' && one.value)) throw new Gone()
    return { results, failure }
  }

  /** The same, where no failure is borne. @throws Gone, StoreFailure */
  async run(parts: readonly Part[], begun = false): Promise<Result[][]> {
    const { results, failure } = await this.tryRun(parts, begun)
    const hasChanged = parts.some(({ operations }, place) =>
      results[place]?.some((result, at) => !isRefusal(result) && !READS.has(operations[at]!.op)),
    )
    if (hasChanged) this.changes++
    if (failure !== null) throw failure as Error
    return results as Result[][]
  }
}

function isOpen(error: unknown): boolean {
  return !(error instanceof StoreFailure) || error.code === 'storage_failed'
}

export function countsOf(looks: readonly Look[]): PoolCounts {
  const sum = (state: 'available' | 'leased' | 'cooling' | 'disabled'): number =>
    looks.reduce((total, look) => total + look[state], 0)
  const next = looks.flatMap(({ nextAvailableAt }) => nextAvailableAt ?? [])
  return {
    available: sum('available'),
    leased: sum('leased'),
    cooling: sum('cooling'),
    disabled: sum('disabled'),
    nextAvailableAt: next.length === 0 ? null : Math.min(...next),
  }
}
