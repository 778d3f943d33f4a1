import { PAGE_MASK, PAGE_SHIFT, type Pages } from './pages.ts'
import { RANK_WORD, type Rows, State } from './rows.ts'

const LAST: State = State.available

/**
 * All keys of one pool in one dense array, in one region for each state: a key is in exactly one
 * state by construction. A region's size is the count, a random place in it the uniform draw. A move
 * between neighbouring regions is one swap across their border; a key's row keeps its rank here.
 */
export class StateSets {
  readonly #rows: Rows
  readonly #pages: Pages
  readonly #totals: number[]
  readonly #mine: number[] = []
  /** Rank after the last key of each state. */
  readonly #ends = [0, 0, 0, 0]

  /** `totals` counts the keys of all pools by state. */
  constructor(rows: Rows, pages: Pages, totals: number[]) {
    this.#rows = rows
    this.#pages = pages
    this.#totals = totals
  }

  get size(): number {
    return this.#ends[LAST]!
  }

  count(state: State): number {
    return this.#ends[state]! - this.#start(state)
  }

  /** The slot at place `index` of a state's region, 0 <= index < count(state). */
  at(state: State, index: number): number {
    return this.atRank(this.#start(state) + index)
  }

  /** The slot at a rank over all states, 0 <= rank < size. */
  atRank(rank: number): number {
    return this.#pages.items[this.#at(rank)]!
  }

  add(slot: number, state: State): void {
    const rank = this.#ends[LAST]!
    if (rank >> PAGE_SHIFT === this.#mine.length) this.#mine.push(this.#pages.take())
    this.#ends[LAST] = rank + 1
    this.#totals[LAST]!++
    this.#put(rank, slot)
    if (state !== LAST) this.move(slot, LAST, state)
  }

  remove(slot: number, state: State): void {
    if (state !== LAST) this.move(slot, state, LAST)
    const last = --this.#ends[LAST]!
    this.#totals[LAST]!--
    this.#swap(this.#rankOf(slot), last)
    if ((last & PAGE_MASK) === 0) this.#pages.give(this.#mine.pop()!)
  }

  /** Moves a slot over the borders between two regions, one swap each. */
  move(slot: number, from: State, to: State): void {
    this.#totals[from]!--
    this.#totals[to]!++
    let rank = this.#rankOf(slot)
    for (let state: number = from; state < to; state++) {
      const last = --this.#ends[state]!
      this.#swap(rank, last)
      rank = last
    }
    for (let state: number = from; state > to; state--) {
      const first = this.#ends[state - 1]!++
      this.#swap(rank, first)
      rank = first
    }
  }

  #start(state: State): number {
    return state === 0 ? 0 : this.#ends[state - 1]!
  }

  #rankOf(slot: number): number {
    return this.#rows.words[slot * this.#rows.stride + RANK_WORD]!
  }

  #at(rank: number): number {
    return (this.#mine[rank >> PAGE_SHIFT]! << PAGE_SHIFT) | (rank & PAGE_MASK)
  }

  #put(rank: number, slot: number): void {
    this.#pages.items[this.#at(rank)] = slot
    this.#rows.words[slot * this.#rows.stride + RANK_WORD] = rank
  }

  #swap(a: number, b: number): void {
    if (a === b) return
    const slot = this.atRank(a)
    this.#put(a, this.atRank(b))
    this.#put(b, slot)
  }
}
