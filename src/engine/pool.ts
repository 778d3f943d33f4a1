import { ChangeKind } from './changes.ts'
import { Deadlines } from './deadlines.ts'
import type { HistoryDetail } from './history-entries.ts'
import { END_REASONS, REFUSED, type Refusal } from './errors.ts'
import { type LeaseRef, parseKeyId, randomKeyId } from './ids.ts'
import type { PoolCounts } from './operations.ts'
import { type PackedLease, unpackKeyId, unpackSecret } from './packed-ids.ts'
import type { Policy } from './policy.ts'
import { below } from './random.ts'
import { NEVER, State } from './rows.ts'
import { StateSets } from './state-sets.ts'
import type { Tables } from './tables.ts'
import * as transitions from './transitions.ts'
import type { Outcome } from './transitions.ts'

/** No answer yet: more is due in the pool than one turn may settle. */
export const UNSETTLED = -1

/** Dead keys that one draw clears away itself before it lets others have their turn. */
const MAX_REAPED_PER_DRAW = 128

const newId = new Uint32Array(4)

/** A pool as it is kept on disk. */
export interface SavedPool {
  number: number
  name: string
  policy: Policy
  /** It is gone for everybody, and only its keys remain to be freed. */
  closing: boolean
  /** Of one that came from a Redis: what lease ids of there call it. */
  uid?: number
}

/**
 * The keys of one pool, by slot, and what can be done to them. A slot that comes from `find`, `findLease`
 * or `draw` is up to date. Then a transition writes its row, and `#align` brings the structures in line.
 */
export class Pool {
  readonly number: number
  readonly name: string
  policy: Policy
  readonly sets: StateSets
  /** The pool that took its place when it was emptied. */
  successor: Pool | null = null
  /** The import that is under way, and that others wait for. */
  importing: object | null = null
  readonly #tables: Tables
  /** Slots by the death of their key. */
  readonly #lives: Deadlines
  /** Holds by their end, where that comes before the death of their key. */
  readonly #holds: Deadlines

  constructor(number: number, name: string, policy: Policy, tables: Tables) {
    this.number = number
    this.name = name
    this.policy = policy
    this.#tables = tables
    this.sets = new StateSets(tables.rows, tables.setPages, tables.stateCounts)
    this.#lives = new Deadlines(tables.lifePages)
    this.#holds = new Deadlines(tables.holdPages)
  }

