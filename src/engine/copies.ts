/** Keys with all that makes them what they are, apart from where they are kept: to go from one engine to another. */
import type { Detail } from './details.ts'
import { END_REASONS, type EndReason } from './errors.ts'
import { HOLD_RECORD_WORDS, Holds } from './holds.ts'
import { formatKeyId, parseKeyId, parseLeaseId } from './ids.ts'
import type { Policy } from './policy.ts'
import { parsePackedLeaseId, unpackSecret } from './packed-ids.ts'
import { ROW_RECORD_WORDS, Rows, State, type StateName, STATE_NAMES } from './rows.ts'
import type { Tables } from './tables.ts'
import { leaseIdOf } from './views.ts'

export interface CopiedPool {
  name: string
  policy: Policy
  /** What lease ids of a Redis call it; null: it never was in one. */
  uid: number | null
}

/** Instants are what is written down: what time has done since is not in it. */
export interface CopiedKey extends Detail {
  keyId: string
  state: StateName
  createdAt: number
  keepAliveAt: number
  expiresAt: number
  /** Leased: the lease's own deadline. Else the end of the last cooldown. */
  until: number
  /** Of the last lease. */
  fencingToken: number
  /** How that ended. */
  endReason: EndReason
  failures: number
  hasOwnLifetime: boolean
  disabled: boolean
  disabledReason: string | null
  lease: CopiedLease | null
}

export interface CopiedLease {
  /** As its holder knows it, whichever engine gave it to him. */
  leaseId: string
  holder: string | null
  grantedAt: number
  ttlMs: number
  /** The rest that follows if it is lost. */
  lostCooldownMs: number
}

/** The key in that slot. */
export function copyOf(tables: Tables, slot: number): CopiedKey {
  const { rows } = tables
  return {
    ...tables.details.get(slot),
    keyId: formatKeyId(rows, slot),
    state: STATE_NAMES[rows.state(slot)],
    createdAt: rows.createdAt(slot),
    keepAliveAt: rows.keepAliveAt(slot),
    expiresAt: rows.expiresAt(slot),
    until: rows.until(slot),
    fencingToken: rows.token(slot),
    endReason: END_REASONS[rows.endReason(slot)]!,
    failures: rows.failures(slot),
    hasOwnLifetime: rows.hasOwnLifetime(slot),
    disabled: rows.isDisabled(slot),
    disabledReason: tables.disabledReason(slot),
    lease: rows.state(slot) === State.leased ? leaseCopyOf(tables, slot) : null,
  }
}

function leaseCopyOf(tables: Tables, slot: number): CopiedLease {
  const { holds, holders, rows } = tables
  const hold = rows.hold(slot)
  return {
    leaseId: leaseIdOf(tables, slot),
    holder: holders.nameOf(hold),
    grantedAt: holds.grantedAt(hold),
    ttlMs: holds.ttlMs(hold),
    lostCooldownMs: holds.lostCooldownMs(hold),
  }
}

/** What a key has beside its row; null: nothing. */
export function detailOf({ value, name, metadata }: CopiedKey): Detail | null {
  const isNone = value === null && name === null && metadata === null
  return isNone ? null : { value, name, metadata }
}

const ROW = 1
const words = new Uint32Array(4)

/** Makes records (records.ts) of copies, for slots that are still to be. */
export class RecordMaker {
  readonly #rows = new Rows(1)
  readonly #holds = new Holds(1)

  /** Writes a record. Returns where the next one begins. `holder` is a number in `Holders`; 0: it has no name. */
  write(key: CopiedKey, place: Place, to: Uint32Array, at: number): number {
    const rows = this.#rows
    parseKeyId(key.keyId, words)
    rows.setId(ROW, words)
    rows.begin(ROW, place.pool, key.createdAt, key.expiresAt, key.hasOwnLifetime)
    rows.setLife(ROW, key.keepAliveAt, key.expiresAt)
    rows.setUntil(ROW, key.until)
    rows.setToken(ROW, key.fencingToken)
    rows.setFailures(ROW, key.failures)
    rows.setState(ROW, State[key.state])
    rows.setDisabled(ROW, key.disabled)
    rows.setEndReason(ROW, END_REASONS.indexOf(key.endReason))
    rows.setMoved(ROW, key.lease !== null && slotIn(key.lease) === null)
    to[at] = place.slot
    rows.read(ROW, to, at + 1)
    const end = at + 1 + ROW_RECORD_WORDS
    if (key.lease === null) return end
    this.#writeLease(key.lease, place.holder, to, end)
    return end + HOLD_RECORD_WORDS
  }

  #writeLease(lease: CopiedLease, holder: number, to: Uint32Array, at: number): void {
    const { leaseId, grantedAt, ttlMs, lostCooldownMs } = lease
    const secret = parseLeaseId(leaseId) ?? unpackSecret(parsePackedLeaseId(leaseId)!.secret)
    this.#holds.setSecretWord(ROW, 0, secret.secret0)
    this.#holds.setSecretWord(ROW, 1, secret.secret1)
    this.#holds.setSecretWord(ROW, 2, secret.secret2)
    this.#holds.setTerms(ROW, grantedAt, ttlMs, lostCooldownMs)
    this.#holds.setHolder(ROW, holder)
    this.#holds.read(ROW, to, at)
  }
}

export interface Place {
  slot: number
  /** By number. */
  pool: number
  holder: number
}

/** The slot that the lease's id names; null: a Redis gave it. */
export function slotIn({ leaseId }: CopiedLease): number | null {
  return parseLeaseId(leaseId)?.slot ?? null
}
