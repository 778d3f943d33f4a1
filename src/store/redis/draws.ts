/** Draws from a pool of several shards. */
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import {
  type AcquireOperation,
  isRefusal,
  type Lease,
  type Result,
} from '../../engine/operations.ts'
import { randomChance } from '../../engine/packed-ids.ts'
import type { Random } from '../../engine/random.ts'
import { shardOfKey } from './layout.ts'
import { type AllShards, countsOf } from './all-shards.ts'
import type { Look } from './wire.ts'

/** After so many looks at all shards, each of which promised a key that another got, there is none. */
const MAX_LOOKS = 10

/** One that takes any free keys, or leaves some. */
export async function acquireFromAll(all: AllShards, operation: AcquireOperation): Promise<Result> {
  const { count = 1, leave = 0, ttlMs = 0, keyId } = operation
  if (keyId !== undefined) return acquireKey(all, keyId, operation)
  const draw = new Draw(all, operation)
  if (count > 0 && leave === 0) {
    const known = all.available
    if (known !== null) await draw.take(count, known)
  }
  let looks: readonly Look[] = []
  for (let turn = 0; turn < MAX_LOOKS && draw.wants(count); turn++) {
    looks = await lookForFree(all)
    if (draw.isEmpty && isTooLong(ttlMs, looks)) return REFUSED.ttl_too_long
    const most = countsOf(looks).available - leave
    if (most <= 0 || count === 0) break
    await draw.take(
      Math.min(count - draw.count, most),
      looks.map(({ available }) => available),
    )
  }
  return draw.refusal ?? draw.result ?? nothingToGive(looks)
}

/** That key, as long as so many others are left. */
async function acquireKey(
  all: AllShards,
  keyId: string,
  { leave = 0, ...operation }: AcquireOperation,
): Promise<Result> {
  const isEnough = countsOf(await all.look()).available > leave
  const part = isEnough ? operation : { ...operation, count: 0 }
  const shard = shardOfKey(keyId, all.count)
  return (await all.run([{ shard, operations: [part] }]))[0]![0]!
}

/** What an acquire gets, of one shard after another. */
class Draw {
  readonly #all: AllShards
  readonly #operation: AcquireOperation
  #leases: Lease[] = []
  /** Why it gets nothing, whatever is free. */
  refusal: Refusal | null = null

  constructor(all: AllShards, operation: AcquireOperation) {
    this.#all = all
    this.#operation = operation
  }

  get count(): number {
    return this.#leases.length
  }

  get isEmpty(): boolean {
    return this.#leases.length === 0
  }

  /** In the order of their tokens, without what is over by now, unless that is all; null: there were none. */
  get result(): Result | null {
    if (this.isEmpty) return null
    const now = this.#all.clock.now()
    const live = this.#leases.filter(({ expiresAt }) => expiresAt > now)
    const leases = live.length > 0 ? live : this.#leases
    return { leases: leases.sort((a, b) => a.fencingToken - b.fencingToken) }
  }

  /** Whether it is to be looked for more, or for the reason that there is none. */
  wants(count: number): boolean {
    return this.refusal === null && (count === 0 || this.count < count)
  }

  /** Up to so many, of shards that have so many each. */
  async take(count: number, available: readonly number[]): Promise<void> {
    const counts = deal(count, available, this.#all.random)
    const parts = [...counts].map(([shard, count]) => {
      return { shard, operations: [{ ...this.#operation, leave: 0, count }] }
    })
    for (const [result] of await this.#all.run(parts, !this.isEmpty)) {
      if ('leases' in result!) this.#leases.push(...result.leases)
      else if (this.isEmpty && isRefusal(result!) && !mayCome(result)) this.refusal = result
    }
    if (!this.isEmpty) this.refusal = null
  }
}

/** How many of `count` keys are drawn where, each of all with the same chance. */
function deal(count: number, available: readonly number[], random: Random): Map<number, number> {
  const left = [...available]
  const counts = new Map<number, number>()
  for (let dealt = 0; dealt < count; dealt++) {
    const shard = pick(left, random)
    if (shard === null) break
    left[shard]!--
    counts.set(shard, (counts.get(shard) ?? 0) + 1)
  }
  return counts
}

/** The shard of one of all available keys; null: there are none. */
function pick(available: readonly number[], random: Random): number | null {
  const total = available.reduce((sum, one) => sum + one, 0)
  if (total === 0) return null
  let rank = Math.floor(randomChance(random) * total)
  return available.findIndex((one) => (rank -= one) < 0)
}

/** Where one key may be drawn, or why nowhere. `isAnother`: it was not where it was thought to be. */
export async function placeToDraw(
  all: AllShards,
  { ttlMs = 0 }: AcquireOperation,
  isAnother: boolean,
): Promise<number | Refusal> {
  const known = isAnother ? null : all.available
  const likely = known && pick(known, all.random)
  if (likely !== null) return likely
  const looks = await lookForFree(all)
  if (isTooLong(ttlMs, looks)) return REFUSED.ttl_too_long
  const available = looks.map((look) => look.available)
  return pick(available, all.random) ?? nothingToGive(looks)
}

/** Of many draws that follow each other the first one that finds nothing tells the others. */
async function lookForFree(all: AllShards): Promise<readonly Look[]> {
  if (all.nothing !== null) return all.nothing
  const looks = await all.look()
  if (looks.every(({ available }) => available === 0)) all.nothing = looks
  return looks
}

function isTooLong(ttlMs: number, looks: readonly Look[]): boolean {
  return looks.some(({ maxLeaseTtlMs }) => ttlMs > maxLeaseTtlMs)
}

/** Whether another shard may have what one has not. */
export function mayCome({ code }: Refusal): boolean {
  return code === 'pool_exhausted' || code === 'pool_empty'
}

/** As lua/acquire.lua says it of one shard. */
function nothingToGive(looks: readonly Look[]): Refusal {
  const { available, leased, cooling, disabled } = countsOf(looks)
  const counts = { leased, cooling, disabled }
  if (available + leased + cooling === 0) return { code: 'pool_empty', counts }
  const waits = looks.flatMap(({ nextAvailableAt, now }) =>
    nextAvailableAt === null ? [] : [nextAvailableAt - now],
  )
  if (waits.length === 0) return { code: 'pool_exhausted', counts }
  return { code: 'pool_exhausted', counts, retryAfterMs: Math.min(...waits) }
}
