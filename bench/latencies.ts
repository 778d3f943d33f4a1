/** Counts durations by the microsecond: exact percentiles, and adding one costs nothing. */
const LONGEST_US = 10_000_000

export class Latencies {
  readonly #counts = new Uint32Array(LONGEST_US)
  #total = 0

  get total(): number {
    return this.#total
  }

  add(ms: number): void {
    this.#counts[Math.min(Math.floor(ms * 1000), LONGEST_US - 1)]!++
    this.#total++
  }

  /** Ms below which that share of the durations lies; 1 gives the longest. */
  quantile(share: number): number {
    let left = Math.ceil(this.#total * share)
    for (let us = 0; us < LONGEST_US; us++) {
      left -= this.#counts[us]!
      if (left <= 0) return (us + 1) / 1000
    }
    return NaN
  }
}
