/**
 * What each event does to one key: the table of the specification, and nothing else. The functions
 * write the key's row and its hold; they know neither sets nor deadlines, which the pool brings in
 * line afterwards (`Pool.#align`).
 */
import { END_REASONS, type EndReason } from './errors.ts'
import type { Holds } from './holds.ts'
import { after, type Policy } from './policy.ts'
import { MAX_FAILURES, NEVER, type Rows, State } from './rows.ts'

export const OUTCOMES = ['ok', 'rate_limited', 'error', 'invalid'] as const

/** How a holder fared with the key. */
export type Outcome = (typeof OUTCOMES)[number]

/** When the key's lease really ends by time: with its own deadline or with the key. */
export function leaseEnd(rows: Rows, slot: number): number {
  return Math.min(rows.until(slot), rows.expiresAt(slot))
}

/** Whether time has ended the key. From its millisecond on it does not exist. */
export function isDead(rows: Rows, slot: number, now: number): boolean {
  return rows.expiresAt(slot) <= now
}

/**
 * What time has done to a live key by `now`: a lease or a cooldown that is over is over since its own
 * deadline, however late anyone looks.
 */
export function lapse(rows: Rows, holds: Holds, slot: number, now: number): void {
  const until = rows.until(slot)
  if (until > now) return
  const state = rows.state(slot)
  if (state === State.leased) {
    const cooldownMs = holds.lostCooldownMs(rows.hold(slot))
    endLease(rows, slot, 'expired', until + cooldownMs, now)
  } else if (state === State.cooling) {
    rows.setState(slot, State.available)
  }
}

/** A new lease on an available key, which has a hold already. `maxLeaseTotalMs` may cut the TTL. */
export function grant(
  rows: Rows,
  holds: Holds,
  slot: number,
  policy: Policy,
  token: number,
  ttlMs: number,
  now: number,
): void {
  rows.setState(slot, State.leased)
  rows.setToken(slot, token)
  rows.setEndReason(slot, 0)
  rows.setMoved(slot, false)
  rows.setUntil(slot, Math.min(now + ttlMs, after(now, policy.maxLeaseTotalMs)))
  holds.setTerms(rows.hold(slot), now, ttlMs, policy.expiredLeaseCooldownMs)
}

/**
 * The lease ends `ttlMs` from now, even if that is earlier than before. False, and nothing changes, when
 * it ends at `maxLeaseTotalMs` already and is asked to go beyond.
 */
export function renew(
  rows: Rows,
  holds: Holds,
  slot: number,
  policy: Policy,
  ttlMs: number,
  now: number,
): boolean {
  const hold = rows.hold(slot)
  const grantedAt = holds.grantedAt(hold)
  const limit = after(grantedAt, policy.maxLeaseTotalMs)
  const until = now + ttlMs
  if (until > limit && rows.until(slot) >= limit) return false
  rows.setUntil(slot, Math.min(until, limit))
  holds.setTerms(hold, grantedAt, ttlMs, holds.lostCooldownMs(hold))
  return true
}

/** The holder gives the key back and says how it fared. */
export function release(
  rows: Rows,
  slot: number,
  policy: Policy,
  outcome: Outcome,
  retryAfterMs: number | undefined,
  now: number,
): void {
  let cooldownMs = 0
  if (outcome === 'ok') {
    rows.setFailures(slot, 0)
    cooldownMs = policy.cooldownMs
  } else if (outcome === 'invalid') {
    rows.setDisabled(slot, true)
  } else {
    const failures = Math.min(rows.failures(slot) + 1, MAX_FAILURES)
    rows.setFailures(slot, failures)
    cooldownMs = retryAfterMs ?? backoffMs(policy, failures)
  }
  endLease(rows, slot, 'released', now + cooldownMs, now)
}

/** `failureCooldownMs` after the first failure, doubled with each one that follows. */
function backoffMs(policy: Policy, failures: number): number {
  return Math.min(policy.failureCooldownMs * 2 ** (failures - 1), policy.maxFailureCooldownMs)
}

/** The classic API's release: nothing is said of how the holder fared. */
export function unblock(rows: Rows, slot: number, policy: Policy, now: number): void {
  endLease(rows, slot, 'unblocked', now + policy.cooldownMs, now)
}

export function revoke(rows: Rows, slot: number, policy: Policy, now: number): void {
  endLease(rows, slot, 'revoked', now + policy.expiredLeaseCooldownMs, now)
}

/** The key dies or is deleted, and with it its lease, if it has one. */
export function endWithKey(rows: Rows, slot: number, reason: 'key_expired' | 'key_deleted'): void {
  if (rows.state(slot) === State.leased) rows.setEndReason(slot, END_REASONS.indexOf(reason))
}

/** Every way out of a lease: disabled if the flag is set, else cooling, else available. */
function endLease(rows: Rows, slot: number, reason: EndReason, coolingUntil: number, now: number) {
  rows.setEndReason(slot, END_REASONS.indexOf(reason))
  rows.setUntil(slot, coolingUntil)
  rows.setState(slot, freeState(rows, slot, now))
}

/** The state of a key that is not leased. */
function freeState(rows: Rows, slot: number, now: number): State {
  if (rows.isDisabled(slot)) return State.disabled
  return rows.until(slot) > now ? State.cooling : State.available
}

/** A full life from now. A key with a lifetime of its own gets that, the others their pool's. */
export function keepAlive(rows: Rows, slot: number, policy: Policy, now: number): void {
  const expiresAt = rows.expiresAt(slot)
  if (rows.hasOwnLifetime(slot)) {
    const lifetimeMs = expiresAt - rows.keepAliveAt(slot)
    rows.setLife(slot, now, expiresAt === NEVER ? NEVER : now + lifetimeMs)
  } else {
    rows.setLife(slot, now, after(now, policy.keyLifetimeMs))
  }
}

/** A leased key stays with its holder and is disabled when the lease ends. */
export function disable(rows: Rows, slot: number): void {
  rows.setDisabled(slot, true)
  if (rows.state(slot) !== State.leased) rows.setState(slot, State.disabled)
}

/** Failures are forgiven; a cooldown goes on underneath. */
export function enable(rows: Rows, slot: number, now: number): void {
  rows.setDisabled(slot, false)
  rows.setFailures(slot, 0)
  if (rows.state(slot) !== State.leased) rows.setState(slot, freeState(rows, slot, now))
}

/** The key need not rest any longer. */
export function endCooldown(rows: Rows, slot: number, now: number): void {
  if (rows.state(slot) === State.leased) return
  rows.setUntil(slot, 0)
  rows.setState(slot, freeState(rows, slot, now))
}
