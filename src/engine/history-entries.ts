/** What records of a history tell, wherever they are kept. */
import type { ChangeName } from './changes.ts'
import type { HistoryEntry } from './operations.ts'
import { NEVER } from './rows.ts'
import { OUTCOMES } from './transitions.ts'

/** What a change says beside its kind. */
export const DETAILS = ['', ...OUTCOMES, 'disabled', 'enabled'] as const
export type HistoryDetail = (typeof DETAILS)[number]

/** What a key was like after one change. */
export interface HistoryRecord {
  at: number
  kind: ChangeName
  detail: HistoryDetail
  isLeased: boolean
  until: number
  expiresAt: number
  /** 0: it is about no lease. */
  token: number
  holder: string | null
  by: string | null
}

/** Where a page begins: with that record, the one after which is of `before`, but for what was told of it. */
export interface HistoryPlace {
  number: number
  before: number
  skip: number
}

/** Null: nobody gave that cursor. */
export function parseHistoryCursor(cursor: string): HistoryPlace | null {
  const [, number, before, skip] = /^(\d{1,15})-(\d{1,15})-([0-2])$/.exec(cursor) ?? []
  if (number === undefined) return null
  return { number: Number(number), before: Number(before), skip: Number(skip) }
}

export function historyCursor({ number, before, skip }: HistoryPlace): string {
  return `${number}-${before}-${skip}`
}

/** What a record tells, the latest first, where the next one is of `before`: what time has done comes in between. */
export function tell(record: HistoryRecord, before: number): HistoryEntry[] {
  const { at, kind, detail, isLeased, until, expiresAt, token, holder, by } = record
  const lasts = isLeased ? Math.min(until, expiresAt) : until
  const isNamed = detail === 'disabled' || detail === 'enabled'
  const entry: HistoryEntry = {
    at,
    change: isNamed ? detail : kind,
    fencingToken: token === 0 ? null : token,
    holder,
    by,
    outcome: isNamed || detail === '' ? null : detail,
    until: lasts > at && lasts !== NEVER ? lasts : null,
  }
  if (kind === 'deleted') return [{ ...entry, until: null }]
  const timely = { ...entry, by: null, outcome: null, until: null }
  const told = [entry]
  if (isLeased && until < expiresAt && until <= before) {
    told.unshift({ ...timely, at: until, change: 'lease_expired' })
  }
  if (expiresAt <= before) {
    const lease = isLeased && until >= expiresAt ? {} : { holder: null, fencingToken: null }
    told.unshift({ ...timely, at: expiresAt, change: 'key_expired', ...lease })
  }
  return told
}
