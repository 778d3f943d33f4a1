import type { CopiedKey, CopiedPool } from '../../engine/copies.ts'
import { ID_DIGITS } from '../../engine/packed-ids.ts'
import { DEFAULT_POLICY } from '../../engine/policy.ts'
import { TOKENS_A_MS } from '../../engine/tables.ts'
import type { Original } from '../migration.ts'
import type { Address } from './address.ts'
import type { Connection } from './connection.ts'
import { copyFromWire, type WireCopy } from './copied-keys.ts'
import { Layout } from './layout.ts'
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
    for (const { uid } of entries) {
      const token = await connection.read(layout.shard(uid)[0]!, 'HGET', 'token')
      lastToken = Math.max(lastToken, Number(token))
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
    for (const { uid } of this.#entries.values()) {
      if ((await this.#connection.read(this.#layout.part(uid, 'digests'), 'EXISTS')) === 1)
        return true
    }
    return false
  }

  pools(): Promise<CopiedPool[]> {
    const pools = [...this.#entries.values()].map(({ name, policy, uid }) => ({
      name,
      // One of an older version lacks what was not thought of then.
      policy: { ...DEFAULT_POLICY, ...policy },
      uid,
    }))
    return Promise.resolve(pools)
  }

  async size({ name }: CopiedPool): Promise<number> {
    return Number(await this.#connection.read(this.#part(name, 'rows'), 'HLEN'))
  }

  async *keys({ name }: CopiedPool): AsyncIterable<readonly CopiedKey[]> {
    const { uid } = this.#entries.get(name)!
    const shard = this.#layout.shard(uid)
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
    for (const name of this.#entries.keys()) {
      const moved = this.#part(name, 'moved')
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

  #part(name: string, part: 'rows' | 'moved'): string {
    return this.#layout.part(this.#entries.get(name)!.uid, part)
  }
}

async function timeOf(connection: Connection): Promise<number> {
  const told = (await connection.askAll('TIME')) as ([string, string] | null)[]
  const times = told.map((time) =>
    time === null ? 0 : Number(time[0]) * 1000 + Number(time[1]) / 1000,
  )
  return Math.floor(Math.max(...times))
}
