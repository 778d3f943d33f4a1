import type { Rows } from './rows.ts'

/** Notes what is to be saved under a name; null: it is gone. */
export type Save = (name: string, text: string | null) => void

/** Entries up to which one group tidies, so that none takes long: a million keys may have died. */
const TIDIED_A_GROUP = 1000

/** What goes into one group. */
export interface News {
  /** Slots whose rows have changed, each once. */
  slots: readonly number[]
  /** What has changed and is not in the rows, by name; null: it is gone. */
  entries: ReadonlyMap<string, string | null>
}

/**
 * What has changed since it was last saved. What time does is not among it: that follows from the rows
 * and the instant, which is therefore saved instead.
 */
export class Unsaved {
  readonly #rows: Rows
  #slots: number[] = []
  #entries = new Map<string, string | null>()
  /** Names of entries that are of no use since time has ended their key, by slot. None of these slots is unsaved. */
  readonly #needless = new Map<number, string[]>()
  /** The latest deadline that has been acted on. */
  lapsedAt = 0

  constructor(rows: Rows) {
    this.#rows = rows
  }

  /** Whether there is anything that a restart would not find out by itself. */
  get hasNews(): boolean {
    return this.#slots.length > 0 || this.#entries.size > 0
  }

  /** How many rows have changed. */
  get rowCount(): number {
    return this.#slots.length
  }

  /** A slot's row has changed; what was kept of a key that it held before goes along. */
  add(slot: number): void {
    if (!this.#rows.markUnsaved(slot)) return
    this.#slots.push(slot)
    if (this.#needless.size > 0) this.#tidyNow(slot)
  }

  /** An entry has changed; one that belongs to a slot changes with its row. Null: it is gone. */
  set(name: string, value: string | null): void {
    this.#entries.set(name, value)
  }

  /** Many entries, which are the caller's no more. It takes time for those only that there are already. */
  setAll(entries: Map<string, string | null>): void {
    for (const [name, value] of this.#entries) if (!entries.has(name)) entries.set(name, value)
    this.#entries = entries
  }

  /**
   * The key of a slot is gone, and with it the use of an entry. That alone is no news, since the row says it:
   * the entry goes when there are some, at the latest with the next key of that slot.
   */
  tidy(slot: number, name: string): void {
    if (this.#rows.isUnsaved(slot)) {
      this.#entries.set(name, null)
      return
    }
    const names = this.#needless.get(slot)
    if (names === undefined) this.#needless.set(slot, [name])
    else names.push(name)
  }

  /** A deadline has been acted on. */
  lapsed(deadline: number): void {
    if (deadline > this.lapsedAt) this.lapsedAt = deadline
  }

  /** What is to be saved now; begins anew. */
  take(): News {
    if (this.hasNews) this.#tidySome()
    const news = { slots: this.#slots, entries: this.#entries }
    for (const slot of news.slots) this.#rows.markSaved(slot)
    this.#slots = []
    this.#entries = new Map()
    return news
  }

  #tidySome(): void {
    for (const slot of this.#needless.keys()) {
      if (this.#entries.size >= TIDIED_A_GROUP) break
      this.#tidyNow(slot)
    }
  }

  #tidyNow(slot: number): void {
    for (const name of this.#needless.get(slot) ?? []) {
      if (!this.#entries.has(name)) this.#entries.set(name, null)
    }
    this.#needless.delete(slot)
  }
}
