import { after, before } from 'node:test'
import { RedisCluster } from '../support/redis-cluster.ts'
import { openTestStore, REDIS_TRAITS } from '../support/redis-store.ts'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import type { OpenStore } from './harness.ts'
import { histories } from './history.ts'

let cluster: RedisCluster
const stores: RedisStore[] = []

before(async () => {
  cluster = await RedisCluster.start()
})
after(async () => {
  for (const store of stores) await store.close() // a test that failed has not
  await cluster[Symbol.asyncDispose]()
})

/** An answer waits for the replica, too. */
const open: OpenStore = (...opening) => openTestStore(cluster.urls, 1, stores, 1, ...opening)

conformance('Redis store in a cluster', open, { modelRuns: 20, traits: REDIS_TRAITS })
eventsAndStorms('Redis store in a cluster', open)
histories('Redis store in a cluster', open)
