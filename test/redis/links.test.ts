/** Connections come again, whatever ends them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/store/redis/address.ts'
import { linksTo } from '../../src/store/redis/links.ts'
import { RedisServer } from '../support/redis.ts'

const SOON_MS = 5000

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
