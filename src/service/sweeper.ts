import type { Clock } from '../clock.ts'

/** A slice of settling: short, so that requests which wait behind it do not notice. */
const SLICE_MS = 0.5

/** The one timer. It calls `settle` when the store has said that something falls due. */
export class Sweeper {
  readonly #clock: Clock
  readonly #settle: (budgetMs: number) => Promise<void>
  #wakeAt = Infinity
  #cancel = (): void => undefined
  #running = false

  constructor(clock: Clock, settle: (budgetMs: number) => Promise<void>) {
    this.#clock = clock
    this.#settle = settle
  }

  /** Settles at `instant` (ms since the epoch), or earlier if that was asked for before. */
  wakeAt(instant: number): void {
    if (instant >= this.#wakeAt) return
    this.#wakeAt = instant
    if (this.#running) this.#setTimer()
  }

  /** Until now it has only taken note. */
  start(): void {
    this.#running = true
    if (this.#wakeAt !== Infinity) this.#setTimer()
  }

  stop(): void {
    this.#running = false
    this.#cancel()
  }

  #setTimer(): void {
    this.#cancel()
    this.#cancel = this.#clock.callAt(this.#wakeAt, () => {
      this.#wakeAt = Infinity
      void this.#settle(SLICE_MS) // which says when to wake next
    })
  }
}
