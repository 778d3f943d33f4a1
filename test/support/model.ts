/**
 * The rules once more, as plainly as they can be written: keys are objects in an array, every answer is
 * found by looking through all of them, and nothing ever happens by itself: what time has done is worked
 * out from the deadlines whenever anyone looks.
 */
import assert from 'node:assert/strict'
import type { Refusal } from '../../src/engine/errors.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import { NEVER } from '../../src/engine/rows.ts'
import {
  after,
  countsOf,
  currentLease,
  endOf,
  find,
  holdEnd,
  living,
  type ModelKey,
  type ModelLease,
  type ModelPool,
  shown,
  stateOf,
} from './model-key.ts'
import {
  endedAnswer,
  list,
  listLeases,
  nothingToGive,
  onKey,
  refusedElsewhere,
  release,
  renew,
  revokeLeases,
} from './model-rules.ts'

const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const LEASE_ID = /^[A-Za-z0-9_-]{32,}$/
const REMEMBERED_MS = 600_000
/** What is over is forgotten that much later, for memory's sake. */
const FORGOTTEN_AFTER_MS = 1000

/** A request that was done. */
interface Memory {
  body: string
  /** From then on it is a new one. */
  until: number
  results: Result[]
}

/** In what stores may differ that keep all rules. */
export interface Traits {
  /** Fencing tokens of all pools come from one counter; else each pool's rise by themselves, over its successors too. */
  oneCounter: boolean
  /** The keys of all pools together have a limit; else their storage has. */
  limitsAllKeys: boolean
  /** What was done in a pool is remembered when it is gone; else that goes with it. */
  remembersGonePools: boolean
  /** Above 1 tokens may be left out, and what is done to all leases of a holder is done shard by shard. */
  shards: number
}

export const EMBEDDED: Traits = {
  oneCounter: true,
  limitsAllKeys: true,
  remembersGonePools: true,
  shards: 1,
}

export class Model {
  readonly pools = new Map<string, ModelPool>()
  /** All that there ever were, for asking after the dead too. */
  readonly keyIds: string[] = []
  readonly leases: ModelLease[] = []
  readonly #memories = new Map<string, Memory>()
  readonly #maxTotalKeys: number
  readonly #traits: Traits
  /** Keys that others are importing: nobody sees them yet, but they have their room. */
  readyKeys = 0
  /** Of all pools, or of those that are gone. */
  #lastToken = 0

  constructor(maxTotalKeys: number, traits: Traits = EMBEDDED) {
    this.#maxTotalKeys = traits.limitsAllKeys ? maxTotalKeys : Infinity
    this.#traits = traits
  }

