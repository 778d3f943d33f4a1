import { Table } from './table.ts'

/** The instant (ms) that never comes: the year 10889, the last that 48 bits can say. */
export const NEVER = 2 ** 48 - 1

/**
 * A key is in exactly one state. The order matters: it is the order of the regions in `StateSets`,
 * so that the frequent changes are between neighbours.
 */
export const State = { disabled: 0, cooling: 1, leased: 2, available: 3 } as const
export type State = (typeof State)[keyof typeof State]
export const STATE_NAMES = ['disabled', 'cooling', 'leased', 'available'] as const
export type StateName = (typeof STATE_NAMES)[number]

export const MAX_FAILURES = 255
/** A pool's number has 20 bits in a row; 0 is nobody's. */
export const MAX_POOL_NUMBER = 2 ** 20 - 1

const HIGH = 2 ** 32

// The row: 16 words of 32 bits, one cache line. Times are 48 bits: a low word and a high half.
// Words 0-12 are what a journal keeps; 13-15 only say where the row stands in the structures beside it.
const ID = 0 // 4 words: the key's UUID
const CREATED = 4 // low words; their high halves are CREATED_HIGH and the three after it
const KEEP_ALIVE = 5
const EXPIRES = 6
const UNTIL = 7
const CREATED_HIGH = 16 // counted in halves: words 8 and 9
const KEEP_ALIVE_HIGH = 17
const EXPIRES_HIGH = 18
const UNTIL_HIGH = 19
const TOKEN = 10 // low word of the fencing token
const TOKEN_HIGH = 11 // its upper 21 bits | failures << 24
const FLAGS = 12 // pool (20 bits) and what follows
const HOLD = 13 // in a free row: the next free row
export const RANK_WORD = 14
export const LIFE_WORD = 15
const STRIDE = 16

/** Words of a row that say all about its key. */
export const ROW_RECORD_WORDS = 13

const POOL_MASK = MAX_POOL_NUMBER
const STATE_SHIFT = 20 // 2 bits
const STATE_MASK = 3 << STATE_SHIFT
const DISABLED = 1 << 22
const OWN_LIFETIME = 1 << 23
const LIVE = 1 << 24
const REASON_SHIFT = 25 // 3 bits
const REASON_MASK = 7 << REASON_SHIFT
const UNSAVED = 1 << 28
const MOVED = 1 << 29
const TOKEN_MASK = 2 ** 21 - 1

/** Whether what `Rows.read` has copied there is a live key under lease. */
export function isLeasedRecord(from: Uint32Array, at: number): boolean {
  return (from[at + FLAGS]! & (LIVE | STATE_MASK)) === (LIVE | (State.leased << STATE_SHIFT))
}

/** All keys of all pools. A slot is a row's number; times are ms since the epoch. */
export class Rows extends Table {
  readonly #halves: Uint16Array

  constructor(capacity: number) {
    super(capacity, STRIDE, HOLD)
    this.#halves = new Uint16Array(this.words.buffer, this.words.byteOffset)
  }

  /** Begins a key's row. The fencing token stays: it tells ended leases from invented ones. */
  begin(slot: number, pool: number, now: number, expiresAt: number, ownLifetime: boolean): void {
    const at = slot * STRIDE
    this.#setTime(at + CREATED, slot * 32 + CREATED_HIGH, now)
    this.#setTime(at + KEEP_ALIVE, slot * 32 + KEEP_ALIVE_HIGH, now)
    this.#setTime(at + EXPIRES, slot * 32 + EXPIRES_HIGH, expiresAt)
    this.#setTime(at + UNTIL, slot * 32 + UNTIL_HIGH, 0)
    this.words[at + TOKEN_HIGH]! &= TOKEN_MASK
    this.words[at + FLAGS] =
      pool |
      (State.available << STATE_SHIFT) |
      LIVE |
      (ownLifetime ? OWN_LIFETIME : 0) |
      (this.words[at + FLAGS]! & UNSAVED)
    this.words[at + HOLD] = 0
    this.words[at + LIFE_WORD] = 0
  }

  /** Ends a key's row; pool, token and the last lease's end stay readable until the slot is reused. */
  end(slot: number): void {
    this.words[slot * STRIDE + FLAGS]! &= ~LIVE
    this.give(slot)
  }

  isLive(slot: number): boolean {
    return (this.words[slot * STRIDE + FLAGS]! & LIVE) !== 0
  }

  /** One of the four words of the key's id. */
  idWord(slot: number, word: number): number {
    return this.words[slot * STRIDE + ID + word]!
  }

  setId(slot: number, id: Uint32Array): void {
    this.words.set(id, slot * STRIDE + ID)
  }

  createdAt(slot: number): number {
    return this.#time(slot * STRIDE + CREATED, slot * 32 + CREATED_HIGH)
  }

  keepAliveAt(slot: number): number {
    return this.#time(slot * STRIDE + KEEP_ALIVE, slot * 32 + KEEP_ALIVE_HIGH)
  }

  /** When the key dies; NEVER if it does not by itself. */
  expiresAt(slot: number): number {
    return this.#time(slot * STRIDE + EXPIRES, slot * 32 + EXPIRES_HIGH)
  }

  setLife(slot: number, keepAliveAt: number, expiresAt: number): void {
    this.#setTime(slot * STRIDE + KEEP_ALIVE, slot * 32 + KEEP_ALIVE_HIGH, keepAliveAt)
    this.#setTime(slot * STRIDE + EXPIRES, slot * 32 + EXPIRES_HIGH, expiresAt)
  }

