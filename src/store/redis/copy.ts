import type { CopiedKey, CopiedPool } from '../../engine/copies.ts'
import type { Policy } from '../../engine/policy.ts'
import type { Copy, CopyTerms, Original } from '../migration.ts'
import type { Address } from './address.ts'
import type { Connection } from './connection.ts'
import { copyToWire } from './copied-keys.ts'
import { FORMAT, Layout, SHARDS_FORMAT, shardOfKey, tagsOf } from './layout.ts'
import { connect } from './open.ts'
import { RedisOriginal } from './original.ts'
import { RedisError } from './redis-error.ts'
import { StoreFailure } from '../store.ts'
import { BEGIN_COPY, BEGIN_SHARD, END_COPY, FILL_COPY, PUT_COPIES, type Script } from './scripts.ts'

const POOLS_A_CALL = 100

/** What is about all pools, and is to be put. */
interface Part {
  clear?: true
  pools: [name: string, text: string][]
  documents: (readonly [name: string, text: string])[]
}

/** A Redis in the making. Each migration to it has a number, and an earlier one writes no more. */
export class RedisCopy implements Copy {
  readonly #connection: Connection
  readonly #layout: Layout
  readonly #uids = new Map<string, number>()
  #number = ''
  #lastToken = 0

  private constructor(connection: Connection, layout: Layout) {
    this.#connection = connection
    this.#layout = layout
  }

  /**
   * @throws RedisError where there are data.
   * @throws StoreFailure
   */
  static async open(address: Address, prefix: string, replicas: number): Promise<RedisCopy> {
    const connection = await connect(address, replicas)
    const copy = new RedisCopy(connection, new Layout(prefix))
    try {
      await copy.#checkUnused()
    } catch (error) {
      connection.links.close()
      throw error
    }
    return copy
  }

  async begin({ lastToken, documents, pools }: CopyTerms): Promise<void> {
    const format = pools.some(({ policy }) => policy.shards > 1) ? SHARDS_FORMAT : FORMAT
    const begun = await this.#connection.evaluate(BEGIN_COPY, this.#keys, [format])
    if (begun === null) throw usedError()
    const [number, left] = begun as [number, string[]]
    this.#number = String(number)
    this.#lastToken = lastToken
    for (const text of left) {
      const { uid, policy } = JSON.parse(text) as { uid: number; policy: Partial<Policy> }
      for (const tag of tagsOf(uid, policy.shards ?? 1)) {
        await this.#put(BEGIN_SHARD, this.#layout.shard(tag), [this.#number])
      }
    }
    const lastUid = await this.#giveUids(pools)
    const entries = pools.map(({ name, policy }): [string, string] => {
      return [name, JSON.stringify({ uid: this.#uids.get(name), version: 1, policy })]
    })
    await this.#fill({ clear: true, pools: [], documents: [...documents] }, lastUid)
    for (let at = 0; at < entries.length; at += POOLS_A_CALL) {
      await this.#fill({ pools: entries.slice(at, at + POOLS_A_CALL), documents: [] }, lastUid)
    }
  }

  async putPool({ name, policy }: CopiedPool): Promise<void> {
    const args = [this.#number, JSON.stringify(policy), this.#lastToken]
    for (const tag of tagsOf(this.#uids.get(name)!, policy.shards)) {
      await this.#put(BEGIN_SHARD, this.#layout.shard(tag), args)
    }
  }

  async putKeys({ name, policy }: CopiedPool, keys: readonly CopiedKey[]): Promise<void> {
    const tags = tagsOf(this.#uids.get(name)!, policy.shards)
    const parts = Map.groupBy(keys, ({ keyId }) => tags[shardOfKey(keyId, policy.shards)]!)
    for (const [tag, keys] of parts) {
      const request = { copy: this.#number, keys: keys.map(copyToWire) }
      await this.#put(PUT_COPIES, this.#layout.shard(tag), [JSON.stringify(request)])
    }
  }

  look(instant: number): Promise<Original> {
    return RedisOriginal.look(this.#connection, this.#layout, instant)
  }

  async finish(): Promise<void> {
    const ended = await this.#put(END_COPY, [this.#layout.meta], [this.#number]).catch(
      (error: unknown) => {
        if (!(error instanceof StoreFailure) || error.code !== 'storage_failed') throw error
        throw new RedisError(
          'both sides are the same, but nobody knows whether Redis has noted that: start a server there, and run ' +
            `the migration again if it is refused. (${error.message})`,
        )
      },
    )
    if (ended === -1) throw new RedisError('a server was at work on the Redis that is copied to.')
  }

  close(): Promise<void> {
    this.#connection.links.close()
    return Promise.resolve()
  }

  get #keys(): string[] {
    const { meta, pools, names, documents } = this.#layout
    return [meta, pools, names, documents]
  }

  /** Pools that were in a Redis keep theirs, for lease ids name it. Returns the last that is given. */
  async #giveUids(pools: readonly CopiedPool[]): Promise<number> {
    const given = Number(await this.#connection.read(this.#layout.meta, 'HGET', 'uid'))
    let last = pools.reduce((most, { uid }) => Math.max(most, uid ?? 0), given)
    for (const { name, uid } of pools) this.#uids.set(name, uid ?? ++last)
    return last
  }

  async #fill(part: Part, uid: number): Promise<void> {
    const text = JSON.stringify({ ...part, uid: String(uid), token: String(this.#lastToken) })
    await this.#put(FILL_COPY, this.#keys, [this.#number, text])
  }

  async #put(script: Script, keys: string[], args: (string | number)[]): Promise<unknown> {
    const put = await this.#connection.evaluate(script, keys, args)
    if (put !== 0) return put
    throw new RedisError('another migration to this Redis has begun meanwhile.')
  }

  async #checkUnused(): Promise<void> {
    const { meta } = this.#layout
    if ((await this.#connection.read(meta, 'HEXISTS', 'incoming')) === 1) return
    if ((await this.#connection.read(meta, 'EXISTS')) === 1) throw usedError()
  }
}

function usedError(): RedisError {
  return new RedisError(
    'there are data in the Redis that is copied to: name another --to-prefix, or a Redis without any.',
  )
}
