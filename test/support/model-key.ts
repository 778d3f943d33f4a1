/** One key of the model: plain fields, and what time makes of them, worked out at each look. */
import type { EndReason } from '../../src/engine/errors.ts'
import type { SealedValue } from '../../src/engine/details.ts'
import type { HeldLease, Key, Lease, PoolCounts } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { StateName } from '../../src/engine/rows.ts'

export interface ModelKey {
  id: string
  value: SealedValue | null
  name: string | null
  metadata: string | null
  createdAt: number
  keepAliveAt: number
  /** Infinity: never. */
  expiresAt: number
  /** Undefined: the pool's. Null: for ever. */
  ownLifetimeMs: number | null | undefined
  disabled: boolean
  disabledReason: string | null
  failures: number
  /** The end of the last rest that an event has set; a lost lease brings its own. */
  restUntil: number
  leases: ModelLease[]
}

export interface ModelLease {
  id: string
  key: ModelKey
  pool: ModelPool
  fencingToken: number
  holder: string | null
  grantedAt: number
  ttlMs: number
  deadline: number
  lostCooldownMs: number
  /** Set by an event. What ends by time has none. */
  ended: EndReason | null
}

export interface ModelPool {
  policy: Policy
  keys: ModelKey[]
  lastToken: number
}

export function after(from: number, durationMs: number | null): number {
  return durationMs === null ? Infinity : from + durationMs
}

export function orNull(instant: number): number | null {
  return instant === Infinity ? null : instant
}

export function living(keys: ModelKey[], now: number): ModelKey[] {
  return keys.filter((key) => now < key.expiresAt)
}

export function find(pool: ModelPool, keyId: string, now: number): ModelKey | undefined {
  return living(pool.keys, now).find(({ id }) => id === keyId)
}

/** How the lease has ended by now; null if it has not. */
export function endOf(lease: ModelLease, now: number): EndReason | null {
  if (lease.ended !== null) return lease.ended
  if (now < Math.min(lease.deadline, lease.key.expiresAt)) return null
  return lease.deadline < lease.key.expiresAt ? 'expired' : 'key_expired'
}

export function currentLease(key: ModelKey, now: number): ModelLease | undefined {
  return key.leases.find((lease) => endOf(lease, now) === null)
}

/** The end of the rest that the key has been given last, be it over or not. */
export function restEnd(key: ModelKey, now: number): number {
  const last = key.leases.at(-1)
  return last?.ended === null && endOf(last, now) === 'expired'
    ? last.deadline + last.lostCooldownMs
    : key.restUntil
}

export function stateOf(key: ModelKey, now: number): StateName {
  if (currentLease(key, now)) return 'leased'
  if (key.disabled) return 'disabled'
  return restEnd(key, now) > now ? 'cooling' : 'available'
}

/** When the lease or the cooldown ends; Infinity if there is none, or if the key dies first. */
export function holdEnd(key: ModelKey, now: number): number {
  const state = stateOf(key, now)
  if (state === 'available' || state === 'disabled') return Infinity
  const end = currentLease(key, now)?.deadline ?? restEnd(key, now)
  return end < key.expiresAt ? end : Infinity
}

export function endLease(lease: ModelLease, reason: EndReason, restUntil: number): void {
  lease.ended = reason
  lease.key.restUntil = restUntil
}

export function shown(lease: ModelLease): Lease {
  return {
    leaseId: lease.id,
    keyId: lease.key.id,
    sealed: lease.key.value?.sealed ?? null,
    name: lease.key.name,
    metadata: lease.key.metadata,
    fencingToken: lease.fencingToken,
    holder: lease.holder,
    grantedAt: lease.grantedAt,
    expiresAt: Math.min(lease.deadline, lease.key.expiresAt),
    keyExpiresAt: orNull(lease.key.expiresAt),
  }
}

/** What others than its holder see of it. */
export function heldLease(lease: ModelLease): Omit<HeldLease, 'keyId'> {
  const { fencingToken, holder, grantedAt, deadline, key } = lease
  return { fencingToken, holder, grantedAt, expiresAt: Math.min(deadline, key.expiresAt) }
}

export function shownKey(key: ModelKey, now: number): Key {
  const lease = currentLease(key, now)
  const rest = restEnd(key, now)
  return {
    keyId: key.id,
    name: key.name,
    metadata: key.metadata,
    hasValue: key.value !== null,
    state: stateOf(key, now),
    createdAt: key.createdAt,
    keepAliveAt: key.keepAliveAt,
    expiresAt: orNull(key.expiresAt),
    disabled: key.disabled,
    disabledReason: key.disabledReason,
    failures: key.failures,
    coolingUntil: !lease && rest > now ? rest : null,
    lease: lease ? heldLease(lease) : null,
  }
}

export function countsOf(pool: ModelPool, now: number): PoolCounts {
  const keys = living(pool.keys, now)
  const states = keys.map((key) => stateOf(key, now))
  const count = (name: StateName): number => states.filter((state) => state === name).length
  return {
    available: count('available'),
    leased: count('leased'),
    cooling: count('cooling'),
    disabled: count('disabled'),
    nextAvailableAt: orNull(Math.min(...keys.map((key) => holdEnd(key, now)))),
  }
}
