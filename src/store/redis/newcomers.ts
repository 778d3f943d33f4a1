/** Keys that come to be in several shards: all or none, as far as shards can be asked. */
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import {
  type CreateOperation,
  type ImportOperation,
  isRefusal,
  type Result,
} from '../../engine/operations.ts'
import { unpackKeyId } from '../../engine/packed-ids.ts'
import { shardOfKey, shardOfText } from './layout.ts'
import { type AllShards, countsOf, type Part } from './all-shards.ts'
import { listOf } from './wire.ts'

/** Spread evenly, from a shard by chance on. */
export async function createInAll(all: AllShards, operation: CreateOperation): Promise<Result> {
  const refused = await whyFull(all, operation.count)
  if (refused !== null) return refused
  const { count: length } = all
  const first = all.random.uint32() % length
  const parts = Array.from({ length: Math.min(length, operation.count) }, (_, place) => {
    const count = Math.ceil((operation.count - place) / length)
    return { shard: (first + place) % length, operations: [{ ...operation, count }] }
  })
  const results = await allOrNone(all, parts, operation.by)
  if (!Array.isArray(results)) return results
  return { keyIds: results.flatMap((result) => keyIdsIn(result)) }
}

/** Each value in the shard that it belongs to, unless any shard has it. */
export async function importIntoAll(all: AllShards, operation: ImportOperation): Promise<Result> {
  const digests = operation.keys.map(({ value }) => value.digest)
  const holders = await holdersOf(all, digests)
  const firsts = new Map<string, number>()
  for (const [index, digest] of digests.entries()) {
    if (!firsts.has(digest)) firsts.set(digest, index)
  }
  const isFresh = (index: number): boolean =>
    !holders.has(index) && firsts.get(digests[index]!) === index
  const fresh = [...digests.keys()].filter(isFresh)
  if (operation.onDuplicate === 'refuse' && fresh.length < digests.length) {
    const index = [...digests.keys()].find((index) => !isFresh(index))!
    const keyId = holders.get(index)
    const has = keyId === undefined ? { firstIndex: firsts.get(digests[index]!)! } : { keyId }
    return { code: 'duplicate_value', duplicate: { index, ...has } }
  }
  const refused = await whyFull(all, fresh.length)
  if (refused !== null) return refused
  const { count: length } = all
  const places = [...Map.groupBy(fresh, (index) => shardOfText(digests[index]!, length))]
  const parts = places.map(([shard, indices]) => {
    const keys = indices.map((index) => operation.keys[index]!)
    return { shard, operations: [{ ...operation, keys }] }
  })
  const results = await allOrNone(all, parts, operation.by, (part, refusal) => {
    const { duplicate } = refusal
    if (duplicate === undefined) return refusal
    return { ...refusal, duplicate: { ...duplicate, index: places[part]![1][duplicate.index]! } }
  })
  if (!Array.isArray(results)) return results
  const made = new Map<number, string>()
  for (const [part, [, indices]] of places.entries()) {
    const result = results[part]!
    const skipped = 'skipped' in result ? result.skipped : []
    // A value that came meanwhile.
    for (const { index, keyId } of skipped) holders.set(indices[index]!, keyId)
    const keyIds = keyIdsIn(result).values()
    for (const index of indices) {
      if (!holders.has(index)) made.set(index, keyIds.next().value!)
    }
  }
  return {
    keyIds: fresh.flatMap((index) => made.get(index) ?? []),
    skipped: [...digests.keys()]
      .filter((index) => !made.has(index))
      .map((index) => {
        const first = firsts.get(digests[index]!)!
        return { index, keyId: holders.get(index) ?? holders.get(first) ?? made.get(first)! }
      }),
  }
}

/** Dead keys are no reason. Who makes some at the same time is not seen. */
async function whyFull(all: AllShards, count: number): Promise<Refusal | null> {
  const looks = await all.look()
  const { available, leased, cooling, disabled } = countsOf(looks)
  const most = Math.min(...looks.map(({ maxKeys }) => maxKeys))
  return available + leased + cooling + disabled + count > most ? REFUSED.pool_full : null
}

/** By index the keys that have values; those of keys that came by a migration are where their ids say. */
async function holdersOf(all: AllShards, digests: string[]): Promise<Map<number, string>> {
  const told = await Promise.all(
    Array.from({ length: all.count }, (_, shard) => all.ask(shard, { op: 'holders', digests })),
  )
  const found = told.flatMap(({ holders }) => listOf(holders))
  return new Map(found.map(([index, id]) => [index, unpackKeyId(id)]))
}

/**
 * Each part makes keys. Where one is refused or fails the keys of the others are removed, and that is answered.
 * @throws Gone, StoreFailure
 */
async function allOrNone(
  all: AllShards,
  parts: readonly Part[],
  by: string | undefined,
  refusalOf = (_part: number, refusal: Refusal): Refusal => refusal,
): Promise<Result[] | Refusal> {
  const { results, failure } = await all.tryRun(parts)
  const firsts = results.map((result) => result?.[0] ?? null)
  const refused = firsts.findIndex((result) => result !== null && isRefusal(result))
  if (failure === null && refused === -1) {
    all.changes++
    return firsts as Result[]
  }
  const keyIds = firsts.flatMap((result) => (result === null ? [] : keyIdsIn(result)))
  await remove(all, keyIds, by)
  if (failure !== null) throw failure as Error
  return refusalOf(refused, firsts[refused] as Refusal)
}

async function remove(all: AllShards, keyIds: string[], by: string | undefined): Promise<void> {
  const { count: length } = all
  const parts = [...Map.groupBy(keyIds, (keyId) => shardOfKey(keyId, length))].map(
    ([shard, keyIds]) => {
      return { shard, operations: keyIds.map((keyId) => ({ op: 'remove', keyId, by }) as const) }
    },
  )
  const { failure } = await all.tryRun(parts)
  if (failure !== null) all.changes++
}

function keyIdsIn(result: Result): string[] {
  return 'keyIds' in result ? result.keyIds : []
}
