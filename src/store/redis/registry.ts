/** The pools that there are, as all servers know them. Names are looked up once, until that proves wrong. */
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import { contradiction, type Policy } from '../../engine/policy.ts'
import type { HistoryLimits } from '../../engine/history.ts'
import type { Connection } from './connection.ts'
import { HISTORY_FORMAT, type Layout } from './layout.ts'
import {
  PUT_HISTORY,
  PUT_POOL,
  PUT_SHARD,
  PUT_SHARD_HISTORY,
  REMOVE_POOL,
  REMOVE_SHARD,
} from './scripts.ts'

/** What is kept of a pool. */
interface SavedEntry {
  /** It is never another pool's, as its name may be. */
  readonly uid: number
  /** Of the policy. */
  readonly version: number
  readonly policy: Policy
  /** The uid of the pool in whose place it was put, when that was emptied. */
  readonly emptied?: number
}

export interface Entry extends SavedEntry {
  readonly name: string
  /** As it is kept: what is changed is changed only if it is still this. */
  readonly text: string
}

/** A pool that takes the place of another grants nothing below what that may still grant until it is gone. */
const TOKENS_OF_THE_LAST_MOMENT = 10_000
/** Pools that are told something at a time. */
const POOLS_AT_A_TIME = 16

export class Registry {
  readonly #connection: Connection
  readonly #layout: Layout
  readonly #maxPools: number
  /** Null: Redis has its own. */
  readonly #now: () => number | null
  readonly #known = new Map<string, Entry>()

  constructor(connection: Connection, layout: Layout, maxPools: number, now: () => number | null) {
    this.#now = now
    this.#connection = connection
    this.#layout = layout
    this.#maxPools = maxPools
  }

  /** The pool as it was last seen. */
  async find(name: string): Promise<Entry | null> {
    return this.#known.get(name) ?? this.read(name)
  }

  /** The pool as it is. */
  async read(name: string): Promise<Entry | null> {
    const text = await this.#connection.read(this.#layout.pools, 'HGET', name)
    return this.#take(name, text)
  }

