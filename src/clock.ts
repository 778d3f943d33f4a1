import { performance } from 'node:perf_hooks'

/** The one source of time and turns. Tests use a virtual one. */
export interface Clock {
  /** Whole ms since the epoch; never goes back, whatever happens to the wall clock. */
  now(): number
  /** Time goes on from there, if it has not come so far: what has been seen once is not future again. */
  startFrom(instant: number): void
  /** A stopwatch in ms, for work that has a budget. */
  elapsedMs(): number
  /** Calls back once, not before `instant`. Returns what cancels it. */
  callAt(instant: number, callback: () => void): () => void
  /** Resolves when what is waiting has had its turn. */
  yield(): Promise<void>
}

/** Node turns a longer delay into 1 ms. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** Less may be the time that another clock's answer took to come. */
const OUT_OF_STEP_MS = 20

/** The monotonic clock, anchored to the wall clock once: a step of the wall clock changes nothing. */
export class SystemClock implements Clock {
  #anchor = Date.now() - performance.now()
  #latest = 0

  now(): number {
    this.#latest = Math.max(this.#latest, Math.floor(this.#anchor + performance.now()))
    return this.#latest
  }

  /** Another clock, by which this one goes, shows that instant now. Where this one is ahead it stands still. */
  follow(instant: number): void {
    const anchor = instant - performance.now()
    if (Math.abs(anchor - this.#anchor) > OUT_OF_STEP_MS) this.#anchor = anchor
  }

  startFrom(instant: number): void {
    // One more, for the sum is rounded.
    this.#anchor = Math.max(this.#anchor, instant + 1 - performance.now())
  }

  elapsedMs(): number {
    return performance.now()
  }

  callAt(instant: number, callback: () => void): () => void {
    const remainingMs = (): number => Math.ceil(instant - (this.#anchor + performance.now()))
    const delayMs = remainingMs()
    if (delayMs <= 0) {
      const immediate = setImmediate(callback)
      return () => {
        clearImmediate(immediate)
      }
    }
    const look = (): void => {
      const delayMs = remainingMs()
      if (delayMs <= 0) callback()
      else timeout = setTimeout(look, Math.min(delayMs, LONGEST_TIMEOUT_MS))
    }
    let timeout = setTimeout(look, Math.min(delayMs, LONGEST_TIMEOUT_MS))
    return () => {
      clearTimeout(timeout)
    }
  }

  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }
}
