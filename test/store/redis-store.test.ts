import { after, before } from 'node:test'
import { parseAddress } from '../../src/store/redis/address.ts'
import { Connection } from '../../src/store/redis/connection.ts'
import { Layout } from '../../src/store/redis/layout.ts'
import { linksTo } from '../../src/store/redis/links.ts'
import { RedisStore } from '../../src/store/redis/redis-store.ts'
import { RedisServer } from '../support/redis.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import type { OpenStore } from './harness.ts'

let redis: RedisServer
const stores: RedisStore[] = []

before(async () => {
  redis = await RedisServer.start()
})
after(async () => {
  for (const store of stores) await store.close() // a test that failed has not
  await redis[Symbol.asyncDispose]()
})

const open: OpenStore = async ({ maxPools }, clock, random, events) => {
  const connection = new Connection(linksTo(parseAddress([redis.url])), 0)
  const layout = new Layout(`test${String(stores.length)}`)
  const options = { connection, layout, maxPools, clock, random, follow: null }
  const store = new RedisStore(options, events)
  stores.push(store)
  await store.start()
  return store
}

const traits = { oneCounter: false, limitsAllKeys: false, remembersGonePools: false }

conformance('Redis store', open, { modelRuns: 100, traits })
eventsAndStorms('Redis store', open)
