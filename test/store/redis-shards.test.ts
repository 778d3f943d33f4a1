/** Pools of several shards are to their callers what others are. */
import { after, before } from 'node:test'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { RedisServer } from '../support/redis.ts'
import { openTestStore, REDIS_TRAITS } from '../support/redis-store.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import type { OpenStore } from './harness.ts'
import { histories } from './history.ts'

const SHARDS = 3

let redis: RedisServer
const stores: RedisStore[] = []

before(async () => {
  redis = await RedisServer.start()
})
after(async () => {
  for (const store of stores) await store.close() // a test that failed has not
  await redis[Symbol.asyncDispose]()
})

const open: OpenStore = (...opening) => openTestStore([redis.url], 0, stores, SHARDS, ...opening)
const traits = { ...REDIS_TRAITS, shards: SHARDS }

conformance('pools of 3 shards', open, { modelRuns: 100, traits })
eventsAndStorms('pools of 3 shards', open, { looksFirst: true })
histories('pools of 3 shards', open, SHARDS)
