/** What the benchmarks of the engine share: its limits, a clock that they move, and a stopwatch. */
import type { Policy } from '../src/engine/policy.ts'
import { DEFAULT_POLICY } from '../src/engine/policy.ts'

/** Those of `serve`: they reserve addresses, so the engine is as a server has it. */
export const LIMITS = { maxTotalKeys: 16_000_000, maxPools: 100_000 }

export const LIFETIME_MS = 3_600_000
export const POLICY: Policy = { ...DEFAULT_POLICY, keyLifetimeMs: LIFETIME_MS }

/** The engine is handed its time; here it moves on with the work. */
export class WorkClock {
  #elapsedMs = 0

  get now(): number {
    return 1_800_000_000_000 + Math.floor(this.#elapsedMs)
  }

  advance(ms: number): void {
    this.#elapsedMs += ms
  }
}

/** How often a second `work` does its share of `count`; what `prepare` does is not on the watch. */
export function rate(
  forMs: number,
  count: number,
  work: () => void,
  prepare: () => void = () => undefined,
): number {
  let done = 0
  let workedMs = 0
  while (workedMs < forMs) {
    prepare()
    const start = performance.now()
    work()
    workedMs += performance.now() - start
    done += count
  }
  return (done / workedMs) * 1000
}

let state = 0x9e3779b9

/** A number in [0, bound): xorshift, so that choosing costs the measured work next to nothing. */
export function anyBelow(bound: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % bound
}
