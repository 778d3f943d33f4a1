/** Operations that give, renew and end leases. */
import { REFUSED, type Refusal } from './errors.ts'
import { findKey, findLease } from './find.ts'
import { formatKeyId } from './ids.ts'
import { Listing } from './listing.ts'
import type {
  AcquireOperation,
  Answers,
  HeldLease,
  Lease,
  ListLeasesOperation,
  ReleaseOperation,
  RenewOperation,
  RevokeLeasesOperation,
  UnblockOperation,
} from './operations.ts'
import { type Pool, UNSETTLED } from './pool.ts'
import { State } from './rows.ts'
import type { Tables } from './tables.ts'
import { heldLeaseOf, leaseOf } from './views.ts'

export function acquire(
  tables: Tables,
  pool: Pool,
  operation: AcquireOperation,
  leases: Lease[],
  now: number,
): Answers['acquire'] | Refusal | typeof UNSETTLED {
  const { count = 1, keyId, ttlMs = pool.policy.leaseTtlMs, holder, leave = 0 } = operation
  if (keyId !== undefined) return acquireKey(tables, pool, operation, keyId, ttlMs, now)
  // Once it has leases it cannot be refused any more: nobody would know of them.
  if (leases.length === 0 && ttlMs > pool.policy.maxLeaseTtlMs) return REFUSED.ttl_too_long
  while (leases.length < count) {
    const left = leave === 0 || mayTakeOne(pool, leave, now)
    if (left === UNSETTLED) return UNSETTLED
    if (!left) break
    const slot = pool.draw(now)
    if (slot === UNSETTLED) return UNSETTLED
    if (slot === 0) break
    pool.grant(slot, ttlMs, holder, now)
    leases.push(leaseOf(tables, slot))
  }
  if (count === 0 && pool.nextDue <= now) return UNSETTLED
  return leases.length > 0 ? { leases } : nothingToGive(pool, now)
}

/** Whether one more key may be taken where so many must be left. Dead ones count as long as they are not settled. */
function mayTakeOne(pool: Pool, leave: number, now: number): boolean | typeof UNSETTLED {
  return pool.nextDue <= now ? UNSETTLED : pool.sets.count(State.available) > leave
}

function acquireKey(
  tables: Tables,
  pool: Pool,
  { count, holder, leave = 0 }: AcquireOperation,
  keyId: string,
  ttlMs: number,
  now: number,
): Answers['acquire'] | Refusal | typeof UNSETTLED {
  const slot = findKey(pool, keyId, now)
  if (slot === 0) return REFUSED.key_not_found
  if (ttlMs > pool.policy.maxLeaseTtlMs) return REFUSED.ttl_too_long
  if (count === 0 || tables.rows.state(slot) !== State.available) return REFUSED.key_unavailable
  const left = leave === 0 || mayTakeOne(pool, leave, now)
  if (left === UNSETTLED) return UNSETTLED
  if (!left) return REFUSED.key_unavailable
  pool.grant(slot, ttlMs, holder, now)
  return { leases: [leaseOf(tables, slot)] }
}

/** Why a settled pool gives no key: it has none that is available, or somebody goes first. */
function nothingToGive(pool: Pool, now: number): Refusal {
  const { available, leased, cooling, disabled, nextAvailableAt } = pool.counts()
  const counts = { leased, cooling, disabled }
  if (leased + cooling + available === 0) return { code: 'pool_empty', counts }
  if (nextAvailableAt === null) return { code: 'pool_exhausted', counts }
  return { code: 'pool_exhausted', counts, retryAfterMs: nextAvailableAt - now }
}

export function renew(
  tables: Tables,
  pool: Pool,
  operation: RenewOperation,
  now: number,
): Answers['renew'] | Refusal {
  const slot = findLease(pool, operation.leaseId, now)
  if (typeof slot !== 'number') return slot
  const asked = operation.ttlMs
  if (asked !== undefined && asked > pool.policy.maxLeaseTtlMs) return REFUSED.ttl_too_long
  const ttlMs = asked ?? tables.holds.ttlMs(tables.rows.hold(slot))
  const renewed = pool.renew(slot, ttlMs, operation.keepAlive === true, now)
  return renewed ? { lease: leaseOf(tables, slot) } : REFUSED.lease_limit
}

export function release(
  tables: Tables,
  pool: Pool,
  operation: ReleaseOperation,
  now: number,
): Answers['release'] | Refusal {
  const slot = findLease(pool, operation.leaseId, now)
  if (typeof slot !== 'number') {
    if (slot.code !== 'lease_ended') return slot
    return { released: false, reason: slot.reason ?? 'unknown' }
  }
  const { outcome = 'ok', retryAfterMs, reason } = operation
  pool.release(slot, outcome, retryAfterMs, now)
  if (outcome === 'invalid' && reason !== undefined) tables.setDisabledReason(slot, reason)
  return { released: true }
}

export function unblock(
  tables: Tables,
  pool: Pool,
  operation: UnblockOperation,
  now: number,
): Answers['unblock'] | Refusal {
  const slot = findKey(pool, operation.keyId, now)
  if (slot === 0) return REFUSED.key_not_found
  if (tables.rows.state(slot) !== State.leased) return REFUSED.key_not_leased
  if (operation.leaseId !== undefined && findLease(pool, operation.leaseId, now) !== slot) {
    return REFUSED.key_not_leased
  }
  pool.unblock(slot, now)
  return { keyId: formatKeyId(tables.rows, slot) }
}

export function listLeases(
  tables: Tables,
  pool: Pool,
  { limit, holder, cursor }: ListLeasesOperation,
  now: number,
): Answers['listLeases'] | Refusal {
  const { rows } = tables
  const listing = new Listing(tables, pool)
  if (!listing.startAfter(cursor)) return REFUSED.invalid_cursor
  listing.narrow(State.leased, holder ?? null, now)
  const heldLeases: HeldLease[] = []
  const nextCursor = listing.visit((slot) => {
    if (!pool.settleKey(slot, now) || rows.state(slot) !== State.leased) return true
    const lease = heldLeaseOf(tables, slot)
    if (holder === undefined || lease.holder === holder) heldLeases.push(lease)
    return heldLeases.length < limit
  })
  return { heldLeases, nextCursor }
}

export function revokeLeases(
  { rows, holds, holders }: Tables,
  pool: Pool,
  { holder, limit, grantedBy: by }: RevokeLeasesOperation,
  now: number,
): Answers['revokeLeases'] {
  const grantedBy = by ?? now
  let revoked = 0
  for (let looked = 0; looked < limit; looked++) {
    const hold = holders.oldest(pool.number, holder)
    if (hold === 0 || holds.grantedAt(hold) > grantedBy) {
      return { revoked, more: false, grantedBy }
    }
    const slot = holds.slot(hold)
    // Whoever looks at a key brings it up to date, and then the lease may be over.
    if (!pool.settleKey(slot, now) || rows.state(slot) !== State.leased) continue
    pool.revoke(slot, now)
    revoked++
  }
  return { revoked, more: true, grantedBy }
}
