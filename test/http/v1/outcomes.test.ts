/** How a lease of the v1 API is given back, and what becomes of its key. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, NO_LEASE, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const DAY_MS = 24 * 3_600_000

/** The instant `ms` from now as answers spell it. */
function inMs(clock: VirtualClock, ms: number): string {
  return new Date(clock.now() + ms).toISOString()
}

suite('release', () => {
  test('ok, the default: the key rests for cooldownMs and its failures are forgotten', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 100, failureCooldownMs: 7 })
    const [keyId] = await pool.create()
    for (const body of [undefined, {}, { outcome: 'ok', retryAfterMs: 5 }]) {
      await pool.release((await pool.acquire()).leaseId, { outcome: 'error' })
      assert.equal((await pool.key(keyId!)).failures, 1)
      await clock.advance(7)
      const { leaseId } = await pool.acquire()
      assert.deepEqual(await pool.release(leaseId, body), { released: true })
      const { state, coolingUntil, failures } = await pool.key(keyId!)
      assert.deepEqual([state, coolingUntil, failures], ['cooling', inMs(clock, 100), 0])
      await clock.advance(99)
      assertStatus(await pool.ask('POST', '/leases'), 429)
      await clock.advance(1)
    }
    await pool.acquire()
  })

  test('rate_limited, error: rests that double with each failure, up to the longest', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, {
      keyLifetimeMs: null,
      failureCooldownMs: 100,
      maxFailureCooldownMs: 500,
    })
    const [keyId] = await pool.create()
    for (const [at, restMs] of [100, 200, 400, 500, 500].entries()) {
      const { leaseId } = await pool.acquire()
      await pool.release(leaseId, { outcome: at % 2 === 0 ? 'error' : 'rate_limited' })
      const { state, failures, coolingUntil } = await pool.key(keyId!)
      assert.deepEqual([state, failures, coolingUntil], ['cooling', at + 1, inMs(clock, restMs)])
      await clock.advance(restMs - 1)
      assert.equal(await pool.state(keyId!), 'cooling')
      await clock.advance(1)
    }
    const long = await pool.acquire()
    await pool.release(long.leaseId, { outcome: 'rate_limited', retryAfterMs: 7 * DAY_MS })
    assert.equal((await pool.key(keyId!)).coolingUntil, inMs(clock, 7 * DAY_MS))
    await clock.advance(7 * DAY_MS)
    const none = await pool.acquire()
    await pool.release(none.leaseId, { outcome: 'error', retryAfterMs: 0 })
    const { state, failures } = await pool.key(keyId!)
    assert.deepEqual([state, failures], ['available', 7])
  })

  test('invalid: the key is disabled, with the reason', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const { leaseId } = await pool.acquire()
    await pool.release(leaseId, { outcome: 'invalid', reason: 'HTTP 401' })
    const { state, disabled, disabledReason } = await pool.key(keyId!)
    assert.deepEqual([state, disabled, disabledReason], ['disabled', true, 'HTTP 401'])
  })

  test('a lease that expires rests for expiredLeaseCooldownMs, and failures stay', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { expiredLeaseCooldownMs: 100, cooldownMs: 1 })
    const [keyId] = await pool.create()
    await pool.release((await pool.acquire()).leaseId, { outcome: 'error', retryAfterMs: 0 })
    await pool.acquire({ ttlMs: 50 })
    await clock.advance(60)
    const { state, failures, coolingUntil } = await pool.key(keyId!)
    assert.deepEqual([state, failures, coolingUntil], ['cooling', 1, inMs(clock, 90)])
  })

  test('and renew are a 400 that names what is wrong', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    const { leaseId } = await pool.acquire()
    const bodies: ['renew' | 'release', object | string, RegExp][] = [
      ['release', { outcom: 'ok' }, /"outcom"/],
      ['release', { outcome: 'broken' }, /outcome/],
      ['release', { outcome: null }, /outcome/],
      ['release', { outcome: 'error', retryAfterMs: -1 }, /retryAfterMs/],
      ['release', { outcome: 'error', retryAfterMs: 7 * DAY_MS + 1 }, /retryAfterMs/],
      ['release', { outcome: 'invalid', reason: 'x'.repeat(201) }, /reason/],
      ['release', '{"__proto__": {}}', /"__proto__"/],
      ['release', '[]', /object/],
      ['renew', { ttl: 1 }, /"ttl"/],
      ['renew', { ttlMs: 0 }, /ttlMs/],
      ['renew', { keepAlive: 'yes' }, /keepAlive/],
      ['renew', '{"ttlMs"', /JSON/],
    ]
    for (const [verb, body, detail] of bodies) {
      const answer = await pool.ask('POST', `/leases/${leaseId}/${verb}`, body)
      assert.match(assertProblem(answer, 'invalid_request'), detail)
      const unknown = await pool.ask('POST', `/leases/${NO_LEASE}/${verb}`, body)
      assertProblem(unknown, 'invalid_request')
    }
    await pool.lease(leaseId)
  })
})
