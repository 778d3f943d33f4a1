/** What each operation does to the keys and leases of the model. */
import assert from 'node:assert/strict'
import type { EndReason, Refusal } from '../../src/engine/errors.ts'
import {
  type Answers,
  type Operation,
  type PoolCounts,
  type Result,
} from '../../src/engine/operations.ts'
import { shardOfKey } from '../../src/store/redis/layout.ts'
import {
  after,
  currentLease,
  endLease,
  endOf,
  heldLease,
  living,
  type ModelKey,
  type ModelLease,
  type ModelPool,
  orNull,
  shown,
  shownKey,
  stateOf,
} from './model-key.ts'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const MAX_FAILURES = 255

export function nothingToGive(pool: PoolCounts, now: number): Refusal {
  const { available, leased, cooling, disabled, nextAvailableAt } = pool
  const counts = { leased, cooling, disabled }
  if (available === 0 && leased === 0 && cooling === 0) return { code: 'pool_empty', counts }
  if (nextAvailableAt === null) return { code: 'pool_exhausted', counts }
  return { code: 'pool_exhausted', counts, retryAfterMs: nextAvailableAt - now }
}

export function list(
  pool: ModelPool,
  { limit, state, cursor }: Extract<Operation, { op: 'list' }>,
  now: number,
): Answers['list'] | Refusal {
  if (cursor !== undefined && !UUID.test(cursor)) return { code: 'invalid_cursor' }
  const following = living(pool.keys, now)
    .filter(
      (key) => key.id > (cursor ?? '') && (state === undefined || stateOf(key, now) === state),
    )
    .sort((a, b) => (a.id < b.id ? -1 : 1))
  return {
    keys: following.slice(0, limit).map((key) => shownKey(key, now)),
    nextCursor: following[limit - 1]?.id ?? null,
  }
}

/** The current leases of the pool in the order of their keys' ids. */
function held(pool: ModelPool, holder: string | undefined, now: number): ModelLease[] {
  return living(pool.keys, now)
    .map((key) => currentLease(key, now))
    .filter((lease) => lease !== undefined)
    .filter((lease) => holder === undefined || lease.holder === holder)
    .sort((a, b) => (a.key.id < b.key.id ? -1 : 1))
}

export function listLeases(
  pool: ModelPool,
  { limit, holder, cursor }: Extract<Operation, { op: 'listLeases' }>,
  now: number,
): Answers['listLeases'] | Refusal {
  if (cursor !== undefined && !UUID.test(cursor)) return { code: 'invalid_cursor' }
  const page = held(pool, holder, now).filter(({ key }) => key.id > (cursor ?? ''))
  return {
    heldLeases: page.slice(0, limit).map((lease) => ({ keyId: lease.key.id, ...heldLease(lease) })),
    nextCursor: page[limit - 1]?.key.id ?? null,
  }
}

export function revokeLeases(
  pool: ModelPool,
  { holder, limit, grantedBy: by }: Extract<Operation, { op: 'revokeLeases' }>,
  told: Result,
  now: number,
  shards: number,
): Answers['revokeLeases'] {
  assert('revoked' in told, `refused: ${JSON.stringify(told)}`)
  const grantedBy = by ?? now
  const shardOf = ({ key }: ModelLease): number => shardOfKey(key.id, shards)
  const oldestFirst = held(pool, holder, now)
    .filter(({ grantedAt }) => grantedAt <= grantedBy)
    .sort((a, b) => shardOf(a) - shardOf(b) || a.fencingToken - b.fencingToken)
  // How far it comes in one call is its own affair, for it looks at leases that are over as well.
  assert(told.revoked <= limit)
  assert(told.more || told.revoked === oldestFirst.length, 'it has missed some')
  for (const lease of oldestFirst.slice(0, told.revoked)) {
    endLease(lease, 'revoked', now + pool.policy.expiredLeaseCooldownMs)
  }
  return { revoked: told.revoked, more: told.more, grantedBy }
}

/** A lease of another pool, or of an earlier one of that name: refused, in whatever words. */
export function refusedElsewhere(told: Result): Result {
  const accepted = !('code' in told) && !('released' in told && !told.released)
  assert(!accepted, `accepted: ${JSON.stringify(told)}`)
  if ('code' in told) assert(['lease_ended', 'lease_not_found'].includes(told.code), told.code)
  return told
}