  /** Leased: the lease's own deadline. Else: the end of the last cooldown, 0 if there was none. */
  until(slot: number): number {
    return this.#time(slot * STRIDE + UNTIL, slot * 32 + UNTIL_HIGH)
  }

  setUntil(slot: number, until: number): void {
    this.#setTime(slot * STRIDE + UNTIL, slot * 32 + UNTIL_HIGH, until)
  }

  /** The fencing token of the last lease that this slot has seen; 0: none. */
  token(slot: number): number {
    const at = slot * STRIDE
    return this.words[at + TOKEN]! + (this.words[at + TOKEN_HIGH]! & TOKEN_MASK) * HIGH
  }

  setToken(slot: number, token: number): void {
    const at = slot * STRIDE
    this.words[at + TOKEN] = token
    this.words[at + TOKEN_HIGH] =
      (this.words[at + TOKEN_HIGH]! & ~TOKEN_MASK) | Math.floor(token / HIGH)
  }

  /** Failures in a row, at most MAX_FAILURES. */
  failures(slot: number): number {
    return this.words[slot * STRIDE + TOKEN_HIGH]! >>> 24
  }

  setFailures(slot: number, failures: number): void {
    const at = slot * STRIDE + TOKEN_HIGH
    this.words[at] = (this.words[at]! & TOKEN_MASK) | (failures << 24)
  }

  pool(slot: number): number {
    return this.words[slot * STRIDE + FLAGS]! & POOL_MASK
  }

  state(slot: number): State {
    return ((this.words[slot * STRIDE + FLAGS]! & STATE_MASK) >> STATE_SHIFT) as State
  }

  setState(slot: number, state: State): void {
    const at = slot * STRIDE + FLAGS
    this.words[at] = (this.words[at]! & ~STATE_MASK) | (state << STATE_SHIFT)
  }

  /** The flag, which a leased key can have too; the state follows when the lease ends. */
  isDisabled(slot: number): boolean {
    return (this.words[slot * STRIDE + FLAGS]! & DISABLED) !== 0
  }

  setDisabled(slot: number, disabled: boolean): void {
    const at = slot * STRIDE + FLAGS
    this.words[at] = disabled ? this.words[at]! | DISABLED : this.words[at]! & ~DISABLED
  }

  /** Whether a keep-alive gives the key its own lifetime again instead of the pool's. */
  hasOwnLifetime(slot: number): boolean {
    return (this.words[slot * STRIDE + FLAGS]! & OWN_LIFETIME) !== 0
  }

  /** How the last lease ended: an index into END_REASONS. */
  endReason(slot: number): number {
    return (this.words[slot * STRIDE + FLAGS]! & REASON_MASK) >> REASON_SHIFT
  }

  setEndReason(slot: number, reason: number): void {
    const at = slot * STRIDE + FLAGS
    this.words[at] = (this.words[at]! & ~REASON_MASK) | (reason << REASON_SHIFT)
  }

  /** The row in `Holds` of a leased or cooling key; else 0. */
  hold(slot: number): number {
    return this.words[slot * STRIDE + HOLD]!
  }

  setHold(slot: number, hold: number): void {
    this.words[slot * STRIDE + HOLD] = hold
  }

  /** Whether its last lease was given by a Redis, and is known by the id that it has there. */
  isMoved(slot: number): boolean {
    return (this.words[slot * STRIDE + FLAGS]! & MOVED) !== 0
  }

  setMoved(slot: number, moved: boolean): void {
    const at = slot * STRIDE + FLAGS
    this.words[at] = moved ? this.words[at]! | MOVED : this.words[at]! & ~MOVED
  }

  /** Notes that the row differs from what is saved of it. False: that was noted before. */
  markUnsaved(slot: number): boolean {
    const at = slot * STRIDE + FLAGS
    if ((this.words[at]! & UNSAVED) !== 0) return false
    this.words[at]! |= UNSAVED
    return true
  }

  isUnsaved(slot: number): boolean {
    return (this.words[slot * STRIDE + FLAGS]! & UNSAVED) !== 0
  }

  markSaved(slot: number): void {
    this.words[slot * STRIDE + FLAGS]! &= ~UNSAVED
  }

  /** Copies what says all about the key into ROW_RECORD_WORDS words. */
  read(slot: number, to: Uint32Array, at: number): void {
    const from = slot * STRIDE
    for (let word = 0; word < ROW_RECORD_WORDS; word++) to[at + word] = this.words[from + word]!
    to[at + FLAGS]! &= ~UNSAVED
  }

  /** The reverse of `read`; the row has no hold and stands in no structure then. */
  write(slot: number, from: Uint32Array, at: number): void {
    const to = slot * STRIDE
    for (let word = 0; word < ROW_RECORD_WORDS; word++) this.words[to + word] = from[at + word]!
    for (let word = ROW_RECORD_WORDS; word < STRIDE; word++) this.words[to + word] = 0
  }

  #time(low: number, high: number): number {
    return this.words[low]! + this.#halves[high]! * HIGH
  }

  #setTime(low: number, high: number, ms: number): void {
    this.words[low] = ms // the lower 32 bits, by the typed array's own rule
    this.#halves[high] = ms / HIGH
  }
}
