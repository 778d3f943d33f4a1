import { NEVER } from './rows.ts'

/** The longest duration, 10 years. */
export const MAX_DURATION_MS = 10 * 365.25 * 24 * 3_600_000

export const MAX_KEYS_PER_POOL = 10_000_000
export const MAX_SHARDS = 64

/** What a pool may be called. */
export const POOL_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/

/** How a pool treats its keys. Durations are whole ms; null is never. */
export interface Policy {
  /** Of generated keys, from their creation or last keep-alive. */
  readonly keyLifetimeMs: number | null
  /** Of a grant that names none. */
  readonly leaseTtlMs: number
  /** The longest TTL that may be asked for. */
  readonly maxLeaseTtlMs: number
  /** The longest that renewals can stretch one lease. */
  readonly maxLeaseTotalMs: number | null
  /** Rest after a clean release. */
  readonly cooldownMs: number
  /** Rest after a lease that expired or was revoked. */
  readonly expiredLeaseCooldownMs: number
  /** Rest after a first failure that names no time; doubles with each failure in a row. */
  readonly failureCooldownMs: number
  readonly maxFailureCooldownMs: number
  /** A create beyond it is refused whole. */
  readonly maxKeys: number
  /** Over Redis: how many parts its keys are kept in, fixed when the pool is made. It makes no other difference. */
  readonly shards: number
}

export const DEFAULT_POLICY: Policy = Object.freeze({
  keyLifetimeMs: 300_000,
  leaseTtlMs: 60_000,
  maxLeaseTtlMs: 3_600_000,
  maxLeaseTotalMs: null,
  cooldownMs: 0,
  expiredLeaseCooldownMs: 0,
  failureCooldownMs: 30_000,
  maxFailureCooldownMs: 3_600_000,
  maxKeys: MAX_KEYS_PER_POOL,
  shards: 1,
})

/** What may not be above what. */
const LIMITED = [
  ['leaseTtlMs', 'maxLeaseTtlMs'],
  ['leaseTtlMs', 'maxLeaseTotalMs'],
  ['failureCooldownMs', 'maxFailureCooldownMs'],
] as const

/** What is wrong with a policy, in words for the person who wrote it; null if nothing is. */
export function contradiction(policy: Policy): string | null {
  for (const [value, limit] of LIMITED) {
    const most = policy[limit] ?? NEVER
    // Both with their numbers: one of them may be a default that the request did not name.
    if (policy[value] > most) return `${value} is above ${limit}: ${policy[value]} > ${most}`
  }
  return null
}

/** The instant `durationMs` after `from`; null is never. */
export function after(from: number, durationMs: number | null): number {
  return durationMs === null ? NEVER : from + durationMs
}
