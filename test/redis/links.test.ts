/** Connections come again, whatever ends them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import slotOf from 'cluster-key-slot'
import { parseAddress } from '../../src/store/redis/address.ts'
import { Connection } from '../../src/store/redis/connection.ts'
import { linksTo } from '../../src/store/redis/links.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { RedisServer } from '../support/redis.ts'

const SOON_MS = 5000
const AT_ONCE_MS = 100

test('a Sentinel may tell of a failover while it connects', async () => {
  await using primary = await RedisServer.start()
  await using sentinel = await RedisServer.sentinel(primary)
  const links = linksTo(parseAddress([`redis+sentinel://127.0.0.1:${sentinel.port}/main`]))
  const isReady = async (): Promise<boolean> =>
    (await links.ready(0, performance.now() + SOON_MS)) !== null
  try {
    assert(await isReady())
    const [redis] = links.primaries
    redis!.disconnect(true)
    while (redis!.status !== 'connecting') await new Promise(setImmediate)
    // As ioredis does when it is told.
    const connector = Reflect.get(redis!, 'connector') as { disconnect: () => void }
    connector.disconnect()
    assert(await isReady())
    assert.equal(await redis!.ping(), 'PONG')
  } finally {
    links.close()
  }
})

test('a node of a cluster that does not answer in time is asked nothing more until it does', async () => {
  await using cluster = await RedisCluster.start()
  const links = linksTo(parseAddress(cluster.urls))
  const connection = new Connection(links, 0)
  const ready = (ms: number): ReturnType<typeof links.ready> =>
    links.ready(slotOf('a'), performance.now() + ms)
  try {
    const asked = await ready(SOON_MS)
    assert(asked !== null)
    const primary = cluster.primaryOf('a')
    primary.stop()
    const late = { code: 'storage_failed' }
    await assert.rejects(connection.write('a', 'SET', 'b'), late)
    assert.notEqual(await ready(AT_ONCE_MS), asked)
    primary.wake()
    assert(await ready(SOON_MS))
    assert.equal(await connection.write('a', 'SET', 'b'), 'OK')
  } finally {
    links.close()
  }
})
