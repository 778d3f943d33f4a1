import type { KeyIndex } from './key-index.ts'

/** An index is filled in so many steps. */
export const PARTS = 256
/** How far the number of ids in a part may lie from the mean: more comes once in 10^9 parts. */
const DEVIATIONS = 6

/**
 * Fills an index that is empty. One by one, each key would wait for a line of memory anywhere in the
 * table; sorted by the part of the table that they belong to, they find that part in the processor's cache.
 */
export class KeyIndexFill {
  readonly #index: KeyIndex
  /** By part: homes and entries, in turn. */
  readonly #pairs: Uint32Array
  readonly #ends: Uint32Array
  /** Words that a part has in `pairs`. */
  readonly #room: number
  readonly #shift: number
  #finished = 0

  /** @throws RangeError where the system refuses the memory. */
  constructor(index: KeyIndex, slots: number) {
    index.reserve(slots)
    const mean = slots / PARTS
    this.#index = index
    this.#room = 2 * Math.ceil(mean + DEVIATIONS * Math.sqrt(mean))
    this.#pairs = new Uint32Array(PARTS * this.#room)
    this.#ends = Uint32Array.from({ length: PARTS }, (_, part) => part * this.#room)
    this.#shift = Math.log2(index.places / PARTS)
  }

  /** Adds a slot whose row has its id. */
  add(slot: number): void {
    const home = this.#index.homeOf(slot)
    const entry = this.#index.entryOf(slot)
    const part = home >>> this.#shift
    const at = this.#ends[part]!
    if (at === (part + 1) * this.#room) {
      this.#index.addEntry(home, entry) // ids are not so evenly spread, which only costs time
      return
    }
    this.#pairs[at] = home
    this.#pairs[at + 1] = entry
    this.#ends[part] = at + 2
  }

  /** When all are added: puts a part of them in their places. Returns whether it was the last. */
  finishPart(): boolean {
    const end = this.#ends[this.#finished]!
    for (let at = this.#finished * this.#room; at < end; at += 2) {
      this.#index.addEntry(this.#pairs[at]!, this.#pairs[at + 1]!)
    }
    this.#finished++
    return this.#finished === PARTS
  }
}
