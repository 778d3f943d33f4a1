import { parseAddress } from '../../src/store/redis/address.ts'
import { Connection } from '../../src/store/redis/connection.ts'
import { Layout } from '../../src/store/redis/layout.ts'
import { linksTo } from '../../src/store/redis/links.ts'
import { RedisStore } from '../../src/store/redis/redis-store.ts'
import type { OpenStore } from '../store/harness.ts'
import type { Traits } from './model.ts'

export const REDIS_TRAITS: Traits = {
  oneCounter: false,
  limitsAllKeys: false,
  remembersGonePools: false,
  shards: 1,
}

/** A store in virtual time whose pools have so many shards, apart from all `stores` before it, to which it is added. */
export async function openTestStore(
  urls: readonly string[],
  replicas: number,
  stores: RedisStore[],
  shards: number,
  ...[{ maxPools, history }, clock, random, events]: Parameters<OpenStore>
): Promise<RedisStore> {
  const connection = new Connection(linksTo(parseAddress(urls)), replicas)
  const layout = new Layout(`test${String(stores.length)}`)
  const options = { connection, layout, maxPools, clock, random, follow: null, history }
  const store = new RedisStore(options, events)
  const putPool = store.putPool.bind(store)
  store.putPool = (name, policy) => putPool(name, { ...policy, shards })
  stores.push(store)
  await store.start()
  return store
}