  putPool(name: string, policy: Policy): 'created' | 'replaced' {
    const pool = this.pools.get(name)
    if (pool === undefined) this.pools.set(name, { policy, keys: [], lastToken: this.#lastToken })
    else pool.policy = policy
    return pool === undefined ? 'created' : 'replaced'
  }

  removePool(name: string): Refusal | null {
    const pool = this.pools.get(name)
    if (pool === undefined) return { code: 'pool_not_found' }
    this.#lastToken = Math.max(this.#lastToken, pool.lastToken)
    this.pools.delete(name)
    if (!this.#traits.remembersGonePools) {
      for (const key of this.#memories.keys()) {
        if (key.startsWith(`${name} `)) this.#memories.delete(key)
      }
    }
    return null
  }

  /** Ids of the living keys of a pool, and of the leases on them. */
  present(name: string, now: number): { keyIds: string[]; leaseIds: string[] } {
    const keys = living(this.pools.get(name)?.keys ?? [], now)
    const leases = keys.map((key) => currentLease(key, now)).filter((lease) => lease !== undefined)
    return { keyIds: keys.map(({ id }) => id), leaseIds: leases.map(({ id }) => id) }
  }

  /** Every instant at which time will do something to a key, in order. */
  deadlines(now: number): number[] {
    const dues = [...this.pools.values()].flatMap(({ keys }) =>
      living(keys, now).flatMap((key) => [key.expiresAt, holdEnd(key, now)]),
    )
    return dues.filter((due) => due !== Infinity).sort((a, b) => a - b)
  }

  /** When requests that are remembered become new ones, in order. */
  forgettings(now: number): number[] {
    const untils = [...this.#memories.values()].map(({ until }) => until)
    return untils.filter((until) => until > now).sort((a, b) => a - b)
  }

  /** Whether what falls due next may be said to be `due`: memory of requests is freed a little late. */
  mayBeNextDue(due: number, now: number): boolean {
    const [key = NEVER] = this.deadlines(now)
    const [request = NEVER] = this.forgettings(now)
    if (due === key) return key <= request + FORGOTTEN_AFTER_MS
    return (
      due < key &&
      [...this.#memories.values()].some(
        ({ until }) => due === until + FORGOTTEN_AFTER_MS && until <= request,
      )
    )
  }

  /** The request that is remembered by that key. */
  memory(key: string, now: number): Readonly<Memory> | null {
    const memory = this.#memories.get(key)
    return memory === undefined || memory.until <= now ? null : memory
  }

  /** When what was remembered by that key was forgotten; 0 if it was not. */
  forgottenAt(key: string, now: number): number {
    const memory = this.#memories.get(key)
    return memory === undefined || memory.until > now ? 0 : memory.until
  }

  /**
   * Does the operation, and fails unless `told` is the answer to it. What is not for the rules to decide
   * is taken from `told`: new ids and tokens, and which of the available keys was drawn. `before` are the
   * results of what was done before in the same call.
   */
  check(
    poolName: string,
    operation: Operation,
    told: Result,
    now: number,
    before: readonly Result[],
  ): void {
    const pool = this.pools.get(poolName)
    const expected = pool
      ? this.#perform(pool, operation, told, now, before)
      : { code: 'pool_not_found' }
    assert.deepEqual(told, expected)
  }

  #perform(
    pool: ModelPool,
    operation: Operation,
    told: Result,
    now: number,
    before: readonly Result[],
  ): Result {
    switch (operation.op) {
      case 'create':
        return this.#create(pool, operation, told, now)
      case 'import':
        return this.#import(pool, operation, told, now)
      case 'acquire':
        return this.#acquire(pool, operation, told, now)
      case 'history':
        return { code: 'history_off' }
      case 'describe':
        return { counts: countsOf(pool, now) }
      case 'list':
        return list(pool, operation, now)
      case 'listLeases':
        return listLeases(pool, operation, now)
      case 'revokeLeases':
        return revokeLeases(pool, operation, told, now, this.#traits.shards)
      case 'renew':
      case 'release':
      case 'showLease':
        return this.#onLease(pool, operation, told, now)
      case 'recall':
        return this.#recall(pool, operation, told, now)
      case 'remember':
        return this.#remember(operation, now, before)
      default: {
        const key = find(pool, operation.keyId, now)
        if (key === undefined) return { code: 'key_not_found' }
        return onKey(pool, key, operation, now)
      }
    }
  }

  #onLease(
    pool: ModelPool,
    operation: Extract<Operation, { op: 'renew' | 'release' | 'showLease' }>,
    told: Result,
    now: number,
  ): Result {
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

  #recall(
    pool: ModelPool,
    { key, body }: Extract<Operation, { op: 'recall' }>,
    told: Result,
    now: number,
  ): Result {
    const memory = this.memory(key, now)
    if (memory === null) return { results: null }
    if (memory.body !== body) return { code: 'idempotency_mismatch' }
    assert('results' in told && told.results !== null, `not recalled: ${JSON.stringify(told)}`)
    const { results } = told
    return { results: memory.results.map((was, at) => this.#asOfNow(pool, was, results[at]!, now)) }
  }

  /** What was granted is shown as it is now; what has ended by now is left out, or refused if it was all. */
  #asOfNow(pool: ModelPool, was: Result, told: Result, now: number): Result {
    if (!('leases' in was || 'lease' in was)) return was
    const named = 'leases' in was ? was.leases : [was.lease]
    const looks = named.map(({ leaseId }) =>
      this.#onLease(pool, { op: 'showLease', leaseId }, told, now),
    )
    const leases = looks.flatMap((look) => ('lease' in look ? [look.lease] : []))
    if (leases.length === 0) return looks[0]!
    return 'leases' in was ? { leases } : { lease: leases[0]! }
  }

  #remember(
    { key, body, count }: Extract<Operation, { op: 'remember' }>,
    now: number,
    before: readonly Result[],
  ): Result {
    const results = before.slice(before.length - count)
    if (count === 1 && isRefusal(results[0]!)) return { remembered: false }
    this.#memories.set(key, { body, until: now + REMEMBERED_MS, results })
    return { remembered: true }
  }

  #create(
    pool: ModelPool,
    { count, lifetimeMs }: Extract<Operation, { op: 'create' }>,
    told: Result,
    now: number,
  ): Result {
    const full = this.#whyFull(pool, count, now)
    if (full !== null) return full
    assert('keyIds' in told, `refused: ${JSON.stringify(told)}`)
    assert.equal(told.keyIds.length, count)
    const detail = { value: null, name: null, metadata: null }
    for (const id of told.keyIds) this.#add(pool, id, lifetimeMs, detail, now)
    return { keyIds: told.keyIds }
  }

  #import(
    pool: ModelPool,
    { keys, onDuplicate }: Extract<Operation, { op: 'import' }>,
    told: Result,
    now: number,
  ): Result {
    const holderOf = (index: number): ModelKey | undefined =>
      living(pool.keys, now).find(({ value }) => value?.digest === keys[index]!.value.digest)
    const firstOf = (index: number): number =>
      keys.findIndex(({ value }) => value.digest === keys[index]!.value.digest)
    const isFresh = (index: number): boolean => !holderOf(index) && firstOf(index) === index
    const fresh = [...keys.keys()].filter(isFresh)
    const doubled = [...keys.keys()].find((index) => !isFresh(index))
    if (onDuplicate === 'refuse' && doubled !== undefined) {
      const holder = holderOf(doubled)
      const has = holder ? { keyId: holder.id } : { firstIndex: firstOf(doubled) }
      return { code: 'duplicate_value', duplicate: { index: doubled, ...has } }
    }
    const full = this.#whyFull(pool, fresh.length, now)
    if (full !== null) return full
    assert('keyIds' in told, `refused: ${JSON.stringify(told)}`)
    assert.equal(told.keyIds.length, fresh.length)
    const skipped = [...keys.keys()].filter((index) => !fresh.includes(index))
    for (const [place, index] of fresh.entries()) {
      const { lifetimeMs, ...detail } = keys[index]!
      this.#add(pool, told.keyIds[place]!, lifetimeMs, detail, now)
    }
    return {
      keyIds: told.keyIds,
      skipped: skipped.map((index) => ({ index, keyId: holderOf(index)!.id })),
    }
  }

