/** Calls of one moment are joined to batches, and each has what it would have had alone. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type Lease,
  LeaseLostError,
  type LeaseOptions,
  type ProblemError,
} from '../../src/client/client.ts'
import type { ErrorCode } from '../../src/engine/errors.ts'
import { ClientWorld } from '../support/client-world.ts'

const TTL_MS = 60_000
const POOL = '/v1/pools/pool'

function pathsOf({ sent }: ClientWorld): string[] {
  return sent.map(({ path }) => path.replace(POOL, '').replace(/[\w-]{32}/, ':id'))
}

function leases(world: ClientWorld, count: number, options?: LeaseOptions): Promise<Lease[]> {
  const client = world.client()
  return Promise.all(Array.from({ length: count }, () => client.lease('pool', options)))
}

async function availableIn({ pool }: ClientWorld): Promise<number> {
  return (await pool.show()).counts.available
}

suite('calls of one moment', () => {
  test('are one request, for leases and for releases', async () => {
    await using world = await ClientWorld.start(50)
    const client = world.client()
    const keyIds = await Promise.all(
      Array.from({ length: 50 }, () => client.withKey('pool', ({ keyId }) => keyId)),
    )
    assert.equal(new Set(keyIds).size, 50)
    assert.deepEqual(pathsOf(world), ['/batch', '/batch'])
    assert.equal(await availableIn(world), 50)
  })

  test('are so many requests as fit, no more than four at a time', async () => {
    await using world = await ClientWorld.start(3000)
    world.fate = () => ({ lateMs: 1000 })
    const asked = leases(world, 3000, { waitMs: 0 })
    await world.settle()
    assert.equal(world.sent.length, 4)
    await world.advance(3000)
    assert.equal(new Set((await asked).map(({ keyId }) => keyId)).size, 3000)
    assert.equal(world.sent.length, 6)
  })

  test('are not those of a caller who is alone, nor where that is not wanted', async () => {
    await using world = await ClientWorld.start(2)
    await world.client().withKey('pool', () => undefined)
    assert.deepEqual(pathsOf(world), ['/leases', '/leases/:id/release'])
    const client = world.client({ batch: false })
    await Promise.all([client.lease('pool'), client.lease('pool')])
    assert.deepEqual(pathsOf(world).slice(2), ['/leases', '/leases'])
  })

  test('have each what it asked for', async () => {
    await using world = await ClientWorld.start(3)
    const client = world.client()
    const [one, other, short] = await Promise.all([
      client.lease('pool', { holder: 'one' }),
      client.lease('pool', { holder: 'other' }),
      client.lease('pool', { ttlMs: 5000 }),
    ])
    assert.deepEqual(pathsOf(world), ['/batch'])
    assert.deepEqual([one.holder, other.holder, short.holder], ['one', 'other', null])
    assert.equal(short.remainingMs, 4500)
    await Promise.all([one.release({ outcome: 'invalid' }), other.release(), short.release()])
    const { counts } = await world.pool.show()
    assert.deepEqual([counts.disabled, counts.available], [1, 2])
  })

  test('whose answer is lost take no second key', async () => {
    await using world = await ClientWorld.start(10)
    world.fate = (_sent, number) => (number < 2 ? 'answer lost' : 'answered')
    const asked = leases(world, 5, { waitMs: 0 })
    await world.advance(30_000)
    const held = await asked
    assert.equal(await availableIn(world), 5)
    assert.equal(new Set(world.sent.map(({ idempotencyKey }) => idempotencyKey)).size, 1)
    world.fate = (_sent, number) => (number === 3 ? 'answer lost' : 'answered')
    const released = Promise.all(held.map((lease) => lease.release()))
    await world.advance(15_000)
    assert.deepEqual(new Set(await released), new Set([true]))
    assert.equal(await availableIn(world), 10)
  })

  test('count from the sending', async () => {
    await using world = await ClientWorld.start(2)
    world.fate = () => ({ lateMs: 7000 })
    const asked = leases(world, 2, { ttlMs: TTL_MS })
    await world.advance(7000)
    for (const { remainingMs } of await asked) assert.equal(remainingMs, TTL_MS - 5000 - 7000)
  })

  test('that find no key wait alone, and hold nobody up', async () => {
    await using world = await ClientWorld.start(3)
    const client = world.client()
    const got: Lease[] = []
    const asked = Array.from({ length: 5 }, async () => {
      got.push(await client.lease('pool', { ttlMs: TTL_MS }))
    })
    await world.settle()
    assert.equal(got.length, 3)
    assert.equal(world.server.orchestrator.waiters('pool'), 2)
    await Promise.all(got.map((lease) => lease.release()))
    await Promise.all(asked)
    assert.equal(got.length, 5)
  })

  test('fail each by itself', async () => {
    await using world = await ClientWorld.start(3)
    const client = world.client()
    const cases: [LeaseOptions, ErrorCode | null][] = [
      [{ ttlMs: 10 ** 9 }, 'ttl_too_long'],
      [{ ttlMs: -1 }, 'invalid_request'],
      [{ ttlMs: 5000 }, null],
      [{}, null],
      [{}, null],
      [{}, 'pool_exhausted'],
      [{ keyId: 'none' }, 'key_not_found'],
    ]
    const codes = await Promise.all(
      cases.map(([options]) =>
        client.lease('pool', { waitMs: 0, ...options }).then(
          () => null,
          (error: unknown) => (error as ProblemError).code,
        ),
      ),
    )
    assert.deepEqual(codes.toSorted(), cases.map(([, code]) => code).toSorted())
    assert.deepEqual(codes.slice(0, 2), ['ttl_too_long', 'invalid_request'])
    const nowhere = [client.lease('nowhere'), client.lease('nowhere')]
    for (const asked of nowhere) await assert.rejects(asked, { code: 'pool_not_found' })
  })

  test('that find fewer keys than they are: those left over hear that there is none', async () => {
    await using world = await ClientWorld.start(3)
    const client = world.client()
    const asked = Array.from({ length: 6 }, () => client.lease('pool', { waitMs: 0 }))
    const refused = (await Promise.allSettled(asked)).filter(({ status }) => status === 'rejected')
    assert.equal(refused.length, 3)
    for (const { reason } of refused as PromiseRejectedResult[]) {
      assert.equal((reason as ProblemError).code, 'pool_exhausted')
    }
    assert.deepEqual(pathsOf(world), ['/batch', '/batch'])
  })

  test('are given up one by one, and a key that comes all the same is given back', async () => {
    await using world = await ClientWorld.start(3)
    world.fate = (_sent, number) => (number === 0 ? { lateMs: 3000 } : 'answered')
    const client = world.client()
    const controller = new AbortController()
    const kept = client.lease('pool', { ttlMs: TTL_MS })
    const givenUp = client.lease('pool', { ttlMs: TTL_MS, signal: controller.signal })
    const rejected = assert.rejects(givenUp, /enough/)
    await world.advance(1000)
    controller.abort(new Error('enough'))
    await rejected
    await assert.rejects(client.lease('pool', { signal: controller.signal }), /enough/)
    await world.advance(3000)
    await kept
    assert.equal(await availableIn(world), 2)
    assert.deepEqual(pathsOf(world), ['/batch', '/leases/:id/release'])
  })

  test('are not sent again once all have given up', async () => {
    await using world = await ClientWorld.start(2)
    world.fate = () => 'refused'
    const controller = new AbortController()
    const rejected = assert.rejects(leases(world, 2, { signal: controller.signal }), /enough/)
    await world.advance(1000)
    controller.abort(new Error('enough'))
    await rejected
    const { length } = world.sent
    await world.advance(20_000)
    assert.equal(world.sent.length, length)
  })

  test('that nobody answers hold up no others', async () => {
    await using world = await ClientWorld.start(3000)
    world.fate = (_sent, number) => (number < 4 ? 'request lost' : 'answered')
    const client = world.client()
    const asked = Array.from({ length: 2000 }, () => client.lease('pool', { waitMs: 0 }))
    await world.settle()
    const other = client.lease('pool', { waitMs: 0 })
    await world.settle()
    assert.equal(world.sent.length, 4)
    await world.advance(5)
    await other
    await world.advance(15_000)
    await Promise.all(asked)
    assert.equal(await availableIn(world), 999)
  })
})

suite('renewals of one moment', () => {
  test('are one request, and one that is refused ends no other', async () => {
    await using world = await ClientWorld.start(10)
    const held = await leases(world, 10, { ttlMs: TTL_MS })
    const [revoked, released, ...others] = held
    await world.pool.ask('DELETE', `/keys/${revoked!.keyId}/lease`)
    await released!.release()
    const before = world.sent.length
    await world.advance(3 * TTL_MS)
    assert.equal((revoked!.signal.reason as LeaseLostError).reason, 'revoked')
    for (const { signal, leaseId } of others) {
      assert(!signal.aborted)
      assert(await world.isLive(leaseId))
    }
    const renewals = world.sent.slice(before)
    assert.deepEqual(new Set(pathsOf(world).slice(before)), new Set(['/batch']))
    assert.equal(renewals.length, 9)
    assert.deepEqual(
      renewals.map(({ body }) => (body!.operations as unknown[]).length),
      [9, 8, 8, 8, 8, 8, 8, 8, 8],
    )
    await Promise.all(others.map((lease) => lease.release()))
  })

  test('that do not come through: each signal comes before the server ends its lease', async () => {
    await using world = await ClientWorld.start(10)
    const client = world.client()
    const held = await Promise.all(
      [20_000, 40_000, TTL_MS].flatMap((ttlMs) => [
        client.lease('pool', { ttlMs }),
        client.lease('pool', { ttlMs }),
      ]),
    )
    world.fate = (_sent, number) => (number % 2 === 0 ? 'answer lost' : 'refused')
    await world.advance(3 * TTL_MS, async () => {
      for (const { signal, leaseId } of held) {
        if (!signal.aborted) assert(await world.isLive(leaseId), 'it has ended')
      }
    })
    for (const { signal } of held) assert(signal.reason instanceof LeaseLostError)
  })
})
