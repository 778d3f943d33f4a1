import { randomFillSync } from 'node:crypto'
import type { Random } from './engine/random.ts'

const BUFFERED_WORDS = 4096

/** The system's cryptographic generator, asked for many words at a time. */
export class SystemRandom implements Random {
  readonly #words = new Uint32Array(BUFFERED_WORDS)
  #next = BUFFERED_WORDS

  uint32(): number {
    if (this.#next === BUFFERED_WORDS) {
      randomFillSync(this.#words)
      this.#next = 0
    }
    const word = this.#words[this.#next]!
    this.#words[this.#next++] = 0 // what became a secret is not kept twice
    return word
  }
}
