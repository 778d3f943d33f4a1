import type { CopiedKey, CopiedPool } from '../../engine/copies.ts'
import { ID_DIGITS } from '../../engine/packed-ids.ts'
import { TOKENS_A_MS } from '../../engine/tables.ts'
import type { Original } from '../migration.ts'
import type { Address } from './address.ts'
import type { Connection } from './connection.ts'
import { copyFromWire, type WireCopy } from './copied-keys.ts'
import { Layout, tagsOf } from './layout.ts'
import { checkWhole, connect } from './open.ts'
import { type Entry, Registry } from './registry.ts'
import { READ_COPIES } from './scripts.ts'

/** So many keys hold Redis up for a few milliseconds. */
const KEYS_A_PAGE = 200
const SLOTS_A_PAGE = 1000

/** A Redis as it is to be copied, read page by page. */
export class RedisOriginal implements Original {
  readonly instant: number
  readonly lastToken: number
  readonly #connection: Connection
  readonly #layout: Layout
  readonly #entries: ReadonlyMap<string, Entry>

  private constructor(
    connection: Connection,
    layout: Layout,
    entries: readonly Entry[],
    instant: number,
    lastToken: number,
  ) {
    this.#connection = connection
    this.#layout = layout
    this.#entries = new Map(entries.map((entry) => [entry.name, entry]))
    this.instant = instant
    this.lastToken = lastToken
  }

  /**
   * @throws RedisError where there are no data, or none that can be copied.
   * @throws StoreFailure
   */
  static async open(address: Address, prefix: string): Promise<RedisOriginal> {
    const connection = await connect(address, 0)
    const layout = new Layout(prefix)
    try {
      await checkWhole(connection, layout)
      return await RedisOriginal.look(connection, layout)
    } catch (error) {
      connection.links.close()
      throw error
    }
  }

  /** What is there by now, whole or not; by default as of the time of Redis. */
  static async look(connection: Connection, layout: Layout, instant = 0): Promise<RedisOriginal> {
    const entries = await new Registry(connection, layout, 0, () => null).all()
    let lastToken = Number(await connection.read(layout.meta, 'HGET', 'token'))
    for (const tag of entries.flatMap(({ uid, policy }) => tagsOf(uid, policy.shards))) {
      const told = await connection.read(layout.part(tag, 'meta'), 'HMGET', 'token', 'reserved')
      lastToken = Math.max(lastToken, ...(told as (string | null)[]).map(Number))
    }
    const now = instant || Math.max(await timeOf(connection), Math.floor(lastToken / TOKENS_A_MS))
    return new RedisOriginal(connection, layout, entries, now, lastToken)
  }

  async documents(): Promise<ReadonlyMap<string, string>> {
    const told = await this.#connection.read(this.#layout.documents, 'HGETALL')
    const documents = new Map<string, string>()
    const texts = told as string[]
    for (let at = 0; at < texts.length; at += 2) documents.set(texts[at]!, texts[at + 1]!)
    return documents
  }

  async holdsValues(): Promise<boolean> {
    for (const name of this.#entries.keys()) {
      for (const digests of this.#parts(name, 'digests')) {
        if ((await this.#connection.read(digests, 'EXISTS')) === 1) return true
      }
    }
    return false
  }

  pools(): Promise<CopiedPool[]> {
    const pools = [...this.#entries.values()].map(({ name, policy, uid }) => ({
      name,
      policy,
      uid,
    }))
    return Promise.resolve(pools)
  }

  async size({ name }: CopiedPool): Promise<number> {
    let size = 0
    for (const rows of this.#parts(name, 'rows')) {
      size += Number(await this.#connection.read(rows, 'HLEN'))
    }
    return size
  }

  async *keys({ name }: CopiedPool): AsyncIterable<readonly CopiedKey[]> {
    const { uid, policy } = this.#entries.get(name)!
    for (const tag of tagsOf(uid, policy.shards)) yield* this.#keysOf(this.#layout.shard(tag), uid)
  }

  async *#keysOf(shard: string[], uid: number): AsyncIterable<readonly CopiedKey[]> {
    for (let after: string | undefined; ;) {
      const args = [JSON.stringify({ after, limit: KEYS_A_PAGE })]
      const terms = { onlyReads: true }
      const text = await this.#connection.evaluate(READ_COPIES, shard, args, terms)
      const page = JSON.parse(String(text)) as WireCopy[] | Record<string, never>
      if (!Array.isArray(page)) return
      const keys = page.map((copy) => copyFromWire(copy, uid))
      yield keys.filter(({ expiresAt }) => expiresAt > this.instant)
      if (page.length < KEYS_A_PAGE) return
      after = page.at(-1)!.id
    }
  }

  async slots(): Promise<ReadonlySet<number>> {
    const slots = new Set<number>()
    const all = [...this.#entries.keys()].flatMap((name) => this.#parts(name, 'moved'))
    for (const moved of all) {
      let cursor = '0'
      do {
        const told = await this.#connection.read(moved, 'HSCAN', cursor, 'COUNT', SLOTS_A_PAGE)
        const [next, pairs] = told as [string, string[]]
        for (let at = 1; at < pairs.length; at += 2) slots.add(Number(pairs[at]!.slice(ID_DIGITS)))
        cursor = next
      } while (cursor !== '0')
    }
    return slots
  }

  async servedAt(): Promise<number | null> {
    const served = await this.#connection.read(this.#layout.meta, 'HGET', 'served')
    return served === null ? null : Number(served)
  }

  close(): Promise<void> {
    this.#connection.links.close()
    return Promise.resolve()
  }

  /** Of each of its shards. */
  #parts(name: string, part: 'rows' | 'moved' | 'digests'): string[] {
    const { uid, policy } = this.#entries.get(name)!
    return tagsOf(uid, policy.shards).map((tag) => this.#layout.part(tag, part))
  }
}

async function timeOf(connection: Connection): Promise<number> {
  const told = (await connection.askAll('TIME')) as ([string, string] | null)[]
  const times = told.map((time) =>
    time === null ? 0 : Number(time[0]) * 1000 + Number(time[1]) / 1000,
  )
  return Math.floor(Math.max(...times))
}
