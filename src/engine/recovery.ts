import { KeyIndexFill, PARTS } from './key-index-fill.ts'
import type { Detail } from './details.ts'
import type { Engine } from './engine.ts'
import type { HistoryPart } from './history.ts'
import type { SavedHolder } from './holders.ts'
import type { SavedMemory } from './idempotency.ts'
import { DEFAULT_POLICY } from './policy.ts'
import type { SavedPool } from './pool.ts'
import { endOfRecord, readRecord, RecordError } from './records.ts'

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
  #steps: Generator<undefined, undefined> | null = null

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
    const slash = name.indexOf('/')
    const kind = name.slice(0, Math.max(slash, 0))
    const id = name.slice(slash + 1)
    if (kind === 'pool') {
      const pool = JSON.parse(value) as SavedPool
      // A policy of an older version lacks what was not thought of then.
      this.#pools.push({ ...pool, policy: { ...DEFAULT_POLICY, ...pool.policy } })
    } else if (kind === 'reason') {
      this.#reasons.set(Number(id), value)
    } else if (kind === 'key') {
      this.#engine.tables.details.put(Number(id), JSON.parse(value) as Detail)
    } else if (kind === 'holder') {
      this.#engine.tables.holders.restore(JSON.parse(value) as SavedHolder)
    } else if (kind === 'history') {
      this.#readHistoryEntry(name, id, value)
    } else if (kind === 'document') {
      this.#engine.tables.restoreDocument(id, value)
    } else if (kind === 'request') {
      this.#engine.tables.idempotency.restore(JSON.parse(value) as SavedMemory)
    } else {
      throw new RecordError(`no entry is called ${name}`)
    }
  }

  /** One that nobody wants any more goes with the next group. */
  #readHistoryEntry(name: string, id: string, value: string): void {
    const { history, unsaved } = this.#engine.tables
    if (history === null) unsaved?.set(name, null)
    else history.restoreEntry(id, value)
  }

  /** The oldest part first. */
  readHistory(part: HistoryPart): void {
    this.#engine.tables.history?.restorePart(part)
  }

  /**
   * Reads records, of all slots or of those that are `wanted`.
   * @throws RecordError for one that cannot be one.
   */
  readRecords(records: Uint32Array, wanted?: (slot: number) => boolean): void {
    const { tables } = this.#engine
    for (let at = 0; at < records.length;) {
      const slot = records[at]!
      const end = endOfRecord(tables.rows.capacity, records, at)
      if (wanted === undefined || wanted(slot)) {
        readRecord(tables, records, at, end, slot > this.#last)
        if (slot > this.#last) this.#last = slot
      }
      at = end
    }
  }

  /**
   * Builds what is beside the rows, up to `limit` slots at a time, as of `now`, which stays the same. Returns
   * whether all is done.
   *
   * @throws RecordError where rows and pools contradict each other.
   */
  build(now: number, limit: number): boolean {
    if (this.#steps === null) this.#steps = this.#build(now, limit)
    return this.#steps.next().done === true
  }

  /** The steps of building, which come to a stop every `limit` slots. */
  *#build(now: number, limit: number): Generator<undefined, undefined> {
    const engine = this.#engine
    const { rows, index } = engine.tables
    for (const pool of this.#pools.sort((a, b) => a.number - b.number)) engine.restorePool(pool)
    rows.takeAllUpTo(this.#last)
    let live = 0
    // From the last to the first, so that the lowest slots are used again first.
    for (let slot = this.#last; slot > 0; slot--) {
      if (engine.restoreSlot(slot, now)) live++
      if (slot % limit === 0) yield
    }
    const fill = new KeyIndexFill(index, live)
    // From the first to the last: the oldest die first, and a heap is built fastest in its order.
    for (let slot = 1; slot <= this.#last; slot++) {
      if (rows.isLive(slot)) {
        engine.restoreKey(slot)
        fill.add(slot)
      }
      this.#built = slot
      if (slot % limit === 0) yield
    }
    for (let slots = 0; !fill.finishPart();) {
      slots += live / PARTS
      if (slots < limit) continue
      slots = 0
      yield
    }
    this.#finish()
  }

  #finish(): void {
    const { tables } = this.#engine
    for (const [slot, reason] of this.#reasons) tables.restoreDisabledReason(slot, reason)
    for (const slots of [this.#reasons.keys(), tables.details.slots()]) {
      for (const slot of slots) if (!tables.rows.isLive(slot)) tables.forgetKey(slot)
    }
    tables.holders.restored((hold) => tables.rows.token(tables.holds.slot(hold)))
    tables.idempotency.restored()
    tables.history?.restored()
    this.#engine.restored()
  }
}
