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
}

/** A store in virtual time, apart from all `stores` before it, to which it is added. */
export async function openTestStore(
  urls: readonly string[],
  replicas: number,
  stores: RedisStore[],
  ...[{ maxPools, history }, clock, random, events]: Parameters<OpenStore>
): Promise<RedisStore> {
  const connection = new Connection(linksTo(parseAddress(urls)), replicas)
  const layout = new Layout(`test${String(stores.length)}`)
  const options = { connection, layout, maxPools, clock, random, follow: null, history }
  const store = new RedisStore(options, events)
  stores.push(store)
  await store.start()
  return store
}
