import type { Random } from '../../src/engine/random.ts'

/** xoshiro128** (Blackman and Vigna): the same seed gives the same run. */
export class SeededRandom implements Random {
  readonly #state: Uint32Array

  constructor(seed: number) {
    // Its state comes from splitmix32, so that neighbouring seeds have nothing in common.
    this.#state = Uint32Array.from({ length: 4 }, (_, word) => {
      let mixed = (seed + 0x9e3779b9 * (word + 1)) | 0
      mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad)
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
      return mixed ^ (mixed >>> 15)
    })
  }

  uint32(): number {
    const s = this.#state
    const result = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9) >>> 0
    const shifted = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= shifted
    s[3] = rotate(s[3]!, 11)
    return result
  }

  /** A whole number in [0, bound). */
  below(bound: number): number {
    return Math.floor((this.uint32() / 2 ** 32) * bound)
  }

  chance(probability: number): boolean {
    return this.uint32() < probability * 2 ** 32
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)]
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by))
}
