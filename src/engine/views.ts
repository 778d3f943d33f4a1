/** What is told of a key or a lease. */
import { formatKeyId, formatLeaseId } from './ids.ts'
import type { HeldLease, Key, Lease } from './operations.ts'
import { formatPackedLeaseId, packKeyId, packSecret } from './packed-ids.ts'
import { NEVER, State, STATE_NAMES } from './rows.ts'
import type { Tables } from './tables.ts'
import { leaseEnd } from './transitions.ts'

/** What its holder is given, of a key that is leased and up to date. */
export function leaseOf(tables: Tables, slot: number): Lease {
  const { rows, holds } = tables
  const hold = rows.hold(slot)
  const token = rows.token(slot)
  const { value, name, metadata } = tables.details.get(slot)
  return {
    leaseId: leaseIdOf(tables, slot),
    keyId: formatKeyId(rows, slot),
    sealed: value === null ? null : value.sealed,
    name,
    metadata,
    fencingToken: token,
    holder: tables.holders.nameOf(hold),
    grantedAt: holds.grantedAt(hold),
    expiresAt: leaseEnd(rows, slot),
    keyExpiresAt: orNull(rows.expiresAt(slot)),
  }
}

/** As its holder was given it. */
export function leaseIdOf({ rows, holds, uids }: Tables, slot: number): string {
  const hold = rows.hold(slot)
  const token = rows.token(slot)
  const secret = {
    secret0: holds.secretWord(hold, 0),
    secret1: holds.secretWord(hold, 1),
    secret2: holds.secretWord(hold, 2),
  }
  if (!rows.isMoved(slot)) return formatLeaseId({ slot, token, ...secret })
  const uid = uids.get(rows.pool(slot))!
  const id = packKeyId(formatKeyId(rows, slot))!
  return formatPackedLeaseId({ uid, id, token: String(token), secret: packSecret(secret) })
}

/** The same for others, who may not know the lease's id. */
export function heldLeaseOf(tables: Tables, slot: number): HeldLease {
  return { keyId: formatKeyId(tables.rows, slot), ...termsOf(tables, slot) }
}

export function keyOf(tables: Tables, slot: number, now: number): Key {
  const { rows } = tables
  const state = rows.state(slot)
  const leased = state === State.leased
  const until = rows.until(slot)
  const { value, name, metadata } = tables.details.get(slot)
  return {
    keyId: formatKeyId(rows, slot),
    name,
    metadata,
    hasValue: value !== null,
    state: STATE_NAMES[state],
    createdAt: rows.createdAt(slot),
    keepAliveAt: rows.keepAliveAt(slot),
    expiresAt: orNull(rows.expiresAt(slot)),
    disabled: rows.isDisabled(slot),
    disabledReason: tables.disabledReason(slot),
    failures: rows.failures(slot),
    coolingUntil: !leased && until > now ? until : null,
    lease: leased ? termsOf(tables, slot) : null,
  }
}

/** NEVER as callers know it. */
export function orNull(instant: number): number | null {
  return instant === NEVER ? null : instant
}

function termsOf({ rows, holds, holders }: Tables, slot: number): Omit<HeldLease, 'keyId'> {
  const hold = rows.hold(slot)
  return {
    fencingToken: rows.token(slot),
    holder: holders.nameOf(hold),
    grantedAt: holds.grantedAt(hold),
    expiresAt: leaseEnd(rows, slot),
  }
}
