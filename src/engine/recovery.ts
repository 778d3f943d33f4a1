import type { Engine, SavedPool } from './engine.ts'
import type { SavedMemory } from './idempotency.ts'
import { DEFAULT_POLICY } from './policy.ts'
import { readRecord, RecordError } from './records.ts'
import { isDead } from './transitions.ts'

/**
 * Fills an engine that is empty with what was saved of one. First all entries and records are read, older
 * ones before newer ones, then the structures are built, in slices.
 */
export class Recovery {
  readonly #engine: Engine
  readonly #pools: SavedPool[] = []
  readonly #reasons = new Map<number, string>()
  #last = 0
  #built = 0

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Slots that have a record, live or not, and how many of them are built. */
  get slots(): number {
    return this.#last
  }

  get built(): number {
    return this.#built
  }

  /** @throws RecordError for an entry that cannot be one. */
  readEntry(name: string, value: string): void {
    const [kind, id] = name.split('/')
    if (kind === 'pool') {
      const pool = JSON.parse(value) as SavedPool
      // A policy of an older version lacks what was not thought of then.
      this.#pools.push({ ...pool, policy: { ...DEFAULT_POLICY, ...pool.policy } })
    } else if (kind === 'reason') {
      this.#reasons.set(Number(id), value)
    } else if (kind === 'request') {
      this.#engine.tables.idempotency.restore(JSON.parse(value) as SavedMemory)
    } else {
      throw new RecordError(`no entry is called ${name}`)
    }
  }

  /**
   * Reads records; `visit` is told of their slots.
   * @throws RecordError for one that cannot be one.
   */
  readRecords(records: Uint32Array, visit?: (slot: number) => void): void {
    const { tables } = this.#engine
    for (let at = 0; at < records.length;) {
      const slot = records[at]!
      at = readRecord(tables, records, at)
      if (slot > this.#last) this.#last = slot
      visit?.(slot)
    }
  }

  /**
   * Builds what is beside the rows, up to `limit` slots at a time, as of `now`, which stays the same. Returns
   * whether all is done.
   *
   * @throws RecordError where rows and pools contradict each other.
   */
  build(now: number, limit: number): boolean {
    if (this.#built === 0) this.#begin(now)
    const end = Math.min(this.#built + limit, this.#last)
    // From the last to the first, so that the lowest slots are used again first.
    for (; this.#built < end; this.#built++) {
      this.#engine.restoreSlot(this.#last - this.#built, now)
    }
    if (this.#built < this.#last) return false
    this.#finish()
    return true
  }

  #begin(now: number): void {
    const { rows, index } = this.#engine.tables
    for (const pool of this.#pools.sort((a, b) => a.number - b.number)) {
      this.#engine.restorePool(pool)
    }
    rows.takeAllUpTo(this.#last)
    let live = 0
    for (let slot = 1; slot <= this.#last; slot++) {
      if (rows.isLive(slot) && !isDead(rows, slot, now)) live++
    }
    index.prepare(live, Infinity)
  }

  #finish(): void {
    const { tables } = this.#engine
    for (const [slot, reason] of this.#reasons) {
      tables.restoreDisabledReason(slot, reason)
      if (!tables.rows.isLive(slot)) tables.setDisabledReason(slot, null)
    }
    tables.idempotency.restored()
    this.#engine.restored()
  }
}
