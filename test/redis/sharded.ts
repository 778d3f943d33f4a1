/** What the tests of pools of several shards ask: stores of several servers over one Redis, and their pool. */
import assert from 'node:assert/strict'
import type { Operation, Result } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { parseAddress } from '../../src/store/redis/address.ts'
import { Connection } from '../../src/store/redis/connection.ts'
import { Layout, shardOfText, tagsOf } from '../../src/store/redis/layout.ts'
import { linksTo } from '../../src/store/redis/links.ts'
import { RedisStore } from '../../src/store/redis/redis-store.ts'
import type { Script } from '../../src/store/redis/scripts.ts'
import type { RedisServer } from '../support/redis.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export const FOREVER = { ...DEFAULT_POLICY, keyLifetimeMs: null }

let prefixes = 0

/** Several servers' stores over the same data, in virtual time. */
export class Servers implements AsyncDisposable {
  readonly prefix = `shards${String(prefixes++)}`
  readonly layout = new Layout(this.prefix)
  readonly clock = new VirtualClock()
  readonly stores: RedisStore[] = []
  readonly connections: Connection[] = []
  readonly #redis: RedisServer

  constructor(redis: RedisServer) {
    this.#redis = redis
  }

  async start(seed = 1): Promise<RedisStore> {
    const { layout, clock } = this
    const connection = new Connection(linksTo(parseAddress([this.#redis.url])), 0)
    const random = new SeededRandom(seed)
    const options = { connection, layout, maxPools: 10, clock, random, follow: null }
    const store = new RedisStore(options, { wakeAt: () => undefined })
    this.connections.push(connection)
    this.stores.push(store)
    await store.start()
    return store
  }

  /** The name of what a shard of the first pool is kept in. */
  part(shard: number, shards: number, part: 'rows' | 'index' | 'digests'): string {
    return this.layout.part(tagsOf(1, shards)[shard]!, part)
  }

  keyIdsIn(shards: number): number[] {
    return Array.from({ length: shards }, (_, shard) =>
      Number(this.#redis.cli('hlen', this.part(shard, shards, 'rows'))),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.stores) await store.close()
  }
}

export async function ask(store: RedisStore, operation: Operation): Promise<Result> {
  return (await store.run('pool', [operation]))[0]
}

export async function create(store: RedisStore, count: number): Promise<string[]> {
  const result = await ask(store, { op: 'create', count })
  assert('keyIds' in result, JSON.stringify(result))
  return result.keyIds
}

export async function acquire(
  store: RedisStore,
  count = 1,
): Promise<{ keyId: string; leaseId: string; fencingToken: number }[]> {
  const result = await ask(store, { op: 'acquire', count })
  assert('leases' in result, JSON.stringify(result))
  return result.leases
}

export async function put(
  store: RedisStore,
  shards: number,
  policy: Partial<Policy> = {},
): Promise<void> {
  const done = await store.putPool('pool', { ...FOREVER, ...policy, shards })
  assert.equal(typeof done, 'string', JSON.stringify(done))
}

export function values(...names: string[]): Operation {
  const keys = names.map((name) => ({
    ...{ value: { digest: `digest of ${name}`, sealed: `sealed ${name}` } },
    ...{ name, metadata: null },
  }))
  return { op: 'import', keys, onDuplicate: 'refuse' }
}

/** Names of values that belong to that shard. */
export function namesOf(shard: number, shards: number, count: number): string[] {
  const names: string[] = []
  for (let number = 0; names.length < count; number++) {
    const name = `value ${String(number)}`
    if (shardOfText(`digest of ${name}`, shards) === shard) names.push(name)
  }
  return names
}

/** Calls back before each call of that script, which may fail instead. */
export function intercept(
  connection: Connection,
  script: Script,
  before: () => Promise<void>,
): void {
  const evaluate = connection.evaluate.bind(connection)
  connection.evaluate = async (asked, ...rest) => {
    if (asked === script) await before()
    return evaluate(asked, ...rest)
  }
}
