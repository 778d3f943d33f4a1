/**
 * Who held which key when, and who changed what: a ring of records, each of which says what a key was like after
 * one change. A change that time brings has none: it follows from the record before it, as it follows from a row.
 */
import { CHANGE_NAMES, ChangeKind } from './changes.ts'
import {
  DETAILS,
  type HistoryDetail,
  historyCursor,
  type HistoryPlace,
  type HistoryRecord,
  parseHistoryCursor,
  tell,
} from './history-entries.ts'
import { HistoryNames } from './history-names.ts'
import type { HistoryEntry } from './operations.ts'
import { reserve, reserveRows } from './reserve.ts'
import { type Rows, State } from './rows.ts'
import type { Save } from './unsaved.ts'

export interface HistoryLimits {
  /** What is older is not shown, and goes. */
  keptMs: number
  /** The oldest goes where there would be more. */
  records: number
}

/** Records as they are saved: `records` are those from `first` to `last`, and those before `tail` are gone. */
export interface HistoryPart {
  first: number
  last: number
  tail: number
  records: Uint32Array<ArrayBuffer>
}

const HIGH = 2 ** 32
/** The words of a record; 0 to 3 are the id of its key. */
const AT = 4
const KIND = 5 // beside the high bits of AT: its number, its detail and the key's state
const UNTIL = 6
const EXPIRES = 7
const HIGHS = 8 // of both
const TOKEN = 9
const TOKEN_HIGH = 10
const HOLDER = 11
const BY = 12
const POOL = 13
const PREVIOUS = 14 // the record before it in its bucket, by the low word of its number
const STRIDE = 16

/** Records that one page looks at: other keys may have the same bucket. */
const MAX_LOOKS = 10_000
/** Expired records that go with each one that comes. */
const DROPPED_AT_A_TIME = 2

export class History {
  readonly #rows: Rows
  readonly #limits: HistoryLimits
  readonly #names: HistoryNames
  readonly #save: Save
  readonly #words: Uint32Array
  /** By some bits of a key's id: the last record of such a key. */
  readonly #buckets: Uint32Array
  /** The first record that is there, the last one, and the last one that is saved. Numbers are never used again. */
  #tail = 1
  #last = 0
  #saved = 0
  /** From when on nothing is missing; null: it has not begun. */
  #since: number | null = null
  #now = 0
  #by: string | undefined

  /** @throws RangeError where the operating system refuses to reserve that much address space. */
  constructor(rows: Rows, limits: HistoryLimits, save: Save) {
    this.#rows = rows
    this.#limits = limits
    this.#names = new HistoryNames(save)
    this.#save = save
    this.#words = reserveRows(limits.records * STRIDE)
    this.#buckets = new Uint32Array(reserve(4 * 2 ** Math.floor(Math.log2(limits.records))))
  }

