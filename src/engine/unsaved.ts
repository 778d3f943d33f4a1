import type { Rows } from './rows.ts'

/** Notes what is to be saved under a name; null: it is gone. */
export type Save = (name: string, text: string | null) => void

/**
 * What has changed since it was last saved. What time does is not among it: that follows from the rows
 * and the instant, which is therefore saved instead.
 */
export class Unsaved {
  readonly #rows: Rows
  /** Slots whose rows have changed, each once. */
  slots: number[] = []
  /** What is not in the rows, by name; null: it is gone. */
  entries = new Map<string, string | null>()
  /** The latest deadline that has been acted on. */
  lapsedAt = 0

  constructor(rows: Rows) {
    this.#rows = rows
  }

  add(slot: number): void {
    if (this.#rows.markUnsaved(slot)) this.slots.push(slot)
  }

  /** A deadline has been acted on. */
  lapsed(deadline: number): void {
    if (deadline > this.lapsedAt) this.lapsedAt = deadline
  }

  /** Begins anew: what was there is being saved. */
  clear(): void {
    for (const slot of this.slots) this.#rows.markSaved(slot)
    this.slots = []
    this.entries = new Map()
  }
}
