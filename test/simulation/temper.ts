import type { SeededRandom } from '../support/seeded-random.ts'

/** How a server, its disk and its callers are; each seed has its own. */
export interface Temper {
  // How often something happens, against each other.
  readonly crash: number
  readonly call: number
  readonly callPools: number
  readonly commit: number
  readonly passTime: number
  readonly turn: number
  readonly turnRoom: number
  /** Of calls, those who wait for a key or may repeat it. */
  readonly requestChance: number
  /** That somebody who waits hangs up. */
  readonly hangUp: number
  // Of each commit, and each start.
  readonly fullChance: number
  readonly failedChance: number
  readonly setBackChance: number
}

export function temperOf(random: SeededRandom): Temper {
  return {
    crash: random.pick([0.02, 0.1, 0.5])!,
    call: random.pick([0.3, 1, 4, 10])!,
    callPools: random.pick([0.3, 3])!,
    commit: random.pick([0.3, 2, 10])!,
    passTime: random.pick([0.5, 2, 5])!,
    turn: random.pick([0.5, 3, 10])!,
    turnRoom: random.pick([0, 0.02, 0.1])!,
    requestChance: random.pick([0, 0.2, 0.6])!,
    hangUp: random.pick([0, 0.1, 1])!,
    fullChance: random.pick([0, 0.02, 0.2])!,
    failedChance: random.pick([0, 0, 0.01, 0.05])!,
    setBackChance: random.pick([0, 0.5])!,
  }
}
