import { PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, Pages } from './pages.ts'
import { reserve } from './reserve.ts'
import { NEVER } from './rows.ts'

/**
 * A place in the heap counts from ROOT, so that the four children of a place lie side by side in one
 * page: those of `p` are `4p - 8` to `4p - 5`, its parent is `(p >> 2) + 2`. Place 0 means "absent".
 */
const ROOT = 3

/** What the heaps of all pools share: their pages, and the column that keeps each item's place. */
export class DeadlinePages extends Pages {
  readonly due: Float64Array
  readonly #column: Uint32Array
  readonly #stride: number
  readonly #word: number

  /** Item `i` keeps its place in `column[i * stride + word]`, which must be 0 before it is added. */
  constructor(entries: number, lists: number, column: Uint32Array, stride: number, word: number) {
    super(entries + lists * ROOT, lists) // each list leaves its first places empty
    this.due = new Float64Array(reserve(this.items.length * 8))
    this.#column = column
    this.#stride = stride
    this.#word = word
  }

  override get bytes(): number {
    return super.bytes * 3
  }

  placeOf(item: number): number {
    return this.#column[item * this.#stride + this.#word]!
  }

  setPlace(item: number, place: number): void {
    this.#column[item * this.#stride + this.#word] = place
  }
}

/**
 * What falls due next: an indexed 4-ary heap. Deadlines lie beside the items, so that sifting reads
 * nothing else and the top is exact.
 */
export class Deadlines {
  readonly #pages: DeadlinePages
  readonly #mine: number[] = []
  #end = ROOT

  constructor(pages: DeadlinePages) {
    this.#pages = pages
  }

  get size(): number {
    return this.#end - ROOT
  }

  /** The earliest deadline; NEVER if there is none. */
  get next(): number {
    return this.#end === ROOT ? NEVER : this.#pages.due[this.#at(ROOT)]!
  }

  /** The item with the earliest deadline; there must be one. */
  get top(): number {
    return this.#pages.items[this.#at(ROOT)]!
  }

  /** The deadline of the item; NEVER if it has none. */
  dueOf(item: number): number {
    const place = this.#pages.placeOf(item)
    return place === 0 ? NEVER : this.#pages.due[this.#at(place)]!
  }

  /** Sets the item's deadline, adding it if it has none. NEVER takes it out. */
  set(item: number, due: number): void {
    if (due === NEVER) {
      this.delete(item)
      return
    }
    let place = this.#pages.placeOf(item)
    if (place === 0) {
      place = this.#end++
      if (place >> PAGE_SHIFT === this.#mine.length) this.#mine.push(this.#pages.take())
      this.#siftUp(place, item, due)
    } else {
      const before = this.#pages.due[this.#at(place)]!
      if (due < before) this.#siftUp(place, item, due)
      else if (due > before) this.#siftDown(place, item, due)
    }
  }

  /** Takes the item's deadline away, if it has one. */
  delete(item: number): void {
    const place = this.#pages.placeOf(item)
    if (place === 0) return
    this.#pages.setPlace(item, 0)
    const last = --this.#end
    if (place !== last) {
      // The last one may belong above or below the gap: the gap need not be on its path to the root.
      const moved = this.#pages.items[this.#at(last)]!
      const due = this.#pages.due[this.#at(last)]!
      if (place > ROOT && due < this.#pages.due[this.#at((place >> 2) + 2)]!) {
        this.#siftUp(place, moved, due)
      } else {
        this.#siftDown(place, moved, due)
      }
    }
    if (last % PAGE_SIZE === 0 || last === ROOT) this.#pages.give(this.#mine.pop()!)
  }

  #at(place: number): number {
    return (this.#mine[place >> PAGE_SHIFT]! << PAGE_SHIFT) | (place & PAGE_MASK)
  }

  #put(place: number, item: number, due: number): void {
    const at = this.#at(place)
    this.#pages.items[at] = item
    this.#pages.due[at] = due
    this.#pages.setPlace(item, place)
  }

  #siftUp(from: number, item: number, due: number): void {
    let place = from
    while (place > ROOT) {
      const parent = (place >> 2) + 2
      const at = this.#at(parent)
      const parentDue = this.#pages.due[at]!
      if (parentDue <= due) break
      this.#put(place, this.#pages.items[at]!, parentDue)
      place = parent
    }
    this.#put(place, item, due)
  }

  #siftDown(from: number, item: number, due: number): void {
    const dues = this.#pages.due
    let place = from
    for (;;) {
      const first = 4 * place - 8
      if (first >= this.#end) break
      const at = this.#at(first) // the four children share a page
      const count = Math.min(4, this.#end - first)
      let least = 0
      let leastDue = dues[at]!
      for (let child = 1; child < count; child++) {
        const childDue = dues[at + child]!
        if (childDue < leastDue) {
          least = child
          leastDue = childDue
        }
      }
      if (leastDue >= due) break
      this.#put(place, this.#pages.items[at + least]!, leastDue)
      place = first + least
    }
    this.#put(place, item, due)
  }
}
