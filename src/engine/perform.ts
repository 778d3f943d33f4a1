/** Operations as they are asked for and answered, with ids as text, on top of a pool's slots. */
import { REFUSED, type Refusal } from './errors.ts'
import type { Reference } from './idempotency.ts'
import { formatKeyId, formatLeaseId, parseKeyId, parseLeaseId } from './ids.ts'
import { Listing } from './listing.ts'
import {
  type AcquireOperation,
  type Answers,
  type CreateOperation,
  isRefusal,
  type Key,
  type Lease,
  type ListOperation,
  type Operation,
  type RecallOperation,
  type ReleaseOperation,
  type RememberOperation,
  type RenewOperation,
  type Result,
  type UnblockOperation,
  type UpdateOperation,
} from './operations.ts'
import { after } from './policy.ts'
import { type Pool, UNSETTLED } from './pool.ts'
import { NEVER, State, STATE_NAMES } from './rows.ts'
import type { Tables } from './tables.ts'
import { leaseEnd } from './transitions.ts'

const id = new Uint32Array(4)

/**
 * Does one operation, which the tables have room for. `leases` are those that an acquire got before it
 * answered UNSETTLED; called again after settling, it goes on from there. `before` are the results so far.
 */
export function perform(
  tables: Tables,
  pool: Pool,
  operation: Operation,
  leases: Lease[],
  before: readonly Result[],
  now: number,
): Result | typeof UNSETTLED {
  switch (operation.op) {
    case 'create':
      return create(tables, pool, operation, now)
    case 'acquire':
      return acquire(tables, pool, operation, leases, now)
    case 'renew':
      return renew(tables, pool, operation, now)
    case 'release':
      return release(tables, pool, operation, now)
    case 'unblock':
      return unblock(tables, pool, operation, now)
    case 'list':
      return list(tables, pool, operation, now)
    case 'describe':
      return pool.nextDue <= now ? UNSETTLED : { counts: pool.counts() }
    case 'showLease': {
      const slot = findLease(pool, operation.leaseId, now)
      return typeof slot === 'number' ? { lease: leaseOf(tables, slot) } : slot
    }
    case 'show': {
      const slot = findKey(pool, operation.keyId, now)
      return slot === 0 ? REFUSED.key_not_found : { key: keyOf(tables, slot, now) }
    }
    case 'keepAlive': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      pool.keepAlive(slot, now)
      return {
        keyId: formatKeyId(tables.rows, slot),
        expiresAt: orNull(tables.rows.expiresAt(slot)),
      }
    }
    case 'revoke': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      if (tables.rows.state(slot) !== State.leased) return REFUSED.key_not_leased
      pool.revoke(slot, now)
      return { keyId: formatKeyId(tables.rows, slot) }
    }
    case 'recall':
      return recall(tables, pool, operation, now)
    case 'remember':
      return remember(tables, operation, before, now)
    case 'update':
      return update(tables, pool, operation, now)
    case 'remove': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      pool.remove(slot)
      return { keyId: formatKeyId(tables.rows, slot) }
    }
  }
}

function create(
  tables: Tables,
  pool: Pool,
  operation: CreateOperation,
  now: number,
): Answers['create'] {
  const own = operation.lifetimeMs !== undefined
  const expiresAt = after(now, own ? operation.lifetimeMs! : pool.policy.keyLifetimeMs)
  const keyIds: string[] = []
  for (let made = 0; made < operation.count; made++) {
    keyIds.push(formatKeyId(tables.rows, pool.create(now, expiresAt, own)))
  }
  return { keyIds }
}

