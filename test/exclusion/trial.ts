/** Many callers at once on one server, and whether any two of them ever held the same key. */
import { SeededRandom } from '../support/seeded-random.ts'
import { Caller } from './caller.ts'
import { History } from './history.ts'
import { judge, type Verdict } from './judge.ts'
import { type Act, World } from './world.ts'

const CALLERS = 150

export interface Trial extends Verdict {
  leases: number
  acts: ReadonlyMap<Act, number>
  highestToken: number
}

/**
 * The servers are one to their callers. `tokenBefore` is the highest token of trials before this one; pools but the
 * default one have so many shards.
 */
export async function tryServer(
  ports: readonly number[],
  leases: number,
  seed: number,
  { tokenBefore = 0, shards = 1 } = {},
): Promise<Trial> {
  const random = new SeededRandom(seed)
  const world = new World(ports, new History(tokenBefore), leases, shards)
  await world.begin()
  const callers = Array.from(
    { length: CALLERS },
    () => new Caller(world, new SeededRandom(random.uint32())),
  )
  try {
    await Promise.all(callers.map((caller) => caller.work()))
  } finally {
    for (const caller of callers) caller.close()
  }
  const { held } = world.history
  return {
    ...judge(world.history),
    leases: held.length,
    acts: world.acts,
    highestToken: held.reduce((highest, { token }) => Math.max(highest, token), tokenBefore),
  }
}