/** How a lease ended is known for sure while its key lives and has had no other lease. */
export function endedAnswer(
  op: 'renew' | 'release' | 'showLease',
  lease: ModelLease,
  reason: EndReason,
  told: Result,
  now: number,
): Result {
  const { key, pool } = lease
  const lost = key.leases.at(-1) !== lease || !living(pool.keys, now).includes(key)
  if (op === 'release') {
    const unknown = lost && 'reason' in told && told.reason === 'unknown'
    return { released: false, reason: unknown ? 'unknown' : reason }
  }
  return lost && !('reason' in told) ? { code: 'lease_ended' } : { code: 'lease_ended', reason }
}

export function renew(
  pool: ModelPool,
  lease: ModelLease,
  operation: Extract<Operation, { op: 'renew' }>,
  now: number,
): Result {
  const { ttlMs = lease.ttlMs, keepAlive: revive = false } = operation
  if (operation.ttlMs !== undefined && ttlMs > pool.policy.maxLeaseTtlMs) {
    return { code: 'ttl_too_long' }
  }
  const limit = after(lease.grantedAt, pool.policy.maxLeaseTotalMs)
  if (now + ttlMs > limit && lease.deadline >= limit) return { code: 'lease_limit' }
  lease.deadline = Math.min(now + ttlMs, limit)
  lease.ttlMs = ttlMs
  if (revive) keepAlive(pool, lease.key, now)
  return { lease: shown(lease) }
}

export function release(
  pool: ModelPool,
  lease: ModelLease,
  operation: Extract<Operation, { op: 'release' }>,
  now: number,
): Result {
  const { key } = lease
  const { policy } = pool
  const { outcome = 'ok', retryAfterMs, reason } = operation
  if (outcome === 'ok') {
    key.failures = 0
    endLease(lease, 'released', now + policy.cooldownMs)
  } else if (outcome === 'invalid') {
    key.disabled = true
    key.disabledReason = reason ?? key.disabledReason
    endLease(lease, 'released', 0)
  } else {
    key.failures = Math.min(key.failures + 1, MAX_FAILURES)
    let backoffMs = policy.failureCooldownMs
    for (let failure = 1; failure < key.failures; failure++) backoffMs *= 2
    const restMs = retryAfterMs ?? Math.min(backoffMs, policy.maxFailureCooldownMs)
    endLease(lease, 'released', now + restMs)
  }
  return { released: true }
}

function keepAlive(pool: ModelPool, key: ModelKey, now: number): void {
  const { ownLifetimeMs } = key
  key.keepAliveAt = now
  key.expiresAt = after(
    now,
    ownLifetimeMs === undefined ? pool.policy.keyLifetimeMs : ownLifetimeMs,
  )
}

export function onKey(
  pool: ModelPool,
  key: ModelKey,
  operation: Extract<
    Operation,
    { op: 'unblock' | 'revoke' | 'keepAlive' | 'update' | 'remove' | 'show' }
  >,
  now: number,
): Result {
  const keyId = key.id
  const lease = currentLease(key, now)
  switch (operation.op) {
    case 'show':
      return { key: shownKey(key, now) }
    case 'keepAlive':
      keepAlive(pool, key, now)
      return { keyId, expiresAt: orNull(key.expiresAt) }
    case 'remove':
      pool.keys.splice(pool.keys.indexOf(key), 1)
      if (lease) lease.ended = 'key_deleted'
      return { keyId }
    case 'unblock':
      if (!lease || (operation.leaseId !== undefined && operation.leaseId !== lease.id)) {
        return { code: 'key_not_leased' }
      }
      endLease(lease, 'unblocked', now + pool.policy.cooldownMs)
      return { keyId }
    case 'revoke':
      if (!lease) return { code: 'key_not_leased' }
      endLease(lease, 'revoked', now + pool.policy.expiredLeaseCooldownMs)
      return { keyId }
    case 'update': {
      const { disabled, reason, coolingUntil } = operation
      if (disabled === true) {
        key.disabled = true
        key.disabledReason = reason ?? key.disabledReason
      }
      if (disabled === false) {
        key.disabled = false
        key.disabledReason = null
        key.failures = 0
      }
      if (coolingUntil === null && !lease) endRest(key, now)
      if (operation.name !== undefined) key.name = operation.name
      if (operation.metadata !== undefined) key.metadata = operation.metadata
      return { key: shownKey(key, now) }
    }
  }
}

function endRest(key: ModelKey, now: number): void {
  const last = key.leases.at(-1)
  if (last) last.ended ??= endOf(last, now)
  key.restUntil = 0
}
