/** Requests that are repeated to pools of several shards: nothing is done twice, whichever server is asked. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import type { Operation } from '../../src/engine/operations.ts'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { RESERVE_TOKENS, RUN } from '../../src/store/redis/scripts.ts'
import { StoreFailure } from '../../src/store/store.ts'
import { RedisServer } from '../support/redis.ts'
import { acquire, ask, create, intercept, put, Servers } from './sharded.ts'

let redis: RedisServer

before(async () => {
  redis = await RedisServer.start()
})
after(async () => {
  await redis[Symbol.asyncDispose]()
})

suite('a request that is repeated', () => {
  function once(operation: Operation, key = 'a'): Operation[] {
    return [operation, { op: 'remember', key, body: 'body', count: 1, once: true }]
  }

  test('is done once, whichever server is asked', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 4)
    const [made] = await one.run('pool', once({ op: 'create', count: 40 }))
    assert.deepEqual((await other.run('pool', once({ op: 'create', count: 40 })))[0], made)
    assert.deepEqual(servers.keyIdsIn(4), [10, 10, 10, 10])
    const [leased] = await one.run('pool', once({ op: 'acquire', count: 7 }, 'b'))
    await servers.clock.advance(10)
    assert('leases' in leased!)
    const [again] = await other.run('pool', once({ op: 'acquire', count: 7 }, 'b'))
    assert.deepEqual(again, leased)
    const { leaseId } = leased.leases[0]!
    await ask(one, { op: 'release', leaseId })
    const recalled = await ask(other, { op: 'recall', key: 'b', body: 'body' })
    assert.deepEqual(recalled, { results: [{ leases: leased.leases.slice(1) }] })
    assert.deepEqual(await ask(other, { op: 'recall', key: 'b', body: 'another' }), {
      code: 'idempotency_mismatch',
    })
  })

  test('is a new one where nothing came of it', async () => {
    await using servers = new Servers(redis)
    const store = await servers.start()
    await put(store, 4)
    const acquiring = once({ op: 'acquire' })
    const refused = await store.run('pool', acquiring)
    assert.deepEqual(refused[1], { remembered: false })
    await create(store, 1)
    const granted = await store.run('pool', acquiring)
    assert.deepEqual(granted[1], { remembered: true })
  })

  async function leasedIn(store: RedisStore): Promise<number> {
    const described = await ask(store, { op: 'describe' })
    assert('counts' in described)
    return described.counts.leased
  }

  test('a draw whose answer is lost is found, and not done again', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      await using servers = new Servers(redis)
      const [one, other] = [await servers.start(seed), await servers.start(100)]
      await put(one, 4)
      await create(one, 8)
      const [connection] = servers.connections
      const evaluate = connection!.evaluate.bind(connection)
      let hasReserved = false
      connection!.evaluate = async (script, ...rest) => {
        const told = await evaluate(script, ...rest)
        if (script === RESERVE_TOKENS) hasReserved = true
        else if (hasReserved && script === RUN) throw new StoreFailure('storage_failed')
        return told
      }
      await assert.rejects(one.run('pool', once({ op: 'acquire' })))
      const [lease, remembered] = await other.run('pool', once({ op: 'acquire' }))
      assert('leases' in lease!)
      assert.deepEqual(remembered, { remembered: false })
      assert.equal(await leasedIn(other), 1)
    }
  })

  test('a draw that has not come to its shard is ended there by who repeats it, and comes to nothing', async () => {
    for (let seed = 1; seed <= 8; seed++) {
      await using servers = new Servers(redis)
      const [one, other] = [await servers.start(seed), await servers.start(100)]
      await put(one, 4)
      await create(one, 8)
      const [connection] = servers.connections
      const begun = Promise.withResolvers<undefined>()
      const held = Promise.withResolvers<undefined>()
      intercept(connection!, RESERVE_TOKENS, async () => {
        begun.resolve(undefined)
        await held.promise
      })
      const late = one.run('pool', once({ op: 'acquire' }))
      await begun.promise
      const [lease] = await other.run('pool', once({ op: 'acquire' }))
      assert('leases' in lease!)
      held.resolve(undefined)
      assert.deepEqual(await late, [{ code: 'request_in_progress' }, { remembered: false }])
      assert.equal(await leasedIn(other), 1)
      assert.deepEqual((await one.run('pool', once({ op: 'acquire' })))[0], lease)
    }
  })

  test('a draw that nothing was left for is a new one', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 4)
    const [keyId] = await create(one, 1)
    await ask(one, { op: 'describe' })
    // It knows of a key that another has drawn meanwhile.
    const [taken] = await acquire(other)
    const refused = await one.run('pool', once({ op: 'acquire' }))
    assert.deepEqual(refused[1], { remembered: false })
    assert('code' in refused[0]! && refused[0].code === 'pool_exhausted')
    assert.deepEqual(await ask(other, { op: 'recall', key: 'a', body: 'body' }), { results: null })
    await ask(other, { op: 'release', leaseId: taken!.leaseId })
    const [lease] = await one.run('pool', once({ op: 'acquire', keyId: keyId! }))
    assert('leases' in lease!)
    assert.deepEqual((await other.run('pool', once({ op: 'acquire', keyId: keyId! })))[0], lease)
    const unavailable = await other.run('pool', once({ op: 'acquire', keyId: keyId! }, 'b'))
    assert('code' in unavailable[0]! && unavailable[0].code === 'key_unavailable')
    assert.deepEqual(await ask(one, { op: 'recall', key: 'b', body: 'body' }), { results: null })
  })

  test('what may take several shards is in progress, where nobody knows what came of it, until it is forgotten', async () => {
    await using servers = new Servers(redis)
    const [one, other] = [await servers.start(1), await servers.start(2)]
    await put(one, 4)
    const creating = once({ op: 'create', count: 8 })
    const [connection] = servers.connections
    let calls = 0
    // It loses Redis in the midst: keys are made, and that is not written down.
    intercept(connection!, RUN, () => {
      const isRecord = servers.keyIdsIn(4).every((count) => count === 2)
      if (calls++ > 0 && isRecord) throw new StoreFailure('store_unavailable')
      return Promise.resolve()
    })
    await assert.rejects(
      one.run('pool', creating),
      (error) => error instanceof StoreFailure && error.code === 'storage_failed',
    )
    const repeated = await other.run('pool', creating)
    assert.deepEqual(repeated, [{ code: 'request_in_progress' }, { remembered: false }])
    assert.deepEqual(await ask(other, { op: 'recall', key: 'a', body: 'body' }), {
      code: 'request_in_progress',
    })
    assert.deepEqual(servers.keyIdsIn(4), [2, 2, 2, 2])
    await servers.clock.advance(600_000)
    const [fresh] = await other.run('pool', creating)
    assert('keyIds' in fresh!)
  })
})