  #whyFull(pool: ModelPool, count: number, now: number): Refusal | null {
    if (living(pool.keys, now).length + count > pool.policy.maxKeys) return { code: 'pool_full' }
    const total = [...this.pools.values()].flatMap(({ keys }) => living(keys, now)).length
    const taken = total + this.readyKeys
    return taken + count > this.#maxTotalKeys ? { code: 'server_full' } : null
  }

  #add(
    pool: ModelPool,
    id: string,
    lifetimeMs: number | null | undefined,
    detail: Pick<ModelKey, 'value' | 'name' | 'metadata'>,
    now: number,
  ): void {
    assert.match(id, KEY_ID)
    assert(!this.keyIds.includes(id), 'an id came twice')
    this.keyIds.push(id)
    pool.keys.push({
      id,
      ...detail,
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

  #acquire(
    pool: ModelPool,
    operation: Extract<Operation, { op: 'acquire' }>,
    told: Result,
    now: number,
  ): Result {
    const { count = 1, keyId, ttlMs = pool.policy.leaseTtlMs, holder = null, leave = 0 } = operation
    const wanted = keyId === undefined ? undefined : find(pool, keyId, now)
    if (keyId !== undefined && wanted === undefined) return { code: 'key_not_found' }
    if (ttlMs > pool.policy.maxLeaseTtlMs) return { code: 'ttl_too_long' }
    const free = living(pool.keys, now).filter((key) => stateOf(key, now) === 'available')
    const most = free.length - leave
    if (wanted !== undefined) {
      if (count === 0 || !free.includes(wanted) || most <= 0) return { code: 'key_unavailable' }
    } else if (count === 0 || most <= 0) {
      return nothingToGive(countsOf(pool, now), now)
    }
    assert('leases' in told, `refused: ${JSON.stringify(told)}`)
    assert.equal(told.leases.length, keyId === undefined ? Math.min(count, most) : 1)
    const leases = told.leases.map((lease) => {
      assert(keyId === undefined || lease.keyId === keyId, 'another key than asked for')
      const key = free.find(({ id }) => id === lease.keyId)
      assert(key && stateOf(key, now) === 'available', 'a key was granted that is not available')
      return shown(this.#grant(pool, key, lease, ttlMs, holder, now))
    })
    return { leases }
  }

  #grant(
    pool: ModelPool,
    key: ModelKey,
    told: Lease,
    ttlMs: number,
    holder: string | null,
    now: number,
  ): ModelLease {
    const { leaseId: id, fencingToken } = told
    assert.match(id, LEASE_ID)
    assert(!this.leases.some((lease) => lease.id === id), 'a lease id came twice')
    const counter = this.#traits.oneCounter ? this.#lastToken : pool.lastToken
    const least = Math.max(counter + 1, now * 1000)
    if (this.#traits.shards === 1) assert.equal(fencingToken, least)
    else assert(fencingToken >= least, `${fencingToken} after ${counter}`)
    pool.lastToken = fencingToken
    if (this.#traits.oneCounter) this.#lastToken = fencingToken
    const lease: ModelLease = {
      id,
      key,
      pool,
      fencingToken,
      holder,
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
