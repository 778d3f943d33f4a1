/** Who listens at one server over Redis is told what is done through all of them. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCluster } from '../support/redis-cluster.ts'
import { RedisServer, serveOn } from '../support/redis.ts'
import { json, type TestServer } from '../support/server.ts'
import { EventReader } from '../support/stream.ts'
import { until } from './lease-load.ts'

const POOL = '/v1/pools/shared'

interface Leased {
  leaseId: string
  keyId: string
  fencingToken: number
}

async function done(
  server: TestServer,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const answer = await server.ask(method, path, body && json(body))
  assert(answer.status < 300, answer.text)
  return answer.body
}

const readers: EventReader[] = []

/** Once it is told that it has missed what others did before, it misses nothing more. */
async function listen(server: TestServer, query: string): Promise<EventReader> {
  const reader = (await EventReader.open(server.port, query)).read()
  readers.push(reader)
  await reader.next('missed')
  reader.events.length = 0
  return reader
}

/** So many changes, in the order in which they came, as `kind keyId token`. */
async function changes(reader: EventReader, count: number): Promise<string[]> {
  const told: string[] = []
  while (told.length < count) {
    const { pool, change, keyId, fencingToken } = await reader.next('change')
    assert.equal(pool, 'shared')
    told.push([change, keyId, fencingToken].join(' '))
  }
  return told
}

/** What has happened by all counts until so much has. */
async function tally(reader: EventReader, enough: Record<string, number>): Promise<unknown> {
  const sum: Record<string, number> = {}
  const isEnough = (): boolean =>
    Object.entries(enough).every(([kind, times]) => (sum[kind] ?? 0) >= times)
  for (;;) {
    const { counts, changes } = await reader.next('counts')
    for (const [kind, times] of Object.entries(changes as Record<string, number>)) {
      sum[kind] = (sum[kind] ?? 0) + times
    }
    if (!isEnough()) continue
    assert.deepEqual(sum, enough)
    return counts
  }
}

async function leaseAndRelease(server: TestServer): Promise<string[]> {
  const { keyIds } = (await done(server, 'POST', `${POOL}/keys`, { count: 1 })) as {
    keyIds: string[]
  }
  const [keyId] = keyIds as [string]
  const leased = (await done(server, 'POST', `${POOL}/leases`, { keyId })) as Leased
  const { leaseId, fencingToken } = leased
  await done(server, 'POST', `${POOL}/leases/${leaseId}/release`, {})
  return [
    `created ${keyId} 0`,
    `leased ${keyId} ${String(fencingToken)}`,
    `released ${keyId} ${String(fencingToken)}`,
  ]
}

async function expectChanges(reader: EventReader, server: TestServer): Promise<void> {
  const expected = await leaseAndRelease(server)
  assert.deepEqual(await changes(reader, expected.length), expected)
}

