import { Table } from './table.ts'

const HIGH = 2 ** 32

const SECRET = 0 // 3 words
const GRANTED = 3 // low words; word 6 has the high bits of all three: 16, 8 and 8
const TTL = 4
const LOST_COOLDOWN = 5
const HIGHS = 6
const HOLDER = 7
const SLOT = 8 // in a free row: the next free row
export const HOLD_DEADLINE_WORD = 9
const NEXT = 10 // the neighbours in the list of the holder's leases
const PREVIOUS = 11
const STRIDE = 12

/** Words of a hold that say all about its lease. */
export const HOLD_RECORD_WORDS = 8

/**
 * What keeps a key from being drawn, a lease or a cooldown, and what only a lease needs. Apart from
 * the key's row, since most keys are free: a free key costs nothing here. Words 0-7 are a lease's part of
 * what a journal keeps.
 */
export class Holds extends Table {
  constructor(capacity: number) {
    super(capacity, STRIDE, SLOT)
  }

  begin(hold: number, slot: number): void {
    this.words[hold * STRIDE + SLOT] = slot
    this.words[hold * STRIDE + HOLDER] = 0
    this.words[hold * STRIDE + HOLD_DEADLINE_WORD] = 0
  }

  slot(hold: number): number {
    return this.words[hold * STRIDE + SLOT]!
  }

  /** One of the three words of the lease's secret. */
  secretWord(hold: number, word: number): number {
    return this.words[hold * STRIDE + SECRET + word]!
  }

  setSecretWord(hold: number, word: number, value: number): void {
    this.words[hold * STRIDE + SECRET + word] = value
  }

  /**
   * @param grantedAt ms since the epoch
   * @param ttlMs of the grant or the last renewal, below 2^40
   * @param lostCooldownMs the rest that follows if the lease expires, below 2^40
   */
  setTerms(hold: number, grantedAt: number, ttlMs: number, lostCooldownMs: number): void {
    const at = hold * STRIDE
    this.words[at + GRANTED] = grantedAt
    this.words[at + TTL] = ttlMs
    this.words[at + LOST_COOLDOWN] = lostCooldownMs
    this.words[at + HIGHS] =
      Math.floor(grantedAt / HIGH) |
      (Math.floor(ttlMs / HIGH) << 16) |
      (Math.floor(lostCooldownMs / HIGH) << 24)
  }

  grantedAt(hold: number): number {
    const at = hold * STRIDE
    return this.words[at + GRANTED]! + (this.words[at + HIGHS]! & 0xffff) * HIGH
  }

  ttlMs(hold: number): number {
    const at = hold * STRIDE
    return this.words[at + TTL]! + ((this.words[at + HIGHS]! >>> 16) & 0xff) * HIGH
  }

  lostCooldownMs(hold: number): number {
    const at = hold * STRIDE
    return this.words[at + LOST_COOLDOWN]! + (this.words[at + HIGHS]! >>> 24) * HIGH
  }

  /** The number in `Holders` of whose lease it is; 0: nobody's who has a name. */
  holder(hold: number): number {
    return this.words[hold * STRIDE + HOLDER]!
  }

  setHolder(hold: number, holder: number): void {
    this.words[hold * STRIDE + HOLDER] = holder
  }

  next(hold: number): number {
    return this.words[hold * STRIDE + NEXT]!
  }

  previous(hold: number): number {
    return this.words[hold * STRIDE + PREVIOUS]!
  }

  /** Makes two holds neighbours. */
  link(previous: number, next: number): void {
    this.words[previous * STRIDE + NEXT] = next
    this.words[next * STRIDE + PREVIOUS] = previous
  }

  /** Copies what says all about the lease into HOLD_RECORD_WORDS words. */
  read(hold: number, to: Uint32Array, at: number): void {
    const from = hold * STRIDE
    for (let word = 0; word < HOLD_RECORD_WORDS; word++) to[at + word] = this.words[from + word]!
  }

  /** The reverse of `read`. */
  write(hold: number, from: Uint32Array, at: number): void {
    const to = hold * STRIDE
    for (let word = 0; word < HOLD_RECORD_WORDS; word++) this.words[to + word] = from[at + word]!
  }
}