  /** Pools in the order of their names, after `cursor`. */
  async page(limit: number, cursor: string | null): Promise<Entry[]> {
    const from = cursor === null ? '-' : `(${cursor}`
    const { names, pools } = this.#layout
    const found = await this.#connection.read(names, 'ZRANGEBYLEX', from, '+', 'LIMIT', 0, limit)
    const page = found as string[]
    if (page.length === 0) return []
    const texts = (await this.#connection.read(pools, 'HMGET', ...page)) as unknown[]
    return page.flatMap((name, place) => this.#take(name, texts[place]) ?? [])
  }

  /** All pools, oldest first. */
  async all(): Promise<Entry[]> {
    const pools = (await this.#connection.read(this.#layout.pools, 'HGETALL')) as string[]
    const entries: Entry[] = []
    for (let at = 0; at < pools.length; at += 2) {
      const entry = this.#take(pools[at]!, pools[at + 1])
      if (entry !== null) entries.push(entry)
    }
    return entries.sort((a, b) => a.uid - b.uid)
  }

  /** A new pool of that name and policy, or that policy for the pool of that name. */
  async put(
    name: string,
    policyOf: (before: Policy | null) => Policy | null,
  ): Promise<'created' | 'replaced' | 'absent' | Refusal> {
    for (;;) {
      const before = await this.read(name)
      const policy = policyOf(before?.policy ?? null)
      if (policy === null) return 'absent'
      const wrong = contradiction(policy)
      if (wrong !== null) return { code: 'invalid_policy', detail: wrong }
      if (before !== null) {
        if (await this.#replace(before, policy)) return 'replaced'
        continue
      }
      const uid = await this.#create(policy, 0)
      const swapped = await this.#swap(name, null, { uid, version: 1, policy })
      if (swapped === 'done') {
        await this.#keepHistory(uid)
        return 'created'
      }
      await this.#removeShard(uid, true)
      if (swapped === 'full') return REFUSED.too_many_pools
    }
  }

  /** Puts an empty pool of its name and policy in its place. False: it has changed meanwhile. */
  async renew(entry: Entry): Promise<boolean> {
    const token = await this.#connection.read(this.#layout.shard(entry.uid)[0]!, 'HGET', 'token')
    const uid = await this.#create(entry.policy, Number(token) + TOKENS_OF_THE_LAST_MOMENT)
    const { policy, name } = entry
    const swapped = await this.#swap(name, entry, { uid, version: 1, policy, emptied: entry.uid })
    if (swapped !== 'done') {
      await this.#removeShard(uid, true)
      return false
    }
    await this.#keepHistory(uid)
    const { emptied = '' } = entry
    await this.#removeShard(entry.uid, true, ['1', this.#now() ?? '', emptied])
    return true
  }

  /** False: it has keys, and is to go only if it has none. */
  async remove(entry: Entry, withKeys: boolean): Promise<boolean> {
    const token = await this.#removeShard(entry.uid, withKeys)
    if (token === null) return false
    const { pools, names, meta } = this.#layout
    const args = [entry.name, entry.text, token === 'gone' ? '0' : token]
    await this.#connection.evaluate(REMOVE_POOL, [pools, names, meta], args)
    this.#known.delete(entry.name)
    return true
  }

  /** Its last fencing token, or that it is gone already; null: it has keys. */
  #removeShard(
    uid: number,
    withKeys: boolean,
    emptied: (string | number)[] = [],
  ): Promise<string | null> {
    const keys = this.#layout.shard(uid)
    const args = [withKeys ? '1' : '0', ...emptied]
    return this.#connection.evaluate(REMOVE_SHARD, keys, args) as Promise<string | null>
  }

  async #create(policy: Policy, leastToken: number): Promise<number> {
    const { meta } = this.#layout
    const uid = Number(await this.#connection.write(meta, 'HINCRBY', 'uid', 1))
    const token = Number(await this.#connection.read(meta, 'HGET', 'token'))
    await this.#putShard(uid, 'new', 1, policy, Math.max(leastToken, token))
    await this.#keepHistory(uid)
    return uid
  }

  /** All pools keep a history like that from now on, whoever has made or makes them; null: none. */
  async putHistory(limits: HistoryLimits | null): Promise<void> {
    const { keptMs, records } = limits ?? { keptMs: 0, records: 0 }
    const args = [keptMs, records, HISTORY_FORMAT]
    await this.#connection.evaluate(PUT_HISTORY, [this.#layout.meta], args)
    const entries = await this.all()
    for (let at = 0; at < entries.length; at += POOLS_AT_A_TIME) {
      const some = entries.slice(at, at + POOLS_AT_A_TIME)
      await Promise.all(some.map(({ uid }) => this.#keepHistory(uid)))
    }
  }

  /**
   * A pool keeps a history as is asked of all: from its beginning, and again once others can see it, for what is asked
   * may have changed meanwhile.
   */
  async #keepHistory(uid: number): Promise<void> {
    const asked = await this.#connection.read(this.#layout.meta, 'HGET', 'history')
    if (typeof asked !== 'string') return
    const args = [...asked.split(' '), this.#now() ?? '']
    await this.#connection.evaluate(PUT_SHARD_HISTORY, this.#layout.shard(uid), args)
  }

  async #replace(before: Entry, policy: Policy): Promise<boolean> {
    const { uid, emptied, version, name } = before
    const entry = { uid, version: version + 1, policy, ...(emptied !== undefined && { emptied }) }
    if ((await this.#swap(name, before, entry)) !== 'done') return false
    if ((await this.#putShard(uid, 'old', version + 1, policy, 0)) === 1) return true
    // Who removed it has not come to its entry, or never will.
    const left = await this.read(name)
    if (left?.uid === uid) await this.remove(left, true)
    return false
  }

  #putShard(
    uid: number,
    age: 'new' | 'old',
    version: number,
    policy: Policy,
    token: number,
  ): Promise<unknown> {
    const [meta] = this.#layout.shard(uid)
    const args = [age, version, JSON.stringify(policy), token]
    return this.#connection.evaluate(PUT_SHARD, [meta!], args)
  }

  async #swap(
    name: string,
    before: Entry | null,
    entry: SavedEntry,
  ): Promise<'done' | 'changed' | 'full'> {
    const text = JSON.stringify(entry)
    const { pools, names } = this.#layout
    const args = [name, before?.text ?? '', text, this.#maxPools]
    const swapped = await this.#connection.evaluate(PUT_POOL, [pools, names], args)
    if (swapped === -1) return 'full'
    if (swapped !== 1) return 'changed'
    this.#take(name, text)
    return 'done'
  }

  #take(name: string, text: unknown): Entry | null {
    if (typeof text !== 'string') {
      this.#known.delete(name)
      return null
    }
    const before = this.#known.get(name)
    if (before?.text === text) return before
    const entry = { ...(JSON.parse(text) as SavedEntry), name, text }
    this.#known.set(name, entry)
    return entry
  }
}
