/** What the answers so far have promised, and whether the next ones keep it. */
import assert from 'node:assert/strict'
import type { Key, Lease, Result } from '../../src/engine/operations.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

export interface Entry {
  readonly keyId: string
  readonly pool: string
  /** Infinity: never. From then on there is no such key. */
  diesAt: number
  /** Until then nobody else may be given it, unless its rest is ended. */
  restsUntil: number
  disabled: boolean
  holding: Holding | null
}

export interface Holding {
  readonly leaseId: string
  readonly fencingToken: number
  endsAt: number
  /** The rest that follows if it ends by time. */
  readonly lostCooldownMs: number
}

export class Ledger {
  readonly #entries = new Map<string, Entry>()
  /** For picking; the dead are dropped when they are met. */
  readonly #byPool = new Map<string, Entry[]>()
  #lastToken = 0

  created(pool: string, keyIds: string[], diesAt: number): void {
    const entries = this.#byPool.get(pool) ?? []
    this.#byPool.set(pool, entries)
    for (const keyId of keyIds) {
      assert(!this.#entries.has(keyId), 'an id came twice')
      const entry = { keyId, pool, diesAt, restsUntil: 0, disabled: false, holding: null }
      this.#entries.set(keyId, entry)
      entries.push(entry)
    }
  }

  granted(pool: string, lease: Lease, lostCooldownMs: number, now: number): void {
    const entry = this.#entries.get(lease.keyId)
    assert(entry?.pool === pool, 'a key of another pool was granted')
    assert(now < entry.diesAt, 'a dead key was granted')
    assert(!entry.disabled, 'a disabled key was granted')
    assert(this.holder(entry, now) === null, 'two holders of one key')
    assert(now >= restEnd(entry), 'a key was granted before its rest was over')
    assert(lease.fencingToken > this.#lastToken, 'a fencing token did not rise')
    assert.equal(lease.grantedAt, now)
    this.#lastToken = lease.fencingToken
    entry.holding = {
      leaseId: lease.leaseId,
      fencingToken: lease.fencingToken,
      endsAt: lease.expiresAt,
      lostCooldownMs,
    }
  }

  /** An operation has named this key: what is shown right after it holds from now on. */
  changed(key: Key, now: number): void {
    const entry = this.#entries.get(key.keyId)!
    const before = this.holder(entry, now)
    entry.diesAt = key.expiresAt ?? Infinity
    entry.disabled = key.disabled
    if (key.lease !== null) {
      assert.equal(key.lease.fencingToken, before?.fencingToken, 'a lease that nobody was given')
      before!.endsAt = key.lease.expiresAt
    } else {
      // The rest that a lost lease brings is in what is shown already.
      entry.holding &&= {
        ...entry.holding,
        endsAt: Math.min(now, entry.holding.endsAt),
        lostCooldownMs: -Infinity,
      }
      entry.restsUntil = key.coolingUntil ?? 0
    }
    this.checkKey(key.keyId, { key }, now)
  }

  removed(keyId: string, now: number): void {
    this.#entries.get(keyId)!.diesAt = now
  }

  poolRemoved(pool: string, now: number): void {
    for (const entry of this.#byPool.get(pool) ?? []) entry.diesAt = Math.min(entry.diesAt, now)
    this.#byPool.delete(pool)
  }

  /** The lease that the key is under; null if there is none. */
  holder({ holding, diesAt }: Entry, now: number): Holding | null {
    return holding !== null && now < holding.endsAt && now < diesAt ? holding : null
  }

  /** Some key of the pool, mostly a living one. */
  pick(pool: string, random: SeededRandom, now: number): Entry | undefined {
    const entries = this.#byPool.get(pool) ?? []
    while (entries.length > 0) {
      const place = random.below(entries.length)
      const entry = entries[place]!
      if (now < entry.diesAt || random.chance(0.1)) return entry
      entries[place] = entries.at(-1)!
      entries.pop()
    }
    return undefined
  }

  /** The next instant at which one of some keys is to change by itself. */
  nextDeadline(pool: string, random: SeededRandom, now: number): number | undefined {
    const entry = this.pick(pool, random, now)
    if (entry === undefined) return undefined
    const instants = [entry.diesAt, restEnd(entry), entry.holding?.endsAt ?? 0]
    const coming = instants.filter((instant) => instant > now && instant !== Infinity)
    return coming.length > 0 ? Math.min(...coming) : undefined
  }

  checkKey(keyId: string, told: Result, now: number): void {
    const entry = this.#entries.get(keyId)!
    if (now >= entry.diesAt) {
      const code = 'code' in told ? told.code : ''
      assert(['key_not_found', 'pool_not_found'].includes(code), 'a key lives on')
      return
    }
    assert('key' in told, 'a living key was not found')
    const holding = this.holder(entry, now)
    const rest = restEnd(entry)
    const freeState = entry.disabled ? 'disabled' : rest > now ? 'cooling' : 'available'
    assert.equal(told.key.state, holding ? 'leased' : freeState)
    assert.equal(told.key.expiresAt ?? Infinity, entry.diesAt)
    assert.equal(told.key.coolingUntil, !holding && rest > now ? rest : null)
    assert.equal(told.key.lease?.fencingToken, holding?.fencingToken)
    assert.equal(told.key.lease?.expiresAt, holding?.endsAt)
  }

  checkLease(entry: Entry, leaseId: string, told: Result, now: number): void {
    const holding = this.holder(entry, now)
    if (holding?.leaseId !== leaseId) {
      const code = 'code' in told ? told.code : ''
      assert(
        ['lease_ended', 'lease_not_found', 'pool_not_found'].includes(code),
        'a lease lives on',
      )
      return
    }
    assert('lease' in told, 'a lease has ended early')
    assert.equal(told.lease.keyId, entry.keyId)
    assert.equal(told.lease.fencingToken, holding.fencingToken)
    assert.equal(told.lease.expiresAt, holding.endsAt)
  }
}

function restEnd({ holding, restsUntil }: Entry): number {
  return holding ? Math.max(restsUntil, holding.endsAt + holding.lostCooldownMs) : restsUntil
}
