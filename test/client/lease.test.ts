/** A lease in the client's hands, in virtual time against a real server. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import { LeaseLostError, ProblemError, UnreachableError } from '../../src/client/client.ts'
import { ClientWorld, type Fate, type Sent } from '../support/client-world.ts'

const TTL_MS = 60_000

function isRenewal({ path }: Sent): boolean {
  return path.endsWith('/renew')
}

function renewalsAre(fate: Fate): (sent: Sent) => Fate {
  return (sent) => (isRenewal(sent) ? fate : 'answered')
}

suite('a lease', () => {
  test('says what it is, and shows no secret where it is printed', async () => {
    await using world = await ClientWorld.start(0)
    const [keyId] = await world.pool.importKeys({ value: 'sk-secret', name: 'billing' })
    await using lease = await world.client().lease('pool', { holder: 'worker-7' })
    const { name, holder, key, value, pool } = lease
    assert.deepEqual(
      { keyId: lease.keyId, name, holder, key, value, pool },
      {
        ...{ keyId, name: 'billing', holder: 'worker-7' },
        ...{ key: 'sk-secret', value: 'sk-secret', pool: 'pool' },
      },
    )
    assert.equal((await world.pool.lease(lease.leaseId)).fencingToken, lease.fencingToken)
    const printed = inspect(lease, { depth: 9 }) + JSON.stringify(lease)
    for (const secret of ['sk-secret', lease.leaseId]) assert(!printed.includes(secret))
  })

  test('renews itself at a third of its TTL, for as long as it is held', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
    const start = world.clock.now()
    await world.advance(4 * TTL_MS)
    assert.equal(lease.signal.aborted, false)
    assert.equal(await world.isLive(lease.leaseId), true)
    const renewals = world.sent.filter(isRenewal).map(({ at }) => at - start)
    assert.equal(renewals.length, 12)
    for (const [place, at] of renewals.entries()) assert.equal(at, (place + 1) * (TTL_MS / 3))
    assert.equal(await lease.release(), true)
    await world.advance(TTL_MS)
    assert.equal(world.sent.filter(isRenewal).length, 12, 'none after the release')
  })

  test('counts from the sending, so that slow answers cost time and not safety', async () => {
    await using world = await ClientWorld.start(1)
    world.fate = renewalsAre({ lateMs: 7000 })
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
    const start = world.clock.now()
    await world.advance(TTL_MS / 3 + 7100)
    assert.equal(lease.remainingMs, start + (TTL_MS * 4) / 3 - 5000 - world.clock.now())
    await lease.release()
  })

  test('its signal is aborted before the server ends it', async () => {
    for (const fate of ['request lost', 'answer lost', 'refused'] as const) {
      await using world = await ClientWorld.start(1)
      world.fate = renewalsAre(fate)
      const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
      const start = world.clock.now()
      let abortedAt = 0
      lease.signal.addEventListener('abort', () => (abortedAt = world.clock.now()))
      await world.advance(TTL_MS, async () => {
        if (!lease.signal.aborted) assert(await world.isLive(lease.leaseId))
      })
      assert.equal(abortedAt - start, TTL_MS - 5000, fate)
      const reason: unknown = lease.signal.reason
      assert(reason instanceof LeaseLostError)
      assert.equal(reason.reason, 'not_renewed')
      assert.equal(lease.remainingMs, 0)
      assert.throws(() => {
        lease.throwIfLost()
      }, LeaseLostError)
      assert(world.sent.filter(isRenewal).length > 2, 'it tries again meanwhile')
    }
  })

  test('outlives a server that cannot be reached for less than its TTL', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
    const start = world.clock.now()
    world.fate = (sent) => (sent.at < start + 45_000 ? 'refused' : 'answered')
    await world.advance(3 * TTL_MS)
    assert.equal(lease.signal.aborted, false)
    assert.equal(await lease.release(), true)
  })

  test('is lost when it is revoked, and says so', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
    await world.pool.ask('DELETE', `/keys/${lease.keyId}/lease`)
    await world.advance(TTL_MS / 3)
    const reason: unknown = lease.signal.reason
    assert(reason instanceof LeaseLostError)
    assert.equal(reason.reason, 'revoked')
    assert.equal(await lease.release(), false)
  })

  test('ends at the longest time it may last, the signal before', async () => {
    await using world = await ClientWorld.start(1, { maxLeaseTotalMs: 2 * TTL_MS })
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS })
    await world.advance(2 * TTL_MS, async () => {
      if (!lease.signal.aborted) assert(await world.isLive(lease.leaseId))
    })
    assert(lease.signal.aborted)
    assert(world.sent.filter(isRenewal).length < 30, 'it does not hammer')
  })

  test('ends with its key, unless renewals keep that alive', async () => {
    await using world = await ClientWorld.start(2, { keyLifetimeMs: 2 * TTL_MS })
    const client = world.client()
    const dying = await client.lease('pool', { ttlMs: TTL_MS })
    const kept = await client.lease('pool', { ttlMs: TTL_MS, keepAlive: true })
    await world.advance(5 * TTL_MS, async () => {
      if (!dying.signal.aborted) assert(await world.isLive(dying.leaseId))
    })
    assert(dying.signal.aborted)
    assert.equal(kept.signal.aborted, false)
    await kept.release()
  })

  test('a margin of its own', async () => {
    await using world = await ClientWorld.start(1)
    world.fate = renewalsAre('refused')
    const lease = await world.client().lease('pool', { ttlMs: TTL_MS, marginMs: 30_000 })
    await world.advance(29_900)
    assert.equal(lease.signal.aborted, false)
    await world.advance(100)
    assert.equal(lease.signal.aborted, true)
  })

  test('a renewal that is refused for a while is tried again', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool', { ttlMs: 40_000 })
    await world.pool.ask('PATCH', '', { leaseTtlMs: 10_000, maxLeaseTtlMs: 20_000 })
    await world.advance(30_000)
    await world.pool.ask('PATCH', '', { maxLeaseTtlMs: 60_000 })
    await world.advance(60_000)
    assert.equal(lease.signal.aborted, false)
    await lease.release()
  })
})

suite('a release', () => {
  test('carries the outcome and is sent once, however often it is asked for', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool')
    const released = lease.release({ outcome: 'rate_limited', retryAfterMs: 5000 })
    assert.equal(lease.release({ outcome: 'ok' }), released)
    assert.equal(await released, true)
    assert.equal((await world.pool.key(lease.keyId)).failures, 1)
    assert.equal(lease.remainingMs, 0)
    assert.equal(lease.signal.aborted, false)
    lease.throwIfLost()
  })

  test('whose answer is lost is sent again and is still the release', async () => {
    await using world = await ClientWorld.start(1)
    let losses = 2
    world.fate = ({ path }) =>
      path.endsWith('/release') && losses-- > 0 ? 'answer lost' : 'answered'
    const lease = await world.client().lease('pool')
    const released = lease.release()
    await world.advance(25_000)
    assert.equal(await released, true)
  })

  test('of a lease that ended before is false', async () => {
    await using world = await ClientWorld.start(1)
    const lease = await world.client().lease('pool')
    await world.pool.ask('DELETE', `/keys/${lease.keyId}`)
    assert.equal(await lease.release({ outcome: 'error' }), false)
  })

  test('that fails is heard of where nothing is thrown', async () => {
    await using world = await ClientWorld.start(1)
    world.fate = ({ path }) => (path.endsWith('/release') ? 'refused' : 'answered')
    const heard: unknown[] = []
    const done = (async () => {
      await using lease = await world.client().lease('pool', {
        onUnreleased: (error, unreleased) => heard.push(error, unreleased.keyId),
      })
      return lease.keyId
    })()
    await world.advance(35_000)
    const keyId = await done
    assert(heard[0] instanceof UnreachableError)
    assert.equal(heard[1], keyId)
  })
})

suite('asking for a key', () => {
  test('is repeated with the same Idempotency-Key, so that one is leased at most', async () => {
    await using world = await ClientWorld.start(5)
    const fates: Fate[] = ['answer lost', 'refused', 'answer lost', 'refused']
    world.fate = (_sent, number) => fates[number] ?? 'answered'
    const asked = world.client().lease('pool', { ttlMs: TTL_MS, waitMs: 0 })
    await world.advance(30_000)
    const lease = await asked
    assert.equal((await world.pool.show()).counts.leased, 1)
    assert.equal(new Set(world.sent.slice(0, 5).map((sent) => sent.idempotencyKey)).size, 1)
    await lease.release()
    assert.equal((await world.pool.show()).counts.available, 5)
  })

  test('is begun anew when the lease that the repeat brings has ended', async () => {
    await using world = await ClientWorld.start(2)
    const ended = 3000
    world.fate = (_sent, number) => (number === 0 ? 'answer lost' : 'answered')
    const asked = world.client().lease('pool', { ttlMs: ended })
    await world.advance(45_000)
    const lease = await asked
    assert(await world.isLive(lease.leaseId))
    assert.equal(new Set(world.sent.map((sent) => sent.idempotencyKey).filter(Boolean)).size, 2)
    await lease.release()
  })

  test('waits at the server, beyond what it lets wait at a time', async () => {
    await using world = await ClientWorld.start(1)
    const client = world.client()
    const first = await client.lease('pool')
    const asked = client.lease('pool', { waitMs: 150_000, ttlMs: TTL_MS })
    await world.advance(140_000)
    await first.release()
    await world.settle()
    const second = await asked
    const waits = world.sent.filter(({ path }) => path.endsWith('/leases')).slice(1)
    assert.deepEqual(
      waits.map(({ body }) => body?.waitMs),
      [60_000, 60_000, 30_000],
    )
    // It was granted just now, or 20 s ago: who waited does not know, and has it renewed first.
    assert(isRenewal(world.sent.at(-1)!))
    assert.equal(second.remainingMs, TTL_MS - 5000)
    await second.release()
  })

  test('gives up when the time is over, with what the server says', async () => {
    await using world = await ClientWorld.start(1)
    const client = world.client()
    const lease = await client.lease('pool')
    await assert.rejects(client.lease('pool', { waitMs: 0 }), (error: unknown) => {
      assert(error instanceof ProblemError)
      assert.equal(error.code, 'pool_exhausted')
      assert.equal(error.status, 429)
      assert(error.retryAfterMs! > 0)
      return true
    })
    const asked = assert.rejects(client.lease('pool', { waitMs: 90_000 }), {
      code: 'pool_exhausted',
    })
    await world.advance(91_000)
    await asked
    await lease.release()
  })

  test('is given up by its signal, and no key is taken', async () => {
    await using world = await ClientWorld.start(1)
    const client = world.client()
    const lease = await client.lease('pool')
    const controller = new AbortController()
    const asked = assert.rejects(
      client.lease('pool', { signal: controller.signal, waitMs: 60_000 }),
      /enough/,
    )
    await world.advance(1000)
    controller.abort(new Error('enough'))
    await asked
    await world.settle()
    await lease.release()
    assert.equal((await world.pool.show()).counts.available, 1)
  })

  test('what cannot be mended by waiting is thrown at once', async () => {
    await using world = await ClientWorld.start(1)
    const client = world.client()
    const cases = [
      [client.lease('nowhere'), 'pool_not_found'],
      [client.lease('pool', { ttlMs: 10 ** 9 }), 'ttl_too_long'],
      [client.lease('pool', { ttlMs: -1 }), 'invalid_request'],
      [client.lease('pool', { keyId: 'none' }), 'key_not_found'],
    ] as const
    await Promise.all(
      cases.map(([asked, code]) => assert.rejects(asked, { name: 'ProblemError', code })),
    )
    // Each is asked once, but that the two who are asked together and refused because of one are asked alone.
    assert.equal(world.sent.length, cases.length + 1)
  })
})
