/** The pools that there are, as all servers know them. Names are looked up once, until that proves wrong. */
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import { contradiction, DEFAULT_POLICY, type Policy } from '../../engine/policy.ts'
import type { HistoryLimits } from '../../engine/history.ts'
import type { Connection } from './connection.ts'
import { HISTORY_FORMAT, type Layout, SHARDS_FORMAT, tagsOf } from './layout.ts'
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
        if (policy.shards !== before.policy.shards) return shardsFixed(before.policy)
        if (await this.#replace(before, policy)) return 'replaced'
        continue
      }
      const uid = await this.#create(policy, 0)
      const swapped = await this.#swap(name, null, { uid, version: 1, policy })
      if (swapped === 'done') {
        await this.#keepHistory(uid, policy)
        return 'created'
      }
      await this.#removeShards(uid, policy)
      if (swapped === 'full') return REFUSED.too_many_pools
    }
  }

  /** Puts an empty pool of its name and policy in its place. False: it has changed meanwhile. */
  async renew(entry: Entry): Promise<boolean> {
    const { policy, name } = entry
    const metas = tagsOf(entry.uid, policy.shards).map((tag) => this.#layout.part(tag, 'meta'))
    const told = await Promise.all(
      metas.map((meta) => this.#connection.read(meta, 'HMGET', 'token', 'reserved')),
    )
    const token = Math.max(...told.flat().map(Number))
    const uid = await this.#create(policy, token + TOKENS_OF_THE_LAST_MOMENT)
    const swapped = await this.#swap(name, entry, { uid, version: 1, policy, emptied: entry.uid })
    if (swapped !== 'done') {
      await this.#removeShards(uid, policy)
      return false
    }
    await this.#keepHistory(uid, policy)
    const { emptied = '' } = entry
    await this.#removeShards(entry.uid, policy, ['1', this.#now() ?? '', emptied])
    return true
  }

  /** False: it has keys, and is to go only if it has none. */
  async remove(entry: Entry, withKeys: boolean): Promise<boolean> {
    const { uid, policy } = entry
    const token = await (withKeys ? this.#removeShards(uid, policy) : this.#removeEmpty(entry))
    if (token === null) return false
    const { pools, names, meta } = this.#layout
    const args = [entry.name, entry.text, token]
    await this.#connection.evaluate(REMOVE_POOL, [pools, names, meta], args)
    this.#known.delete(entry.name)
    return true
  }

  /** Returns the last fencing token of all, 0 if they are gone already. */
  async #removeShards(
    uid: number,
    { shards }: Policy,
    emptied: (string | number)[] = [],
  ): Promise<number> {
    const removed = tagsOf(uid, shards).map((tag) => this.#removeShard(tag, ['1', ...emptied]))
    return Math.max(...(await Promise.all(removed)).map((token) => token ?? 0))
  }

  /**
   * One after another, the first one last, for it has the counter of tokens; and what was removed is put back if one has
   * keys. Null: so it was.
   */
  async #removeEmpty({ uid, policy, version }: Entry): Promise<number | null> {
    const tags = tagsOf(uid, policy.shards).reverse()
    const tokens: number[] = []
    for (const tag of tags) {
      const token = await this.#removeShard(tag, ['0'])
      if (token === null) {
        for (const [place, before] of tokens.entries()) {
          await this.#putShard(tags[place]!, 'new', version, policy, before)
        }
        await this.#keepHistory(uid, policy)
        return null
      }
      tokens.push(token)
    }
    return Math.max(...tokens)
  }

  /** Its last fencing token, 0 if it is gone already; null: it has keys. */
  async #removeShard(tag: string, args: (string | number)[]): Promise<number | null> {
    const token = await this.#connection.evaluate(REMOVE_SHARD, this.#layout.shard(tag), args)
    return token === null ? null : Number(token === 'gone' ? 0 : token)
  }

  async #create(policy: Policy, leastToken: number): Promise<number> {
    const { meta } = this.#layout
    if (policy.shards > 1) await this.#connection.write(meta, 'HSET', 'format', SHARDS_FORMAT)
    const uid = Number(await this.#connection.write(meta, 'HINCRBY', 'uid', 1))
    const token = Number(await this.#connection.read(meta, 'HGET', 'token'))
    const least = Math.max(leastToken, token)
    const tags = tagsOf(uid, policy.shards)
    await Promise.all(tags.map((tag) => this.#putShard(tag, 'new', 1, policy, least)))
    await this.#keepHistory(uid, policy)
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
      await Promise.all(some.map(({ uid, policy }) => this.#keepHistory(uid, policy)))
    }
  }

  /**
   * A pool keeps a history as is asked of all: from its beginning, and again once others can see it, for what is asked
   * may have changed meanwhile.
   */
  async #keepHistory(uid: number, { shards }: Policy): Promise<void> {
    const asked = await this.#connection.read(this.#layout.meta, 'HGET', 'history')
    if (typeof asked !== 'string') return
    const [version, keptMs, records] = asked.split(' ').map(Number)
    const args = [version!, keptMs!, Math.ceil(records! / shards), this.#now() ?? '']
    const kept = tagsOf(uid, shards).map((tag) =>
      this.#connection.evaluate(PUT_SHARD_HISTORY, this.#layout.shard(tag), args),
    )
    await Promise.all(kept)
  }

  async #replace(before: Entry, policy: Policy): Promise<boolean> {
    const { uid, emptied, version, name } = before
    const entry = { uid, version: version + 1, policy, ...(emptied !== undefined && { emptied }) }
    if ((await this.#swap(name, before, entry)) !== 'done') return false
    const tags = tagsOf(uid, policy.shards)
    const put = tags.map((tag) => this.#putShard(tag, 'old', version + 1, policy, 0))
    if ((await Promise.all(put)).every((isThere) => isThere === 1)) return true
    // Who removed it has not come to its entry, or never will.
    const left = await this.read(name)
    if (left?.uid === uid) await this.remove(left, true)
    return false
  }

  #putShard(
    tag: string,
    age: 'new' | 'old',
    version: number,
    policy: Policy,
    token: number,
  ): Promise<unknown> {
    const args = [age, version, JSON.stringify(policy), token]
    return this.#connection.evaluate(PUT_SHARD, [this.#layout.part(tag, 'meta')], args)
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
    const saved = JSON.parse(text) as SavedEntry
    // One of an older version lacks what was not thought of then.
    const entry = { ...saved, policy: { ...DEFAULT_POLICY, ...saved.policy }, name, text }
    this.#known.set(name, entry)
    return entry
  }
}

function shardsFixed({ shards }: Policy): Refusal {
  const has = shards === 1 ? '1 shard' : `${String(shards)} shards`
  const detail = `It has ${has}. Make another pool, or stop all servers and copy it by migrate --shards.`
  return { code: 'shards_fixed', detail }
}