suite('events of several servers over one Redis', { timeout: 120_000 }, () => {
  let redis: RedisServer
  let first: TestServer
  let second: TestServer

  before(async () => {
    redis = await RedisServer.start()
    first = await serveOn([redis.url])
    second = await serveOn([redis.url])
  })
  beforeEach(async () => {
    await done(first, 'PUT', POOL, { keyLifetimeMs: null })
  })
  afterEach(async () => {
    for (const reader of readers.splice(0)) reader.leave()
    await until(() => listeners() === '0')
    await done(first, 'DELETE', `${POOL}?force=true`)
  })
  after(async () => {
    await first[Symbol.asyncDispose]()
    await second[Symbol.asyncDispose]()
    await redis[Symbol.asyncDispose]()
  })

  function listeners(): string {
    return redis.cli('pubsub', 'shardnumsub', 'test:{all}:changes').split('\n')[1]!
  }

  test('each change is told once, whichever server did it', async () => {
    const reader = await listen(first, '?pool=shared')
    for (const server of [second, first, second]) await expectChanges(reader, server)
    await done(second, 'PATCH', POOL, { cooldownMs: 5 })
    assert.deepEqual(await reader.next('policy'), { pool: 'shared' })
    assert(!reader.events.some(({ event }) => event === 'change' || event === 'missed'))
  })

  test('so many that they are not told one by one are counted all the same', async () => {
    const reader = await listen(first, '?pool=shared')
    await done(second, 'POST', `${POOL}/keys`, { count: 5000 })
    await reader.next('missed')
    assert.deepEqual(await tally(reader, { created: 5000 }), {
      ...{ available: 5000, leased: 0, cooling: 0, disabled: 0 },
    })
    await done(second, 'DELETE', `${POOL}?force=true`)
    assert.deepEqual(await reader.next('gone'), { pool: 'shared' })
    await done(second, 'PUT', POOL, { keyLifetimeMs: null })
    assert.deepEqual(await reader.next('policy'), { pool: 'shared' })
  })

  test('a reader of all pools is told of those of others, and two servers may be listened to at once', async () => {
    const [here, there] = await Promise.all([listen(first, ''), listen(second, '')])
    await leaseAndRelease(second)
    for (const reader of [here, there]) {
      const told = { created: 1, leased: 1, released: 1 }
      assert.deepEqual(await tally(reader, told), {
        ...{ available: 1, leased: 0, cooling: 0, disabled: 0 },
      })
    }
  })

  test('where messages may have been lost that is told, and those that follow are not', async () => {
    const reader = await listen(first, '?pool=shared')
    redis.cli('client', 'kill', 'type', 'pubsub')
    await reader.next('missed')
    await until(() => listeners() === '1')
    await expectChanges(reader, second)
  })

  test('what a server did that ends before it tells is known to be missed', async () => {
    const third = await serveOn([redis.url])
    const reader = await listen(first, '?pool=shared')
    await done(third, 'POST', `${POOL}/keys`, { count: 1 })
    await third[Symbol.asyncDispose]()
    await reader.next('missed')
  })

  test('calls whose outcome is unknown are told of once, when Redis is back', async () => {
    const reader = await listen(first, '?pool=shared')
    redis.stop()
    const creates = Array.from({ length: 20 }, () =>
      first.ask('POST', `${POOL}/keys`, json({ count: 1 })),
    )
    for (const { status } of await Promise.all(creates)) assert.equal(status, 503)
    redis.wake()
    await reader.next('missed')
    await done(first, 'PATCH', POOL, { cooldownMs: 7 })
    await reader.next('policy')
    assert(reader.text.split('event: missed').length - 1 <= 3, reader.text)
  })

  test('a pool that is made anew is told of before its keys', async () => {
    const reader = await listen(first, '?pool=shared')
    await done(second, 'POST', `${POOL}/keys`, { count: 1 })
    await done(second, 'DELETE', `${POOL}?force=true`)
    await done(second, 'PUT', POOL, { keyLifetimeMs: null })
    await done(second, 'POST', `${POOL}/keys`, { count: 1 })
    await until(() => reader.events.filter(({ event }) => event === 'change').length >= 2)
    const told = reader.events.map(({ event }) => event).filter((event) => event !== 'counts')
    assert.deepEqual(told, ['change', 'gone', 'policy', 'change'])
  })

  test('nobody tells where nobody listens', async () => {
    const reader = await listen(first, '?pool=shared')
    assert.equal(listeners(), '1')
    reader.leave()
    await until(() => listeners() === '0')
    await leaseAndRelease(second)
    assert.deepEqual(reader.events, [])
  })
})

test('events of several servers over a cluster', { timeout: 120_000 }, async () => {
  await using cluster = await RedisCluster.start()
  await using first = await serveOn(cluster.urls)
  await using second = await serveOn(cluster.urls)
  await done(first, 'PUT', POOL, { keyLifetimeMs: null, shards: 3 })
  const reader = await listen(first, '?pool=shared')
  await expectChanges(reader, second)
  // Another node has the channel from then on: what is done meanwhile is told, or it is told that it is not.
  await cluster.promote(cluster.replicaOf(cluster.primaryOf('{all}')))
  const expected = await leaseAndRelease(second)
  const counted = (name: string): number =>
    reader.events.filter(({ event }) => event === name).length
  await until(() => counted('change') === expected.length || counted('missed') > 0)
  await until(async () => {
    reader.events.length = 0
    const { length } = await leaseAndRelease(second)
    await sleep(500)
    return counted('change') === length
  })
  reader.leave()
})
