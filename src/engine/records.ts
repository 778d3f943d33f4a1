/**
 * Rows as they are kept on disk. A record is the slot and its whole row, a lease's hold included, so that
 * the latest record of a slot says all, and reading one twice does no harm.
 */
import { HOLD_RECORD_WORDS } from './holds.ts'
import { MAX_SLOTS } from './key-index.ts'
import { isLeasedRecord, ROW_RECORD_WORDS, State } from './rows.ts'
import type { Tables } from './tables.ts'

/** What is on disk contradicts itself, or the limits. */
export class RecordError extends Error {}

export const MAX_RECORD_WORDS = 1 + ROW_RECORD_WORDS + HOLD_RECORD_WORDS

/** Writes a slot's record. Returns where the next one begins. */
export function writeRecord(tables: Tables, slot: number, to: Uint32Array, at: number): number {
  const { rows, holds } = tables
  to[at] = slot
  rows.read(slot, to, at + 1)
  const end = at + 1 + ROW_RECORD_WORDS
  if (!rows.isLive(slot) || rows.state(slot) !== State.leased) return end
  holds.read(rows.hold(slot), to, end)
  return end + HOLD_RECORD_WORDS
}

/** The records of slots, one after the other. */
export function writeRecords(tables: Tables, slots: readonly number[]): Uint32Array<ArrayBuffer> {
  const records = new Uint32Array(slots.length * MAX_RECORD_WORDS)
  let end = 0
  for (const slot of slots) end = writeRecord(tables, slot, records, end)
  return records.subarray(0, end)
}

/**
 * Reads a record that ends before `end` into tables that are being restored; `isFirst`: none of its slot
 * has been read before.
 */
export function readRecord(
  tables: Tables,
  from: Uint32Array,
  at: number,
  end: number,
  isFirst: boolean,
): void {
  const { rows, holds } = tables
  const slot = from[at]!
  // Memory that is read before it is written costs two page faults, and there are 10 million rows.
  const before = isFirst ? 0 : rows.hold(slot)
  if (before !== 0) holds.give(before)
  rows.write(slot, from, at + 1)
  const holdAt = at + 1 + ROW_RECORD_WORDS
  if (end === holdAt) return
  const hold = holds.take()
  holds.begin(hold, slot)
  holds.write(hold, from, holdAt)
  rows.setHold(slot, hold)
}

/**
 * Where the next record begins.
 * @throws RecordError where that at `at` cannot be one: its slot has no place, or it is cut short.
 */
export function endOfRecord(capacity: number, from: Uint32Array, at: number): number {
  const slot = from[at]!
  if (slot === 0 || slot > capacity) {
    throw new RecordError(`a key has number ${slot}, but there is room for ${capacity} only`)
  }
  let end = at + 1 + ROW_RECORD_WORDS
  if (end <= from.length && isLeasedRecord(from, at + 1)) end += HOLD_RECORD_WORDS
  if (end > from.length) throw new RecordError(`the record of slot ${slot} is cut short`)
  return end
}

/**
 * The highest slot that records tell of, for which there must be room.
 * @throws RecordError as above.
 */
export function lastSlotOf(records: Uint32Array): number {
  let last = 0
  for (let at = 0; at < records.length; at = endOfRecord(MAX_SLOTS, records, at)) {
    last = Math.max(last, records[at]!)
  }
  return last
}
