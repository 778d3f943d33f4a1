/** The history of a key as the script tells it, and as callers know it. */
import type { ChangeName } from '../../engine/changes.ts'
import {
  type HistoryDetail,
  historyCursor,
  type HistoryRecord,
  parseHistoryCursor,
  tell,
} from '../../engine/history-entries.ts'
import type { Answers, HistoryEntry, HistoryOperation } from '../../engine/operations.ts'
import { NEVER } from '../../engine/rows.ts'

/** What is asked, which comes back with the answer. */
interface Asked {
  limit: number
  skip: number
  before?: number
}

/** Number, at, kind, detail, whether it is leased, until, key expires at, token, holder, by. */
type WireRecord = [
  ...[number, number, ChangeName, HistoryDetail, boolean, number | null, number | null],
  ...[string, string | null, string | null],
]

export interface WireHistory {
  page: Asked
  now: number
  since: number
  /** When its pool was emptied, where the first record is its last one. */
  endedAt?: number
  records: WireRecord[] | Record<string, never>
}

export function historyToWire({ limit, cursor }: HistoryOperation): object {
  if (cursor === undefined) return { page: { limit, skip: 0 } }
  const place = parseHistoryCursor(cursor)
  if (place === null) return { badCursor: true }
  const { number, skip, before } = place
  return { number, page: { limit, skip, before } }
}

export function historyFromWire(history: WireHistory): Answers['history'] {
  const { page, now, since, endedAt = Infinity } = history
  const records = Array.isArray(history.records) ? history.records : []
  const entries: HistoryEntry[] = []
  let skip = page.skip
  let before = Math.min(page.before ?? now, now, endedAt)
  for (const [place, wire] of records.entries()) {
    const [number] = wire
    const record = recordFromWire(wire)
    const told = tell(record, before)
    if (place === 0 && endedAt !== Infinity) told.unshift(...tellEnd(record, endedAt))
    for (; skip < told.length; skip++) {
      if (entries.length === page.limit) {
        return { entries, nextCursor: historyCursor({ number, before, skip }), since }
      }
      entries.push(told[skip]!)
    }
    skip = 0
    before = record.at
  }
  return { entries, nextCursor: null, since }
}

/** Keys of a pool that is emptied are deleted, and nothing is written of each. */
function tellEnd(record: HistoryRecord, at: number): HistoryEntry[] {
  if (record.kind === 'deleted' || record.expiresAt <= at) return []
  const isHeld = record.isLeased && record.until > at
  const lease = isHeld ? {} : { token: 0, holder: null }
  return tell({ ...record, at, kind: 'deleted', detail: '', by: null, ...lease }, at)
}

function recordFromWire(wire: WireRecord): HistoryRecord {
  const [, at, kind, detail, isLeased, until, expiresAt, token, holder, by] = wire
  return {
    ...{ at, kind, detail, isLeased, holder, by },
    until: until ?? NEVER,
    expiresAt: expiresAt ?? NEVER,
    token: Number(token),
  }
}
