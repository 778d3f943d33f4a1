/** What is promised of pools of several shards, and of no others. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import slotOf from 'cluster-key-slot'
import { isRefusal } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { shardOfKey, tagsOf } from '../../src/store/redis/layout.ts'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { Registry } from '../../src/store/redis/registry.ts'
import { RUN } from '../../src/store/redis/scripts.ts'
import { StoreFailure } from '../../src/store/store.ts'
import { RedisServer, serveOn } from '../support/redis.ts'
import { type Asking, json, type TestServer } from '../support/server.ts'
import { until } from './lease-load.ts'
import {
  acquire,
  ask,
  create,
  FOREVER,
  intercept,
  namesOf,
  put,
  Servers,
  values,
} from './sharded.ts'

const SLOTS = 16_384

let redis: RedisServer

before(async () => {
  redis = await RedisServer.start()
})
after(async () => {
  await redis[Symbol.asyncDispose]()
})

suite('where keys are', () => {
  test('each shard of a pool lies in its own part of the slots', () => {
    for (const shards of [2, 3, 4, 7, 64]) {
      for (const uid of [1, 2, 35, 36, 100_000, 2 ** 30 - 1]) {
        const tags = tagsOf(uid, shards)
        assert.equal(new Set(tags).size, shards)
        const parts = tags.map((tag) => Math.floor((slotOf(`a:{${tag}}:rows`) * shards) / SLOTS))
        assert.deepEqual(parts, [...parts.keys()])
      }
    }
    assert.deepEqual(tagsOf(35, 1), ['z'])
  })

  test('ids say their shard, in the order of the shards, and as many say each', async () => {
    for (const shards of [2, 3, 5, 64]) {
      await using servers = new Servers(redis)
      const store = await servers.start()
      await put(store, shards)
      const keyIds = await create(store, 2 * shards)
      await create(store, 3 * shards)
      assert.deepEqual(servers.keyIdsIn(shards), Array(shards).fill(5))
      const numbers = keyIds.toSorted().map((keyId) => shardOfKey(keyId, shards))
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
      assert.deepEqual(new Set(numbers).size, shards)
      const listed = await ask(store, { op: 'list', limit: 1000 })
      assert('keys' in listed)
      const ids = listed.keys.map(({ keyId }) => keyId)
      assert.deepEqual(ids, ids.toSorted())
      assert.equal(ids.length, 5 * shards)
    }
  })

  test('what is no id is no key of any shard', () => {
    for (const text of ['', 'zzz', '-1f', '\0', '__proto__']) assert.equal(shardOfKey(text, 64), 0)
    assert.equal(shardOfKey('ffF', 64), 63)
  })
})

suite('draws', () => {
  test('each key comes about as often, however unevenly they are spread', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start(7)
    await put(store, 4)
    // 2, 8, 16 and 24 keys.
    const counts = [2, 8, 16, 24]
    for (const [shard, count] of counts.entries()) {
      const imported = await ask(store, values(...namesOf(shard, 4, count)))
      assert('keyIds' in imported)
    }
    assert.deepEqual(servers.keyIdsIn(4), counts)
    const drawn = new Map<string, number>()
    const draws = 5000
    for (let draw = 0; draw < draws; draw++) {
      const [lease] = await acquire(store)
      drawn.set(lease!.keyId, (drawn.get(lease!.keyId) ?? 0) + 1)
      await ask(store, { op: 'release', leaseId: lease!.leaseId })
    }
    const expected = draws / 50
    assert.equal(drawn.size, 50)
    const chiSquared = [...drawn.values()].reduce(
      (sum, count) => sum + (count - expected) ** 2 / expected,
      0,
    )
    // 49 degrees of freedom: above 85 once in a thousand times, and the seed is fixed.
    assert(chiSquared < 85, `chi squared: ${chiSquared}`)
  })

  test('a key that another server has freed is found, whatever this one knew', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 4)
    await create(one, 4)
    const leases = await acquire(one, 4)
    const refused = await ask(one, { op: 'acquire' })
    assert.deepEqual(refused, {
      code: 'pool_exhausted',
      counts: { leased: 4, cooling: 0, disabled: 0 },
      retryAfterMs: 60_000,
    })
    for (const { leaseId, keyId } of leases) {
      await ask(other, { op: 'release', leaseId })
      assert.equal((await acquire(one))[0]!.keyId, keyId)
    }
  })

  test('a shard that others have filled again is drawn from, though there are keys elsewhere', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 2)
    const keyIds = await create(one, 20)
    const emptied = keyIds.filter((keyId) => shardOfKey(keyId, 2) === 0)
    const acquiring = emptied.map((keyId) => ({ op: 'acquire', keyId }) as const)
    const acquired = await one.run('pool', acquiring)
    const releasing = acquired.flatMap((result) =>
      'leases' in result
        ? result.leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const)
        : [],
    )
    assert.equal((await other.run('pool', releasing)).length, 10)
    const drawn = [0, 0]
    const draw = async (): Promise<void> => {
      for (let draw = 0; draw < 200; draw++) {
        const [lease] = await acquire(one)
        drawn[shardOfKey(lease!.keyId, 2)]!++
        await ask(one, { op: 'release', leaseId: lease!.leaseId })
      }
    }
    await draw()
    assert.deepEqual(drawn, [0, 200], 'it cannot know yet')
    await servers.clock.advance(1001)
    await draw()
    assert(drawn[0]! > 60 && drawn[0]! < 140, `of 200 ${drawn[0]} there`)
  })

  test('where nothing is left many draws ask each shard once, and find what is freed between them', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 4)
    await create(store, 3)
    const leases = await acquire(store, 3)
    const [connection] = servers.connections
    let calls = 0
    intercept(connection!, RUN, () => {
      calls++
      return Promise.resolve()
    })
    const draws = Array.from({ length: 100 }, () => ({ op: 'acquire' }) as const)
    const refused = await store.run('pool', draws)
    assert(refused.every((result) => 'code' in result && result.code === 'pool_exhausted'))
    assert.equal(calls, 4)
    const releases = leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const)
    const results = await store.run('pool', [draws[0]!, ...releases, ...draws])
    const granted = results.map((result) => 'leases' in result)
    assert.deepEqual(granted.slice(0, 8), [false, false, false, false, true, true, true, false])
    await store.patchPool('pool', { cooldownMs: 1000 })
    const { leaseId } = results.flatMap((result) => ('leases' in result ? result.leases : []))[0]!
    const [, , last] = await store.run('pool', [
      { op: 'acquire' },
      { op: 'release', leaseId },
      { op: 'acquire' },
    ])
    assert.deepEqual(last, {
      code: 'pool_exhausted',
      counts: { leased: 2, cooling: 1, disabled: 0 },
      retryAfterMs: 1000,
    })
  })

  test('tokens rise over all shards, whichever server is asked', async () => {
    await using servers = new Servers(redis)
    const stores = [await servers.start(1), await servers.start(2), await servers.start(3)]
    await put(stores[0]!, 5)
    await create(stores[0]!, 50)
    let last = 0
    for (let round = 0; round < 60; round++) {
      const leases = await acquire(stores[round % 3]!, 1 + (round % 4))
      for (const { fencingToken, leaseId } of leases) {
        assert(fencingToken > last)
        last = fencingToken
        if (round % 2 === 0) await ask(stores[0]!, { op: 'release', leaseId })
      }
      if (round % 10 === 0) await servers.clock.advance(60_000)
    }
  })

  test('of one key they rise, though a call comes later than its tokens were reserved', async () => {
    await using servers = new Servers(redis)
    const [slow, quick] = [await servers.start(1), await servers.start(2)]
    await put(slow, 2)
    await create(slow, 1)
    await ask(slow, { op: 'describe' })
    const [connection] = servers.connections
    const reserved = Promise.withResolvers<undefined>()
    const held = Promise.withResolvers<undefined>()
    const evaluate = connection!.evaluate.bind(connection)
    let isFirst = true
    connection!.evaluate = async (script, ...rest) => {
      if (script === RUN && isFirst) {
        isFirst = false
        reserved.resolve(undefined)
        await held.promise
      }
      const told = await evaluate(script, ...rest)
      return told
    }
    const late = acquire(slow)
    await reserved.promise
    const [early] = await acquire(quick)
    await ask(quick, { op: 'release', leaseId: early!.leaseId })
    held.resolve(undefined)
    const [lease] = await late
    assert.equal(lease!.keyId, early!.keyId)
    assert(lease!.fencingToken > early!.fencingToken)
  })

  test('a pool that is made anew goes on above the tokens of all shards', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 3)
    await create(store, 30)
    const last = (await acquire(store, 30)).at(-1)!.fencingToken
    await store.removePool('pool', { force: true, again: true })
    await create(store, 1)
    const [again] = await acquire(store)
    assert(again!.fencingToken > last)
    await store.removePool('pool', { force: true })
    await put(store, 1)
    await create(store, 1)
    assert((await acquire(store))[0]!.fencingToken > again!.fencingToken)
  })
})

suite('all or none', () => {
  /** A shard that refuses every new key, as a broken one would. */
  function breakShard(servers: Servers, shard: number, shards: number): void {
    redis.cli('set', servers.part(shard, shards, 'index'), 'no index')
  }

  test('where one shard fails what the others made is gone again', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 3)
    breakShard(servers, 1, 3)
    const failed = (error: unknown): boolean =>
      error instanceof StoreFailure && error.code === 'storage_failed'
    await assert.rejects(ask(store, { op: 'create', count: 9 }), failed)
    assert.deepEqual(servers.keyIdsIn(3), [0, 0, 0])
    const names = [0, 1, 2].flatMap((shard) => namesOf(shard, 3, 2))
    await assert.rejects(ask(store, values(...names)), failed)
    assert.deepEqual([servers.keyIdsIn(3)[0], servers.keyIdsIn(3)[2]], [0, 0])
  })

  test('a value that any shard has, or that comes twice, is refused whole', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 4)
    const names = [3, 0, 2, 1].flatMap((shard) => namesOf(shard, 4, 2))
    const [taken, ...others] = names
    const first = await ask(store, values(taken!))
    assert('keyIds' in first)
    const [keyId] = first.keyIds
    assert.deepEqual(await ask(store, values(...others, taken!)), {
      code: 'duplicate_value',
      duplicate: { index: 7, keyId },
    })
    assert.deepEqual(await ask(store, values(...others, others[2]!)), {
      code: 'duplicate_value',
      duplicate: { index: 7, firstIndex: 2 },
    })
    assert.deepEqual(servers.keyIdsIn(4), [0, 0, 0, 1])
  })

  test('of two imports at once that share a value one is refused, and leaves nothing', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 4)
    await ask(other, { op: 'describe' })
    const shared = namesOf(2, 4, 1)[0]!
    for (let round = 0; round < 20; round++) {
      const results = await Promise.all(
        [one, other].map((store, place) => {
          const own = [0, 1, 2, 3].map((shard) => namesOf(shard, 4, 3)[1 + place]!)
          return ask(store, values(...own, shared))
        }),
      )
      const made = results.filter((result) => 'keyIds' in result)
      for (const result of results) {
        if (isRefusal(result)) assert.equal(result.code, 'duplicate_value')
      }
      // Both may have met the other's, and taken their own back.
      assert(made.length <= 1)
      const keys = servers.keyIdsIn(4).reduce((sum, count) => sum + count, 0)
      assert.equal(keys, 5 * made.length)
      for (const result of made) {
        for (const keyId of 'keyIds' in result ? result.keyIds : []) {
          await ask(one, { op: 'remove', keyId })
        }
      }
    }
  })

  test('a pool that is deleted only if it is empty stays as it was', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 4)
    const [connection] = servers.connections
    const registry = new Registry(connection!, servers.layout, 10, () => servers.clock.now())
    const entry = await registry.read('pool')
    for (let round = 0; round < 8; round++) {
      const [keyId] = await create(store, 1)
      assert.equal(await registry.remove(entry!, false), false)
      const [lease] = await acquire(store)
      assert.equal(lease!.keyId, keyId)
      await ask(store, { op: 'remove', keyId: keyId! })
    }
    assert.equal(await registry.remove(entry!, false), true)
    assert.deepEqual(await ask(store, { op: 'describe' }), { code: 'pool_not_found' })
    assert.equal(redis.cli('keys', `${servers.prefix}:{1*`), '')
  })
})

