import { reserve } from './reserve.ts'

export const PAGE_SHIFT = 6
export const PAGE_SIZE = 1 << PAGE_SHIFT
export const PAGE_MASK = PAGE_SIZE - 1

/**
 * Small pages of numbers cut from one reserved buffer, so that a hundred thousand pools can each
 * have growing arrays without a buffer each. A list keeps the numbers of its pages; entry `i` lies at
 * `(pages[i >> PAGE_SHIFT] << PAGE_SHIFT) | (i & PAGE_MASK)`. A free page's first entry names the next free page.
 */
export class Pages {
  readonly items: Uint32Array
  #free = 0
  #fresh = 1

  /** Room for `entries` spread over `lists` lists. */
  constructor(entries: number, lists: number) {
    const pages = Math.ceil(entries / PAGE_SIZE) + lists + 1
    this.items = new Uint32Array(reserve(pages * PAGE_SIZE * 4))
  }

  get bytes(): number {
    return (this.#fresh - 1) * PAGE_SIZE * 4
  }

  take(): number {
    const page = this.#free
    if (page === 0) return this.#fresh++
    this.#free = this.items[page << PAGE_SHIFT]!
    return page
  }

  give(page: number): void {
    this.items[page << PAGE_SHIFT] = this.#free
    this.#free = page
  }
}
