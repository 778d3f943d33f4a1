/** Pools of several shards in a cluster, each shard on another node. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Layout, tagsOf } from '../../src/store/redis/layout.ts'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { openTestStore, REDIS_TRAITS } from '../support/redis-store.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import type { OpenStore } from './harness.ts'
import { histories } from './history.ts'

const SHARDS = 3

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
const open: OpenStore = (...opening) => openTestStore(cluster.urls, 1, stores, SHARDS, ...opening)
const traits = { ...REDIS_TRAITS, shards: SHARDS }

conformance('pools of 3 shards in a cluster', open, { modelRuns: 20, traits })
eventsAndStorms('pools of 3 shards in a cluster', open, { looksFirst: true })
histories('pools of 3 shards in a cluster', open, SHARDS)

test('each shard of a pool has its own node of three', () => {
  const layout = new Layout('test')
  for (let uid = 1; uid < 20; uid++) {
    const keys = tagsOf(uid, SHARDS).map((tag) => layout.part(tag, 'rows'))
    const nodes = keys.map((key) => cluster.primaryOf(key).port)
    assert.equal(new Set(nodes).size, SHARDS)
  }
})