suite('a pool of which a shard is gone', () => {
  /** As a server leaves it that dies while it deletes the pool. */
  async function halfGone(servers: Servers): Promise<RedisStore> {
    const store = await servers.start()
    await put(store, 3)
    await create(store, 30)
    const [, tag] = tagsOf(1, 3)
    redis.cli('del', ...servers.layout.shard(tag!))
    return store
  }

  test('is one that is not there for what is asked of all of it', async () => {
    await using servers = new Servers(redis)
    const store = await halfGone(servers)
    const operations = [
      { op: 'describe' },
      { op: 'create', count: 3 },
      { op: 'list', limit: 100 },
    ] as const
    for (const operation of operations) {
      assert.deepEqual(await ask(store, operation), { code: 'pool_not_found' })
    }
  })

  test('goes when it is deleted, and when a policy is put', async () => {
    for (const put of [false, true]) {
      await using servers = new Servers(redis)
      const store = await halfGone(servers)
      if (!put) assert.equal(await store.removePool('pool', { force: true }), null)
      assert.equal(await store.putPool('pool', { ...FOREVER, shards: 3 }), 'created')
      assert.equal((await create(store, 3)).length, 3)
      assert.equal(redis.cli('keys', `${servers.prefix}:{1.*`), '')
    }
  })
})

