/** What every store must do, asked through its interface only. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Operation } from '../../src/engine/operations.ts'
import { EMBEDDED, type Traits } from '../support/model.ts'
import { agreesWithModel } from '../support/model-commands.ts'
import { Harness, type OpenStore, StoreSubject } from './harness.ts'

const GONE = ['lease_ended', 'lease_not_found']

function code(result: object): unknown {
  return 'code' in result ? result.code : undefined
}

export function conformance(
  name: string,
  openStore: OpenStore,
  { modelRuns = 300, traits = EMBEDDED }: { modelRuns?: number; traits?: Traits } = {},
): void {
  const open = (
    ...rest: Parameters<typeof Harness.open> extends [unknown, ...infer R] ? R : never
  ) => Harness.open(openStore, ...rest)

  test(`${name}: every answer is that of the model`, async () => {
    const agrees = agreesWithModel((seed) => new StoreSubject(openStore, seed), traits)
    await fc.assert(agrees, { numRuns: modelRuns })
  })

  suite(`${name}: exclusive`, () => {
    test('of many simultaneous draws, each key goes to one', async () => {
      const harness = await open()
      const keyIds = await harness.create(20)
      const draws = await Promise.all(
        Array.from({ length: 50 }, () => harness.ask({ op: 'acquire', count: 1 })),
      )
      const drawn = draws.flatMap((draw) =>
        'leases' in draw ? draw.leases.map(({ keyId }) => keyId) : [],
      )
      assert.deepEqual(drawn.toSorted(), keyIds.toSorted())
      const refused = draws.filter((draw) => code(draw) === 'pool_exhausted')
      assert.equal(refused.length, 30)
      assert.deepEqual(refused[0], {
        code: 'pool_exhausted',
        counts: { leased: 20, cooling: 0, disabled: 0 },
        retryAfterMs: 60_000,
      })
      await harness.close()
    })

    test('a stale holder can do nothing to its successor', async () => {
      const harness = await open({ cooldownMs: 0 })
      const [keyId] = await harness.create()
      const [stale] = await harness.acquire()
      const { leaseId } = stale!
      await harness.clock.advance(60_000)
      const [current] = await harness.acquire()
      const attempts: Operation[] = [
        { op: 'renew', leaseId },
        { op: 'showLease', leaseId },
        { op: 'unblock', keyId: keyId!, leaseId },
        { op: 'release', leaseId, outcome: 'invalid' },
      ]
      const results = await harness.store.run('pool', attempts)
      assert.deepEqual(
        results.slice(0, 3).map((result) => code(result)),
        ['lease_ended', 'lease_ended', 'key_not_leased'],
      )
      assert('released' in results[3]! && !results[3].released)
      const { lease } = await harness.do({ op: 'showLease', leaseId: current!.leaseId })
      assert.deepEqual(lease, current)
      await harness.close()
    })

    test('unblocking a free key does not put it into the pool twice', async () => {
      const harness = await open()
      const [keyId] = await harness.create()
      await harness.acquire()
      await harness.do({ op: 'unblock', keyId: keyId! })
      assert.deepEqual(await harness.ask({ op: 'unblock', keyId: keyId! }), {
        code: 'key_not_leased',
      })
      assert.equal((await harness.acquire(2)).length, 1)
      await harness.close()
    })

    test('a tampered lease id opens nothing', async () => {
      const harness = await open()
      await harness.create()
      const [lease] = await harness.acquire()
      const { leaseId } = lease!
      for (let place = 0; place < leaseId.length; place++) {
        const other = leaseId[place] === 'A' ? 'B' : 'A'
        const tampered = leaseId.slice(0, place) + other + leaseId.slice(place + 1)
        assert(GONE.includes(String(code(await harness.ask({ op: 'renew', leaseId: tampered })))))
      }
      assert.deepEqual((await harness.do({ op: 'showLease', leaseId })).lease, lease)
      await harness.close()
    })

    test('fencing tokens rise, over pools and what becomes of them', async () => {
      const harness = await open({ keyLifetimeMs: null })
      const tokens: Record<string, number[]> = { pool: [], other: [] }
      for (let round = 0; round < 4; round++) {
        await harness.putPool('other')
        for (const pool of ['pool', 'other']) {
          await harness.create(3, pool)
          const counter = traits.oneCounter ? 'pool' : pool
          const leases = await harness.acquire(3, pool)
          tokens[counter]!.push(...leases.map(({ fencingToken }) => fencingToken))
        }
        await harness.store.removePool('other', { force: true })
        await harness.clock.advance(round)
      }
      for (const rising of Object.values(tokens)) {
        assert.deepEqual(
          rising,
          [...new Set(rising)].sort((a, b) => a - b),
        )
      }
      assert.equal(Object.values(tokens).flat().length, 24)
      assert(tokens.pool!.at(-1)! >= harness.now * 1000 - 3000)
      await harness.close()
    })
  })

  for (const swept of [false, true]) {
    suite(`${name}: exact, ${swept ? 'with' : 'without'} anyone to settle`, () => {
      test('a lease lasts until its millisecond', async () => {
        const harness = await open({ cooldownMs: 5, expiredLeaseCooldownMs: 10 }, { swept })
        const [keyId] = await harness.create()
        const [lease] = await harness.acquire()
        await harness.clock.advance(59_999)
        assert.equal(await harness.stateOf(keyId!), 'leased')
        await harness.clock.advance(1)
        assert.equal(await harness.stateOf(keyId!), 'cooling')
        assert.deepEqual(await harness.ask({ op: 'renew', leaseId: lease!.leaseId }), {
          code: 'lease_ended',
          reason: 'expired',
        })
        await harness.clock.advance(9)
        assert.deepEqual(await harness.ask({ op: 'acquire', count: 1 }), {
          code: 'pool_exhausted',
          counts: { leased: 0, cooling: 1, disabled: 0 },
          retryAfterMs: 1,
        })
        await harness.clock.advance(1)
        assert.equal((await harness.acquire())[0]!.keyId, keyId)
        await harness.close()
      })

      test('a renewed lease does not end at its first deadline', async () => {
        const harness = await open({}, { swept })
        const [keyId] = await harness.create()
        const [lease] = await harness.acquire()
        await harness.clock.advance(30_000)
        await harness.do({ op: 'renew', leaseId: lease!.leaseId })
        await harness.clock.advance(59_999)
        assert.equal(await harness.stateOf(keyId!), 'leased')
        await harness.clock.advance(1)
        assert.equal(await harness.stateOf(keyId!), 'available')
        await harness.close()
      })

      test('the timer of a lease that was released does not hit the next holder', async () => {
        const harness = await open({}, { swept })
        const [keyId] = await harness.create()
        await harness.acquire()
        await harness.clock.advance(5000)
        await harness.do({ op: 'unblock', keyId: keyId! })
        await harness.clock.advance(25_000)
        await harness.acquire()
        await harness.clock.advance(31_000) // 61 s after the first grant
        assert.equal(await harness.stateOf(keyId!), 'leased')
        await harness.close()
      })

      test('a key lives until its millisecond, a leased one too', async () => {
        const harness = await open({}, { swept })
        const [keyId] = await harness.create()
        await harness.clock.advance(299_999)
        const [lease] = await harness.acquire()
        assert.equal(lease!.expiresAt, harness.now + 1)
        await harness.clock.advance(1)
        assert.equal(await harness.stateOf(keyId!), 'key_not_found')
        const ended = await harness.ask({ op: 'showLease', leaseId: lease!.leaseId })
        assert.deepEqual(ended, { code: 'lease_ended', reason: 'key_expired' })
        assert.equal(code(await harness.ask({ op: 'acquire', count: 1 })), 'pool_empty')
        await harness.close()
      })

      test('a keep-alive gives a full life and leaves the lease alone', async () => {
        const harness = await open({}, { swept })
        const [keyId] = await harness.create()
        const [lease] = await harness.acquire()
        await harness.clock.advance(50_000)
        const { expiresAt } = await harness.do({ op: 'keepAlive', keyId: keyId! })
        assert.equal(expiresAt, harness.now + 300_000)
        const kept = (await harness.do({ op: 'showLease', leaseId: lease!.leaseId })).lease
        assert.deepEqual(kept, { ...lease, keyExpiresAt: expiresAt })
        await harness.clock.advance(299_999)
        assert.equal(await harness.stateOf(keyId!), 'available')
        await harness.clock.advance(1)
        assert.equal(await harness.stateOf(keyId!), 'key_not_found')
        await harness.close()
      })

      test('a lease that was over before its key died has expired', async () => {
        const harness = await open({}, { swept })
        await harness.create()
        const [lease] = await harness.acquire()
        await harness.clock.advance(10 * 300_000)
        assert.deepEqual(await harness.ask({ op: 'showLease', leaseId: lease!.leaseId }), {
          code: 'lease_ended',
          reason: 'expired',
        })
        await harness.close()
      })
    })
  }

  suite(`${name}: calls and pools`, () => {
    test('operations are done in order, and a refusal does not stop the rest', async () => {
      const harness = await open()
      const [keyId] = await harness.create()
      const results = await harness.store.run('pool', [
        { op: 'acquire', count: 1 },
        { op: 'acquire', count: 1 },
        { op: 'unblock', keyId: keyId! },
        { op: 'acquire', count: 5 },
        { op: 'remove', keyId: keyId! },
        { op: 'show', keyId: keyId! },
        { op: 'describe' },
      ])
      const [first, second, third, fourth, fifth, sixth, last] = results
      assert('leases' in first && 'leases' in fourth)
      assert.equal(code(second), 'pool_exhausted')
      assert.deepEqual([third, fifth], [{ keyId }, { keyId }])
      assert.deepEqual(sixth, { code: 'key_not_found' })
      const none = { available: 0, leased: 0, cooling: 0, disabled: 0, nextAvailableAt: null }
      assert.deepEqual(last, { counts: none })
      await harness.close()
    })

    test('keys beyond a limit are refused whole, and the dead do not count', async () => {
      const harness = await open({ maxKeys: 10 }, { maxTotalKeys: 12 })
      await harness.putPool('other')
      await harness.create(8)
      await harness.create(2, 'other')
      assert.deepEqual(await harness.ask({ op: 'create', count: 3 }), { code: 'pool_full' })
      await harness.create(2)
      const beyond = await harness.ask({ op: 'create', count: 1 }, 'other')
      assert.equal(code(beyond), traits.limitsAllKeys ? 'server_full' : undefined)
      await harness.clock.advance(300_000)
      await harness.create(10)
      await harness.create(2, 'other')
      await harness.close()
    })

    test('a pool knows nothing of the keys and leases of another', async () => {
      const harness = await open()
      await harness.putPool('other')
      const [keyId] = await harness.create()
      const [lease] = await harness.acquire()
      const operations: Operation[] = [
        { op: 'show', keyId: keyId! },
        { op: 'unblock', keyId: keyId! },
        { op: 'revoke', keyId: keyId! },
        { op: 'keepAlive', keyId: keyId! },
        { op: 'remove', keyId: keyId! },
        { op: 'acquire', count: 1, keyId: keyId! },
        { op: 'renew', leaseId: lease!.leaseId },
        { op: 'release', leaseId: lease!.leaseId },
        { op: 'acquire', count: 1 },
        { op: 'list', limit: 10 },
      ]
      const results = await harness.store.run('other', operations)
      assert.deepEqual(
        results.map((result) => code(result)),
        [
          ...new Array<string>(6).fill('key_not_found'),
          'lease_not_found',
          'lease_not_found',
          'pool_empty',
          undefined,
        ],
      )
      assert.deepEqual(results.at(-1), { keys: [], nextCursor: null })
      assert.deepEqual(
        (await harness.do({ op: 'showLease', leaseId: lease!.leaseId })).lease,
        lease,
      )
      await harness.close()
    })

    test('a pool that is made again has nothing of the old one', async () => {
      const harness = await open({}, { swept: true })
      const [keyId] = await harness.create(1000)
      const [lease] = await harness.acquire()
      assert.equal(await harness.store.removePool('pool', { force: true }), null)
      assert.deepEqual(await harness.store.removePool('pool', { force: true }), {
        code: 'pool_not_found',
      })
      assert.deepEqual(await harness.ask({ op: 'describe' }), { code: 'pool_not_found' })
      assert.equal(await harness.store.policy('pool'), undefined)
      for (let round = 0; round < 3; round++) {
        assert.equal(await harness.putPool('pool'), 'created')
        assert.equal(await harness.stateOf(keyId!), 'key_not_found')
        const { counts } = await harness.do({ op: 'describe' })
        assert.equal(counts.available + counts.leased, 0)
        const renewed = await harness.ask({ op: 'renew', leaseId: lease!.leaseId })
        assert(GONE.includes(String(code(renewed))))
        await harness.store.removePool('pool', { force: true })
        await harness.clock.advance(1000)
      }
      await harness.close()
    })

    test('a pool can be put in the place of one that was removed, at the limit too', async () => {
      const harness = await open({}, { maxPools: 1 })
      assert.deepEqual(await harness.putPool('other'), { code: 'too_many_pools' })
      await harness.create(1000)
      await harness.store.removePool('pool', { force: true })
      assert.equal(await harness.putPool('other'), 'created')
      await harness.close()
    })

    test('a new policy counts from the next event on', async () => {
      const harness = await open({ keyLifetimeMs: 1000, leaseTtlMs: 100 })
      const [keyId] = await harness.create()
      const [lease] = await harness.acquire()
      assert.equal(await harness.putPool('pool', { keyLifetimeMs: 5, cooldownMs: 7 }), 'replaced')
      const shown = (await harness.do({ op: 'showLease', leaseId: lease!.leaseId })).lease
      assert.deepEqual(shown, lease)
      await harness.do({ op: 'release', leaseId: lease!.leaseId })
      const { key } = await harness.do({ op: 'show', keyId: keyId! })
      assert.equal(key.coolingUntil, harness.now + 7)
      assert.equal(
        (await harness.do({ op: 'keepAlive', keyId: keyId! })).expiresAt,
        harness.now + 5,
      )
      await harness.close()
    })

    test('a policy that contradicts itself is refused, and changes nothing', async () => {
      const harness = await open()
      const policy = await harness.store.policy('pool')
      for (const pool of ['pool', 'new']) {
        const refused = await harness.putPool(pool, { leaseTtlMs: 2, maxLeaseTtlMs: 1 })
        assert.equal(typeof refused === 'object' && refused.code, 'invalid_policy')
      }
      assert.deepEqual(await harness.store.policy('pool'), policy)
      assert.equal(await harness.store.policy('new'), undefined)
      await harness.close()
    })

    test('the figures are those of everything, settled', async () => {
      const harness = await open({ cooldownMs: 10 })
      await harness.putPool('other', { keyLifetimeMs: 50 })
      await harness.create(6)
      await harness.create(4, 'other')
      const [lease] = await harness.acquire(3)
      await harness.do({ op: 'release', leaseId: lease!.leaseId })
      await harness.do({ op: 'update', keyId: (await harness.acquire())[0]!.keyId, disabled: true })
      await harness.clock.advance(50)
      const { keys, pools, poolCount, changes } = await harness.store.stats(1)
      assert.deepEqual(keys, { available: 3, leased: 3, cooling: 0, disabled: 0 })
      assert.equal(poolCount, 2)
      assert.deepEqual(
        pools.map((pool) => pool.name),
        ['pool'],
      )
      assert.deepEqual(
        [changes.created, changes.leased, changes.released, changes.key_expired],
        [10, 4, 1, 4],
      )
      await harness.close()
    })
  })
}
