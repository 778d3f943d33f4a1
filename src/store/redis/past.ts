/** A key of a pool that was emptied has its history where that was. */
import type { Operation, Result } from '../../engine/operations.ts'
import type { Random } from '../../engine/random.ts'
import type { Shard } from './shard.ts'
import { fromWire, toWire } from './wire.ts'

/** Looks for what is not found in a pool, which was put in the place of `emptied`, as that may have been. */
export async function lookBack(
  operations: readonly Operation[],
  results: Result[],
  emptied: number,
  random: Random,
  shardOf: (uid: number, keyId: string) => Shard,
): Promise<void> {
  for (const [place, operation] of operations.entries()) {
    if (operation.op !== 'history' || !isMissing(results[place]!)) continue
    for (let uid: number | undefined = emptied; uid !== undefined;) {
      const shard = shardOf(uid, operation.keyId)
      const found = await shard.ask(toWire(operation, shard.place, random), { past: true })
      if (found?.code !== 'key_not_found') {
        if (found !== null) results[place] = fromWire(found, uid)
        break
      }
      uid = found.before
    }
  }
}

function isMissing(result: Result): boolean {
  return 'code' in result && result.code === 'key_not_found'
}
