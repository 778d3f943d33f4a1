import { reserveRows } from './reserve.ts'

/**
 * Numbered rows of equal size in one buffer. The buffer is reserved whole, so that growing copies nothing
 * and never pauses.
 * Number 0 is never given out and means "none". A free row keeps its words but for `linkWord`,
 * which names the next free row.
 */
export class Table {
  readonly words: Uint32Array
  readonly stride: number
  readonly #linkWord: number
  #free = 0
  #fresh = 1
  #used = 0

  /** @throws RangeError where the operating system refuses the reservation. */
  constructor(capacity: number, stride: number, linkWord: number) {
    this.words = reserveRows((capacity + 1) * stride)
    this.stride = stride
    this.#linkWord = linkWord
  }

  /** Rows in use. */
  get used(): number {
    return this.#used
  }

  get capacity(): number {
    return this.words.length / this.stride - 1
  }

  /** Bytes that have been touched: what the table costs. */
  get bytes(): number {
    return (this.#fresh - 1) * this.stride * 4
  }

  /** Whether that number was ever given out. */
  knows(row: number): boolean {
    return row > 0 && row < this.#fresh
  }

  /** The number of a free row, which the caller fills; 0 when all are in use. */
  take(): number {
    const row = this.#free
    if (row !== 0) {
      this.#free = this.words[row * this.stride + this.#linkWord]!
    } else if (this.#used === this.capacity) {
      return 0
    }
    this.#used++
    return row !== 0 ? row : this.#fresh++
  }

  give(row: number): void {
    this.words[row * this.stride + this.#linkWord] = this.#free
    this.#free = row
    this.#used--
  }

  /** Takes all rows up to `last` into use, in a table that has none yet. */
  takeAllUpTo(last: number): void {
    this.#fresh = last + 1
    this.#used = last
  }
}