function acquire(
  tables: Tables,
  pool: Pool,
  operation: AcquireOperation,
  leases: Lease[],
  now: number,
): Answers['acquire'] | Refusal | typeof UNSETTLED {
  const { count, keyId, ttlMs = pool.policy.leaseTtlMs, leave = 0 } = operation
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
    pool.grant(slot, ttlMs, now)
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
  { count, leave = 0 }: AcquireOperation,
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
  pool.grant(slot, ttlMs, now)
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

function renew(
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

function release(
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

function unblock(
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

function update(
  tables: Tables,
  pool: Pool,
  operation: UpdateOperation,
  now: number,
): Answers['update'] | Refusal {
  const slot = findKey(pool, operation.keyId, now)
  if (slot === 0) return REFUSED.key_not_found
  const { disabled, reason } = operation
  pool.update(slot, disabled, operation.coolingUntil === null, now)
  if (disabled === true && reason !== undefined) tables.setDisabledReason(slot, reason)
  if (disabled === false) tables.setDisabledReason(slot, null)
  return { key: keyOf(tables, slot, now) }
}

function list(
  tables: Tables,
  pool: Pool,
  operation: ListOperation,
  now: number,
): Answers['list'] | Refusal {
  const { limit, state, cursor } = operation
  const listing = new Listing(tables, pool)
  if (!listing.startAfter(cursor)) return REFUSED.invalid_cursor
  const keys: Key[] = []
  const nextCursor = listing.visit((slot) => {
    if (!pool.settleKey(slot, now)) return true
    const key = keyOf(tables, slot, now)
    if (state === undefined || key.state === state) keys.push(key)
    return keys.length < limit
  })
  return { keys, nextCursor }
}

function recall(
  tables: Tables,
  pool: Pool,
  { key, body }: RecallOperation,
  now: number,
): Answers['recall'] | Refusal {
  const references = tables.idempotency.recall(key, body, now)
  if (references === null) return { results: null }
  if ('code' in references) return references
  return { results: references.map((reference) => asOfNow(tables, pool, reference, now)) }
}

/** What a result would say now: a live lease with its deadlines of today, an ended one that it is. */
function asOfNow(tables: Tables, pool: Pool, reference: Reference, now: number): Result {
  if ('result' in reference) return reference.result
  if ('keyIds' in reference) return { keyIds: reference.keyIds }
  const leaseIds = 'leaseId' in reference ? [reference.leaseId] : reference.leaseIds
  const found = leaseIds.map((leaseId) => findLease(pool, leaseId, now))
  const slots = found.filter((slot) => typeof slot === 'number')
  const [first] = found
  if (slots.length === 0 && typeof first === 'object') return first
  const leases = slots.map((slot) => leaseOf(tables, slot))
  return 'leaseId' in reference ? { lease: leases[0]! } : { leases }
}

function remember(
  tables: Tables,
  { key, body, count }: RememberOperation,
  before: readonly Result[],
  now: number,
): Answers['remember'] {
  const results = before.slice(before.length - count)
  const remembered = count !== 1 || !isRefusal(results[0]!)
  if (remembered) tables.idempotency.remember(key, body, results, now)
  return { remembered }
}

function findKey(pool: Pool, keyId: string, now: number): number {
  return parseKeyId(keyId, id) ? pool.find(id, now) : 0
}

function findLease(pool: Pool, leaseId: string, now: number): number | Refusal {
  const lease = parseLeaseId(leaseId)
  return lease === null ? REFUSED.lease_not_found : pool.findLease(lease, now)
}

function leaseOf(tables: Tables, slot: number): Lease {
  const { rows, holds } = tables
  const hold = rows.hold(slot)
  const token = rows.token(slot)
  const leaseId = formatLeaseId({
    slot,
    token,
    secret0: holds.secretWord(hold, 0),
    secret1: holds.secretWord(hold, 1),
    secret2: holds.secretWord(hold, 2),
  })
  return {
    leaseId,
    keyId: formatKeyId(rows, slot),
    fencingToken: token,
    grantedAt: holds.grantedAt(hold),
    expiresAt: leaseEnd(rows, slot),
    keyExpiresAt: orNull(rows.expiresAt(slot)),
  }
}

function keyOf(tables: Tables, slot: number, now: number): Key {
  const { rows, holds } = tables
  const state = rows.state(slot)
  const leased = state === State.leased
  const until = rows.until(slot)
  return {
    keyId: formatKeyId(rows, slot),
    state: STATE_NAMES[state],
    createdAt: rows.createdAt(slot),
    keepAliveAt: rows.keepAliveAt(slot),
    expiresAt: orNull(rows.expiresAt(slot)),
    disabled: rows.isDisabled(slot),
    disabledReason: tables.disabledReason(slot),
    failures: rows.failures(slot),
    coolingUntil: !leased && until > now ? until : null,
    lease: leased
      ? {
          fencingToken: rows.token(slot),
          grantedAt: holds.grantedAt(rows.hold(slot)),
          expiresAt: leaseEnd(rows, slot),
        }
      : null,
  }
}

function orNull(instant: number): number | null {
  return instant === NEVER ? null : instant
}
