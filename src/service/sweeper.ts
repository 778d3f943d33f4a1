import type { Clock } from '../clock.ts'

/** A slice of settling: short, so that requests which wait behind it do not notice. */
const SLICE_MS = 0.5

/** The one timer. It calls `settle` when the store has said that something falls due. */
export class Sweeper {
  readonly #clock: Clock
  readonly #settle: (budgetMs: number) => Promise<void>
  #wakeAt = Infinity
  #cancel = (): void => undefined
  #stopped = false

  constructor(clock: Clock, settle: (budgetMs: number) => Promise<void>) {
    this.#clock = clock
    this.#settle = settle
  }

  /** Settles at `instant` (ms since the epoch), or earlier if that was asked for before. */
  wakeAt(instant: number): void {
    if (instant >= this.#wakeAt || this.#stopped) return
    this.#cancel()
    this.#wakeAt = instant
    this.#cancel = this.#clock.callAt(instant, () => {
      this.#wakeAt = Infinity
      void this.#settle(SLICE_MS) // which says when to wake next
    })
  }

  stop(): void {
    this.#stopped = true
    this.#cancel()
  }
}