  /** Bytes that have been touched, about. */
  get bytes(): number {
    return Math.min(this.#last, this.#limits.records) * STRIDE * 4 + this.#buckets.byteLength
  }

  /** What is added from now on happens at that time, and is done by the holder of a token with that name. */
  turn(now: number, by: string | undefined): void {
    this.#now = now
    this.#by = by
  }

  /** What has just been done to a key whose row says what it is like now. */
  add(
    kind: ChangeKind,
    pool: string,
    slot: number,
    holder: string | null,
    detail: HistoryDetail,
  ): void {
    for (let dropped = 0; dropped < DROPPED_AT_A_TIME && this.#isTailOld(); dropped++) this.#drop()
    if (this.#last + 1 - this.#tail === this.#limits.records) this.#drop()
    const [rows, words] = [this.#rows, this.#words]
    const at = this.#place(++this.#last)
    for (let word = 0; word < 4; word++) words[at + word] = rows.idWord(slot, word)
    const [now, until, expiresAt] = [this.#now, rows.until(slot), rows.expiresAt(slot)]
    words[at + AT] = now
    words[at + KIND] =
      Math.floor(now / HIGH) |
      (kind << 16) |
      (DETAILS.indexOf(detail) << 20) |
      (rows.state(slot) << 24)
    words[at + UNTIL] = until
    words[at + EXPIRES] = expiresAt
    words[at + HIGHS] = Math.floor(until / HIGH) | (Math.floor(expiresAt / HIGH) << 16)
    // That of a slot may be of a key before this one.
    const isOfLease =
      (kind >= ChangeKind.leased && kind <= ChangeKind.revoked) || rows.state(slot) === State.leased
    const token = isOfLease ? rows.token(slot) : 0
    words[at + TOKEN] = token
    words[at + TOKEN_HIGH] = Math.floor(token / HIGH)
    words[at + HOLDER] = this.#names.use(holder)
    words[at + BY] = this.#names.use(this.#by)
    words[at + POOL] = this.#names.use(pool)
    this.#chain(at)
  }

  /**
   * A page of what has happened to a key, the latest first, after the place that `cursor` names. Null: nobody gave
   * that cursor.
   */
  page(
    pool: string,
    id: Uint32Array,
    now: number,
    limit: number,
    cursor: string | undefined,
  ): { entries: HistoryEntry[]; nextCursor: string | null; since: number } | null {
    const entries: HistoryEntry[] = []
    const oldest = now - this.#limits.keptMs
    const since = Math.max(this.#since ?? now, oldest)
    const start = this.#startOf(id, now, cursor)
    if (start === null) return null
    let { number, before, skip } = start
    for (let looks = 0; this.#holds(number); looks++) {
      const at = this.#place(number)
      if (this.#at(at) < oldest) break
      if (looks === MAX_LOOKS)
        return { entries, nextCursor: historyCursor({ number, before, skip }), since }
      if (this.#isOf(at, id, pool)) {
        const told = tell(this.#record(at), before)
        for (; skip < told.length; skip++) {
          if (entries.length === limit) {
            return { entries, nextCursor: historyCursor({ number, before, skip }), since }
          }
          entries.push(told[skip]!)
        }
        skip = 0
        before = this.#at(at)
      }
      number = this.#numberOf(this.#words[at + PREVIOUS]!)
    }
    return { entries, nextCursor: null, since }
  }

  /** What is to be saved now; null: nothing is new. */
  take(): HistoryPart | null {
    const [last, tail] = [this.#last, this.#tail]
    if (last === this.#saved) return null
    const first = Math.max(this.#saved + 1, tail)
    this.#saved = last
    const records = new Uint32Array((last + 1 - first) * STRIDE)
    const capacity = this.#limits.records * STRIDE
    const from = this.#place(first)
    const upToEnd = this.#words.subarray(from, Math.min(from + records.length, capacity))
    records.set(upToEnd)
    records.set(this.#words.subarray(0, records.length - upToEnd.length), upToEnd.length)
    return { first, last, tail, records }
  }

  /** Nothing is missing from now on, unless it was so before. */
  begin(now: number): void {
    if (this.#since !== null) return
    this.#since = now
    this.#save('history/since', String(now))
  }

  /** From before a restart, saved already: a name by number, or since when nothing is missing. */
  restoreEntry(id: string, value: string): void {
    if (id === 'since') this.#since = Number(value)
    else this.#names.restore(Number(id), value)
  }

  /** From before a restart, the oldest part first. The latest says what had gone of those before it. */
  restorePart({ first, last, tail, records }: HistoryPart): void {
    if (first !== this.#last + 1) this.#tail = first
    this.#saved = last
    for (let from = 0; from < records.length; from += STRIDE) {
      if (this.#last + 1 - this.#tail === this.#limits.records && this.#last > 0) this.#tail++
      this.#last = first + from / STRIDE
      const at = this.#place(this.#last)
      this.#words.set(records.subarray(from, from + STRIDE), at)
      this.#chain(at)
    }
    if (tail > this.#tail) this.#tail = tail
  }

  /** All parts are there. */
  restored(): void {
    for (let number = this.#tail; number <= this.#last; number++) {
      const at = this.#place(number)
      for (const word of [HOLDER, BY, POOL]) this.#names.restoreUse(this.#words[at + word]!)
    }
    this.#names.restored()
    if (this.#tail > 1 && this.#holds(this.#tail))
      this.#missedUntil(this.#at(this.#place(this.#tail)))
  }

  #isTailOld(): boolean {
    if (this.#tail > this.#last) return false
    return this.#at(this.#place(this.#tail)) < this.#now - this.#limits.keptMs
  }

  #drop(): void {
    const at = this.#place(this.#tail++)
    for (const word of [HOLDER, BY, POOL]) this.#names.drop(this.#words[at + word]!)
    this.#missedUntil(this.#at(at))
  }

  #missedUntil(instant: number): void {
    if (this.#since === null || this.#since <= instant) this.#since = instant + 1
  }

  /** Makes the record at that place, which is the last one, the first that is found of its bucket. */
  #chain(at: number): void {
    const bucket = this.#words[at]! & (this.#buckets.length - 1)
    this.#words[at + PREVIOUS] = this.#buckets[bucket]!
    this.#buckets[bucket] = this.#last
  }

  #startOf(id: Uint32Array, now: number, cursor: string | undefined): HistoryPlace | null {
    if (cursor === undefined) {
      const bucket = id[0]! & (this.#buckets.length - 1)
      return { number: this.#numberOf(this.#buckets[bucket]!), before: now, skip: 0 }
    }
    const place = parseHistoryCursor(cursor)
    if (place === null || place.number > this.#last) return null
    return { ...place, before: Math.min(place.before, now) }
  }

  #record(at: number): HistoryRecord {
    const words = this.#words
    const packed = words[at + KIND]!
    return {
      at: this.#at(at),
      kind: CHANGE_NAMES[(packed >>> 16) & 15]!,
      detail: DETAILS[(packed >>> 20) & 15]!,
      isLeased: packed >>> 24 === State.leased,
      until: words[at + UNTIL]! + (words[at + HIGHS]! & 0xffff) * HIGH,
      expiresAt: words[at + EXPIRES]! + (words[at + HIGHS]! >>> 16) * HIGH,
      token: words[at + TOKEN]! + words[at + TOKEN_HIGH]! * HIGH,
      holder: this.#names.textOf(words[at + HOLDER]!),
      by: this.#names.textOf(words[at + BY]!),
    }
  }

  #isOf(at: number, id: Uint32Array, pool: string): boolean {
    for (let word = 0; word < 4; word++) if (this.#words[at + word] !== id[word]) return false
    return this.#names.textOf(this.#words[at + POOL]!) === pool
  }

  #at(at: number): number {
    return this.#words[at + AT]! + (this.#words[at + KIND]! & 0xffff) * HIGH
  }

  #holds(number: number): boolean {
    return number >= this.#tail && number <= this.#last
  }

  /** The number with that low word that comes last. */
  #numberOf(low: number): number {
    return this.#last - (((this.#last % HIGH) - low) >>> 0)
  }

  #place(number: number): number {
    return (number % this.#limits.records) * STRIDE
  }
}