suite('over HTTP', () => {
  const POOL = '/v1/pools/sharded'

  async function server(): Promise<TestServer> {
    return serveOn([redis.url])
  }

  async function done(
    server: TestServer,
    method: string,
    path: string,
    asking?: Asking,
  ): Promise<Record<string, unknown>> {
    const { status, body, text } = await server.ask(method, path, asking)
    assert(status < 300, text)
    return body as Record<string, unknown>
  }

  test('shards are fixed when the pool is made, and a PUT that says nothing leaves them', async () => {
    await using first = await server()
    await done(first, 'PUT', POOL, json({ shards: 4 }))
    for (const method of ['PUT', 'PATCH']) {
      const { status, body } = await first.ask(method, POOL, json({ shards: 5 }))
      assert.equal(status, 409)
      const { code, detail } = body as { code: string; detail: string }
      assert.equal(code, 'shards_fixed')
      assert.match(detail, /It has 4 shards\. Make another pool, or .* migrate --shards\./)
    }
    const replaced = await done(first, 'PUT', POOL, json({ cooldownMs: 9 }))
    assert.deepEqual(replaced.policy, { ...DEFAULT_POLICY, cooldownMs: 9, shards: 4 })
    assert.deepEqual((await done(first, 'GET', POOL)).policy, replaced.policy)
    for (const shards of [0, 65, 1.5]) {
      assert.equal((await first.ask('PUT', '/v1/pools/other', json({ shards }))).status, 400)
    }
    await done(first, 'DELETE', POOL)
  })

  test('a pool that another server has made anew, with other shards, is served as it is', async () => {
    await using first = await server()
    await using second = await server()
    const sizes = [4, 1, 3, 64, 1]
    for (const shards of sizes) {
      await done(second, 'PUT', POOL, json({ shards, keyLifetimeMs: null }))
      const { keyIds } = await done(second, 'POST', `${POOL}/keys`, json({ count: 5 }))
      const held = await done(first, 'POST', `${POOL}/leases`, json({}))
      assert((keyIds as string[]).includes(held.keyId as string))
      const { counts } = await done(first, 'GET', POOL)
      assert.deepEqual(counts, { available: 4, leased: 1, cooling: 0, disabled: 0 })
      await done(second, 'DELETE', `${POOL}?force=true`)
      const { status } = await first.ask('GET', `${POOL}/leases/${held.leaseId as string}`)
      assert.equal(status, 404)
    }
    assert.equal(redis.cli('hget', 'test:{all}:meta', 'format'), '3')
  })

  test('a key is found by its secret, whichever shard has it', async () => {
    await using first = await server()
    await done(first, 'PUT', POOL, json({ shards: 5, keyLifetimeMs: null }))
    await done(first, 'POST', `${POOL}/keys`, json({ count: 10 }))
    const keys = Array.from({ length: 10 }, (_, number) => ({ value: `secret ${String(number)}` }))
    await done(first, 'POST', `${POOL}/keys`, json({ keys }))
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const isActive = async (token: string): Promise<unknown> => {
      const body = new URLSearchParams({ token }).toString()
      return (await done(first, 'POST', '/v1/introspect', { body, headers })).active
    }
    assert.equal(await isActive('secret 3'), false)
    for (let number = 0; number < 20; number++) {
      const lease = await done(first, 'POST', `${POOL}/leases`, json({}))
      assert.equal(await isActive((lease.value ?? lease.keyId) as string), true)
    }
    await done(first, 'DELETE', `${POOL}?force=true`)
  })

  test('who waits at one server is given what is freed at another', async () => {
    await using first = await server()
    await using second = await server()
    await done(first, 'PUT', POOL, json({ shards: 4, keyLifetimeMs: null }))
    const lease = (server: TestServer, waitMs: number): Promise<Record<string, unknown>> =>
      done(server, 'POST', `${POOL}/leases`, json({ waitMs }))
    await done(first, 'POST', `${POOL}/keys`, json({ count: 4 }))
    const held = await Promise.all([1, 2, 3, 4].map(() => lease(second, 0)))
    for (const { leaseId, keyId } of held) {
      const waiting = lease(first, 20_000)
      await until(() => first.orchestrator.waiters('sharded') === 1)
      await done(second, 'POST', `${POOL}/leases/${String(leaseId)}/release`, json({}))
      assert.equal((await waiting).keyId, keyId)
    }
    await done(first, 'DELETE', `${POOL}?force=true`)
  })
})