  /** When something falls due next; NEVER if nothing will. */
  get nextDue(): number {
    return Math.min(this.#lives.next, this.#holds.next)
  }

  /** Keys by state, right once all that is due is settled. */
  counts(): PoolCounts {
    return {
      available: this.sets.count(State.available),
      leased: this.sets.count(State.leased),
      cooling: this.sets.count(State.cooling),
      disabled: this.sets.count(State.disabled),
      nextAvailableAt: this.#holds.next === NEVER ? null : this.#holds.next,
    }
  }

  /** Does what time has brought, at most `limit` keys. Returns how many it was. */
  settle(now: number, limit: number): number {
    let done = 0
    for (; done < limit && this.#lives.next <= now; done++) {
      this.#end(this.#lives.top, 'key_expired')
    }
    for (; done < limit && this.#holds.next <= now; done++) {
      this.#lapse(this.#tables.holds.slot(this.#holds.top), now)
    }
    return done
  }

  /** Frees up to `limit` keys of a pool that is gone, unseen by anyone. Returns how many. */
  drain(limit: number, now: number): number {
    let done = 0
    const { history } = this.#tables
    history?.turn(now, undefined)
    for (; done < limit && this.sets.size > 0; done++) {
      const slot = this.sets.atRank(this.sets.size - 1)
      history?.add(ChangeKind.deleted, this.name, slot, this.#holderOf(slot), '')
      this.#tables.unsaved?.add(slot)
      this.#forget(slot)
    }
    return done
  }

  /** The slot of the live key with that id; 0 if there is none. */
  find(id: Uint32Array, now: number): number {
    const slot = this.#tables.index.find(id)
    if (slot === 0 || this.#tables.rows.pool(slot) !== this.number) return 0
    return this.settleKey(slot, now) ? slot : 0
  }

  /** The slot of the key of this pool that has the value with that digest; 0 if there is none. */
  findValue(digest: string, now: number): number {
    const { rows, details } = this.#tables
    const slot = details
      .find(digest)
      .find((slot) => rows.isLive(slot) && rows.pool(slot) === this.number)
    return slot !== undefined && this.settleKey(slot, now) ? slot : 0
  }

  /** Whether in that slot, where there was one with that value, there still is. */
  hasValue(slot: number, digest: string, now: number): boolean {
    const { rows, details } = this.#tables
    const isMine = rows.isLive(slot) && rows.pool(slot) === this.number
    return isMine && details.get(slot).value?.digest === digest && this.settleKey(slot, now)
  }

  /** The slot of the key that this current lease holds, or why it holds none. */
  findLease(lease: LeaseRef, now: number): number | Refusal {
    const { rows } = this.#tables
    const { slot } = lease
    if (!rows.knows(slot) || lease.token === 0) return REFUSED.lease_not_found
    const mine = rows.pool(slot) === this.number
    if (mine && rows.isLive(slot)) this.settleKey(slot, now)
    const token = rows.token(slot)
    if (lease.token !== token) {
      return lease.token < token ? REFUSED.lease_ended : REFUSED.lease_not_found
    }
    if (rows.isLive(slot) && rows.state(slot) === State.leased) {
      return mine && this.#holdsSecret(slot, lease) ? slot : REFUSED.lease_not_found
    }
    const reason = END_REASONS[rows.endReason(slot)]!
    return reason === 'unknown' || !mine ? REFUSED.lease_ended : { code: 'lease_ended', reason }
  }

  /** The same by the id that a lease was given by a Redis, from which the pool came. */
  findMovedLease({ uid, id, token, secret }: PackedLease, now: number): number | Refusal {
    if (this.#tables.uids.get(this.number) !== uid) return REFUSED.lease_not_found
    parseKeyId(unpackKeyId(id), newId)
    const slot = this.find(newId, now)
    if (slot !== 0)
      return this.findLease({ slot, token: Number(token), ...unpackSecret(secret) }, now)
    return Number(token) <= this.#tables.lastToken ? REFUSED.lease_ended : REFUSED.lease_not_found
  }

  /** Brings a key of this pool up to date. False: it has died. */
  settleKey(slot: number, now: number): boolean {
    if (transitions.isDead(this.#tables.rows, slot, now)) {
      this.#end(slot, 'key_expired')
      return false
    }
    this.#lapse(slot, now)
    return true
  }

  /**
   * Adds a key, in a slot that the caller has taken or in another; he has seen to it that the tables have room.
   * Returns its slot.
   */
  create(now: number, expiresAt: number, ownLifetime: boolean, taken = 0): number {
    const { rows, index, random } = this.#tables
    index.prepare(1, Infinity) // may throw, so it comes before anything has changed
    const slot = taken === 0 ? rows.take() : taken
    randomKeyId(random, newId)
    rows.setId(slot, newId)
    rows.begin(slot, this.number, now, expiresAt, ownLifetime)
    index.add(slot)
    this.sets.add(slot, State.available)
    this.#lives.set(slot, expiresAt)
    this.#tables.unsaved?.add(slot)
    this.#tables.changed(ChangeKind.created, this.name, slot)
    this.#tables.history?.add(ChangeKind.created, this.name, slot, null, '')
    this.#tables.onAvailable?.(this.name)
    return slot
  }

  /** A random available key, not yet granted: its slot, 0 if there is none, or UNSETTLED. */
  draw(now: number): number {
    const { rows, random } = this.#tables
    for (let reaped = 0; ; reaped++) {
      const available = this.sets.count(State.available)
      if (available === 0) return this.nextDue <= now ? UNSETTLED : 0
      const slot = this.sets.at(State.available, below(random, available))
      if (!transitions.isDead(rows, slot, now)) return slot
      if (reaped === MAX_REAPED_PER_DRAW) return UNSETTLED
      this.#end(slot, 'key_expired')
    }
  }

  /** Leases an available key, to a holder with that name if there is one. */
  grant(slot: number, ttlMs: number, holder: string | undefined, now: number): void {
    const { rows, holds, random } = this.#tables
    const hold = this.#takeHold(slot)
    for (let word = 0; word < 3; word++) holds.setSecretWord(hold, word, random.uint32())
    if (holder !== undefined) this.#tables.holders.add(hold, this.number, holder)
    transitions.grant(rows, holds, slot, this.policy, this.#tables.nextToken(now), ttlMs, now)
    this.#changed(slot, State.available, ChangeKind.leased)
  }

  /** False: the lease is at `maxLeaseTotalMs` already. */
  renew(slot: number, ttlMs: number, keepAlive: boolean, now: number): boolean {
    const { rows, holds } = this.#tables
    if (!transitions.renew(rows, holds, slot, this.policy, ttlMs, now)) return false
    if (keepAlive) this.#keepAlive(slot, now)
    this.#changed(slot, State.leased, ChangeKind.renewed)
    return true
  }

  release(slot: number, outcome: Outcome, retryAfterMs: number | undefined, now: number): void {
    transitions.release(this.#tables.rows, slot, this.policy, outcome, retryAfterMs, now)
    this.#changed(slot, State.leased, ChangeKind.released, outcome)
  }

  unblock(slot: number, now: number): void {
    transitions.unblock(this.#tables.rows, slot, this.policy, now)
    this.#changed(slot, State.leased, ChangeKind.unblocked)
  }

  revoke(slot: number, now: number): void {
    transitions.revoke(this.#tables.rows, slot, this.policy, now)
    this.#changed(slot, State.leased, ChangeKind.revoked)
  }

  keepAlive(slot: number, now: number): void {
    this.#keepAlive(slot, now)
    // Its hold, which the key would have ended, may now end first.
    this.#changed(slot, this.#tables.rows.state(slot), ChangeKind.kept_alive)
  }

  /** Undefined leaves the flag as it is. */
  update(slot: number, disabled: boolean | undefined, endCooldown: boolean, now: number): void {
    const { rows } = this.#tables
    const before = rows.state(slot)
    if (disabled === true) transitions.disable(rows, slot)
    if (disabled === false) transitions.enable(rows, slot, now)
    if (endCooldown) transitions.endCooldown(rows, slot, now)
    const flag = disabled === undefined ? '' : disabled ? 'disabled' : 'enabled'
    this.#changed(slot, before, ChangeKind.updated, flag)
  }

  remove(slot: number): void {
    this.#end(slot, 'key_deleted')
  }

  /**
   * Takes in a key of which only the row and a lease's hold are there, from before a restart. It is in the index
   * or will be.
   */
  restore(slot: number): void {
    const { rows } = this.#tables
    const state = rows.state(slot)
    this.sets.add(slot, state)
    this.#lives.set(slot, rows.expiresAt(slot))
    this.#align(slot, state)
    if (state === State.leased) this.#tables.holders.restoreLease(rows.hold(slot), this.number)
  }

  /** Ends a lease or cooldown whose time is over. */
  #lapse(slot: number, now: number): void {
    const { rows, holds } = this.#tables
    const before = rows.state(slot)
    const until = rows.until(slot)
    if (until > now) return
    transitions.lapse(rows, holds, slot, now)
    // The rest that follows a lease may be over too; one under a disabled key changes no state.
    const rest = rows.until(slot)
    if (before !== State.available) this.#lapsed(rest <= now ? rest : until)
    if (rows.state(slot) === before) return
    this.#align(slot, before)
    if (before === State.leased) {
      this.#tables.changed(ChangeKind.lease_expired, this.name, slot)
    }
  }

  #lapsed(deadline: number): void {
    this.#tables.unsaved?.lapsed(deadline)
  }

  #holdsSecret(slot: number, lease: LeaseRef): boolean {
    const { rows, holds } = this.#tables
    const hold = rows.hold(slot)
    const differing =
      (holds.secretWord(hold, 0) ^ lease.secret0) |
      (holds.secretWord(hold, 1) ^ lease.secret1) |
      (holds.secretWord(hold, 2) ^ lease.secret2)
    return differing === 0
  }

  #keepAlive(slot: number, now: number): void {
    const { rows } = this.#tables
    transitions.keepAlive(rows, slot, this.policy, now)
    this.#lives.set(slot, rows.expiresAt(slot))
  }

  /** Somebody has changed a key's row. */
  #changed(slot: number, before: State, change: ChangeKind, detail: HistoryDetail = ''): void {
    const { history } = this.#tables
    const holder = history === null ? null : this.#holderOf(slot)
    this.#align(slot, before)
    this.#tables.unsaved?.add(slot)
    this.#tables.changed(change, this.name, slot)
    if (history !== null) history.add(change, this.name, slot, holder, detail)
  }

  #holderOf(slot: number): string | null {
    const { holders, rows } = this.#tables
    return holders.nameOf(rows.hold(slot))
  }

  /** Brings set, hold and deadline of a key in line with its row, which says what it is now. */
  #align(slot: number, before: State): void {
    const { rows } = this.#tables
    const state = rows.state(slot)
    if (state !== before) {
      this.sets.move(slot, before, state)
      if (state === State.available) this.#tables.onAvailable?.(this.name)
    }
    let hold = rows.hold(slot)
    if (before === State.leased && state !== State.leased) this.#tables.holders.remove(hold)
    if (state === State.leased || state === State.cooling) {
      if (hold === 0) hold = this.#takeHold(slot)
      const until = rows.until(slot)
      // A hold that outlives its key needs no deadline: the key's death ends it.
      this.#holds.set(hold, until < rows.expiresAt(slot) ? until : NEVER)
    } else if (hold !== 0) {
      this.#dropHold(slot, hold)
    }
  }

  #takeHold(slot: number): number {
    const { rows, holds } = this.#tables
    const hold = holds.take()
    holds.begin(hold, slot)
    rows.setHold(slot, hold)
    return hold
  }

  #dropHold(slot: number, hold: number): void {
    const { rows, holds, holders } = this.#tables
    this.#holds.delete(hold)
    holders.remove(hold)
    holds.give(hold)
    rows.setHold(slot, 0)
  }

  /** A key's death or deletion: with it ends its lease. */
  #end(slot: number, reason: 'key_expired' | 'key_deleted'): void {
    const { rows } = this.#tables
    // A lease that was over before the key died did not end with it, however late anyone looks.
    if (reason === 'key_expired') {
      this.#lapse(slot, rows.expiresAt(slot) - 1)
      this.#lapsed(rows.expiresAt(slot))
    } else {
      this.#tables.unsaved?.add(slot)
    }
    transitions.endWithKey(rows, slot, reason)
    const change = reason === 'key_expired' ? ChangeKind.key_expired : ChangeKind.deleted
    if (reason === 'key_deleted') {
      this.#tables.history?.add(change, this.name, slot, this.#holderOf(slot), '')
    }
    this.#tables.changed(change, this.name, slot)
    this.#forget(slot)
  }

  #forget(slot: number): void {
    const { rows, index } = this.#tables
    const hold = rows.hold(slot)
    if (hold !== 0) this.#dropHold(slot, hold)
    this.#lives.delete(slot)
    this.sets.remove(slot, rows.state(slot))
    index.remove(slot)
    this.#tables.forgetKey(slot)
    rows.end(slot)
  }
}
