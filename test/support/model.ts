/**
 * The rules once more, as plainly as they can be written: keys are objects in an array, every answer is
 * found by looking through all of them, and nothing ever happens by itself: what time has done is worked
 * out from the deadlines whenever anyone looks.
 */
import assert from 'node:assert/strict'
import type { EndReason, Refusal } from '../../src/engine/errors.ts'
import type { Answers, Lease, Operation, PoolCounts, Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import {
  after,
  countsOf,
  currentLease,
  endLease,
  endOf,
  find,
  holdEnd,
  living,
  type ModelKey,
  type ModelLease,
  type ModelPool,
  orNull,
  shown,
  shownKey,
  stateOf,
} from './model-key.ts'

const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const LEASE_ID = /^[A-Za-z0-9_-]{32}$/
const MAX_FAILURES = 255

export class Model {
  readonly pools = new Map<string, ModelPool>()
  /** All that there ever were, for asking after the dead too. */
  readonly keyIds: string[] = []
  readonly leases: ModelLease[] = []
  readonly #maxTotalKeys: number
  #lastToken = 0

  constructor(maxTotalKeys: number) {
    this.#maxTotalKeys = maxTotalKeys
  }

  putPool(name: string, policy: Policy): 'created' | 'replaced' {
    const pool = this.pools.get(name)
    if (pool === undefined) this.pools.set(name, { policy, keys: [] })
    else pool.policy = policy
    return pool === undefined ? 'created' : 'replaced'
  }

  removePool(name: string): Refusal | null {
    return this.pools.delete(name) ? null : { code: 'pool_not_found' }
  }

  /** Ids of the living keys of a pool, and of the leases on them. */
  present(name: string, now: number): { keyIds: string[]; leaseIds: string[] } {
    const keys = living(this.pools.get(name)?.keys ?? [], now)
    const leases = keys.map((key) => currentLease(key, now)).filter((lease) => lease !== undefined)
    return { keyIds: keys.map(({ id }) => id), leaseIds: leases.map(({ id }) => id) }
  }

  /** Every instant at which time will do something, in order. */
  deadlines(now: number): number[] {
    const dues = [...this.pools.values()].flatMap(({ keys }) =>
      living(keys, now).flatMap((key) => [key.expiresAt, holdEnd(key, now)]),
    )
    return dues.filter((due) => due !== Infinity).sort((a, b) => a - b)
  }

  /**
   * Does the operation, and fails unless `told` is the answer to it. What is not for the rules to decide
   * is taken from `told`: new ids and tokens, and which of the available keys was drawn.
   */
  check(poolName: string, operation: Operation, told: Result, now: number): void {
    const pool = this.pools.get(poolName)
    const expected = pool ? this.#perform(pool, operation, told, now) : { code: 'pool_not_found' }
    assert.deepEqual(told, expected)
  }

  #perform(pool: ModelPool, operation: Operation, told: Result, now: number): Result {
    switch (operation.op) {
      case 'create':
        return this.#create(pool, operation, told, now)
      case 'acquire':
        return this.#acquire(pool, operation, told, now)
      case 'describe':
        return { counts: countsOf(pool, now) }
      case 'list':
        return list(pool, operation, now)
      case 'renew':
      case 'release':
      case 'showLease': {
        const lease = this.leases.find(({ id }) => id === operation.leaseId)
        if (lease === undefined) return { code: 'lease_not_found' }
        if (lease.pool !== pool) return refusedElsewhere(told)
        const ended = endOf(lease, now)
        if (ended !== null) return endedAnswer(operation.op, lease, ended, told, now)
        if (operation.op === 'showLease') return { lease: shown(lease) }
        return operation.op === 'renew'
          ? renew(pool, lease, operation, now)
          : release(pool, lease, operation, now)
      }
      case 'recall':
      case 'remember':
        throw new Error('requests are not modelled')
      default: {
        const key = find(pool, operation.keyId, now)
        if (key === undefined) return { code: 'key_not_found' }
        return onKey(pool, key, operation, now)
      }
    }
  }

  #create(
    pool: ModelPool,
    { count, lifetimeMs }: Extract<Operation, { op: 'create' }>,
    told: Result,
    now: number,
  ): Result {
    if (living(pool.keys, now).length + count > pool.policy.maxKeys) return { code: 'pool_full' }
    const total = [...this.pools.values()].flatMap(({ keys }) => living(keys, now)).length
    if (total + count > this.#maxTotalKeys) return { code: 'server_full' }
    assert('keyIds' in told, `refused: ${JSON.stringify(told)}`)
    assert.equal(told.keyIds.length, count)
    for (const id of told.keyIds) {
      assert.match(id, KEY_ID)
      assert(!this.keyIds.includes(id), 'an id came twice')
      this.keyIds.push(id)
      pool.keys.push({
        id,
        createdAt: now,
        keepAliveAt: now,
        expiresAt: after(now, lifetimeMs === undefined ? pool.policy.keyLifetimeMs : lifetimeMs),
        ownLifetimeMs: lifetimeMs,
        disabled: false,
        disabledReason: null,
        failures: 0,
        restUntil: 0,
        leases: [],
      })
    }
    return { keyIds: told.keyIds }
  }

  #acquire(
    pool: ModelPool,
    operation: Extract<Operation, { op: 'acquire' }>,
    told: Result,
    now: number,
  ): Result {
    const { count, keyId, ttlMs = pool.policy.leaseTtlMs, leave = 0 } = operation
    const wanted = keyId === undefined ? undefined : find(pool, keyId, now)
    if (keyId !== undefined && wanted === undefined) return { code: 'key_not_found' }
    if (ttlMs > pool.policy.maxLeaseTtlMs) return { code: 'ttl_too_long' }
    const free = living(pool.keys, now).filter((key) => stateOf(key, now) === 'available')
    const most = free.length - leave
    if (wanted !== undefined) {
      if (!free.includes(wanted) || most <= 0) return { code: 'key_unavailable' }
    } else if (most <= 0) {
      return nothingToGive(countsOf(pool, now), now)
    }
    assert('leases' in told, `refused: ${JSON.stringify(told)}`)
    assert.equal(told.leases.length, keyId === undefined ? Math.min(count, most) : 1)
    const leases = told.leases.map((lease) => {
      assert(keyId === undefined || lease.keyId === keyId, 'another key than asked for')
      const key = free.find(({ id }) => id === lease.keyId)
      assert(key && stateOf(key, now) === 'available', 'a key was granted that is not available')
      return shown(this.#grant(pool, key, lease, ttlMs, now))
    })
    return { leases }
  }

  #grant(pool: ModelPool, key: ModelKey, told: Lease, ttlMs: number, now: number): ModelLease {
    const { leaseId: id, fencingToken } = told
    assert.match(id, LEASE_ID)
    assert(!this.leases.some((lease) => lease.id === id), 'a lease id came twice')
    assert.equal(fencingToken, Math.max(this.#lastToken + 1, now * 1000))
    this.#lastToken = fencingToken
    const lease: ModelLease = {
      id,
      key,
      pool,
      fencingToken,
      grantedAt: now,
      ttlMs,
      deadline: Math.min(now + ttlMs, after(now, pool.policy.maxLeaseTotalMs)),
      lostCooldownMs: pool.policy.expiredLeaseCooldownMs,
      ended: null,
    }
    key.leases.push(lease)
    this.leases.push(lease)
    return lease
  }
}

function nothingToGive(pool: PoolCounts, now: number): Refusal {
  const { available, leased, cooling, disabled, nextAvailableAt } = pool
  const counts = { leased, cooling, disabled }
  if (available === 0 && leased === 0 && cooling === 0) return { code: 'pool_empty', counts }
  if (nextAvailableAt === null) return { code: 'pool_exhausted', counts }
  return { code: 'pool_exhausted', counts, retryAfterMs: nextAvailableAt - now }
}

function list(
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

/** A lease of another pool, or of an earlier one of that name: refused, in whatever words. */
function refusedElsewhere(told: Result): Result {
  const accepted = !('code' in told) && !('released' in told && !told.released)
  assert(!accepted, `accepted: ${JSON.stringify(told)}`)
  if ('code' in told) assert(['lease_ended', 'lease_not_found'].includes(told.code), told.code)
  return told
}

/** How a lease ended is known for sure while its key lives and has had no other lease. */
function endedAnswer(
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

function renew(
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

function release(
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

function onKey(
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
      return { key: shownKey(key, now) }
    }
  }
}

function endRest(key: ModelKey, now: number): void {
  const last = key.leases.at(-1)
  if (last) last.ended ??= endOf(last, now)
  key.restUntil = 0
}
