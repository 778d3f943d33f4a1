/** Leases of the v1 API, sentence by sentence; `waiting.test.ts` has those who wait. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { json, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, type Lease, NO_LEASE, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const LEASE_ID = /^[\w-]{32}$/
const DAY_MS = 24 * 3_600_000

/** The instant `ms` from now as answers spell it. */
function inMs(clock: VirtualClock, ms: number): string {
  return new Date(clock.now() + ms).toISOString()
}

suite('acquire', () => {
  test('grants a lease, with all that its holder needs', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const { headers, body } = assertStatus(await pool.ask('POST', '/leases', { ttlMs: 5000 }), 201)
    const lease = body as Lease
    assert.match(lease.leaseId, LEASE_ID)
    assert.equal(headers.location, `${pool.path}/leases/${lease.leaseId}`)
    const described = {
      leaseId: lease.leaseId,
      keyId,
      value: null,
      name: null,
      metadata: null,
      fencingToken: clock.now() * 1000,
      holder: null,
      grantedAt: inMs(clock, 0),
      expiresAt: inMs(clock, 5000),
      expiresInMs: 5000,
      keyExpiresAt: inMs(clock, 300_000),
    }
    assert.deepEqual(lease, described)
    assert.deepEqual((await server.ask('GET', headers.location)).body, described)
    await clock.advance(1500)
    assert.deepEqual(await pool.lease(lease.leaseId), { ...described, expiresInMs: 3500 })
  })

  test('needs no body, and takes the TTL of the policy', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    const pool = await PoolClient.make(server, { leaseTtlMs: 1234 })
    await pool.create(3)
    for (const body of [undefined, {}, 'null']) {
      const { body: lease } = assertStatus(await pool.ask('POST', '/leases', body), 201)
      assert.equal((lease as Lease).expiresInMs, 1234)
    }
  })

  test('is cut by maxLeaseTotalMs and by the death of the key', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { maxLeaseTotalMs: 70_000, keyLifetimeMs: 100_000 })
    await pool.create(2)
    assert.equal((await pool.acquire({ ttlMs: 80_000 })).expiresInMs, 70_000)
    await clock.advance(90_000)
    const { expiresInMs, expiresAt, keyExpiresAt } = await pool.acquire()
    assert.deepEqual([expiresInMs, expiresAt], [10_000, keyExpiresAt])
  })

  test('with a TTL above maxLeaseTtlMs is a 422, never cut', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    const pool = await PoolClient.make(server, { maxLeaseTtlMs: 100_000 })
    const [keyId] = await pool.create()
    for (const ttlMs of [100_001, 10 * 365.25 * DAY_MS]) {
      for (const more of [{}, { keyId }, { waitMs: 1000 }, { keyId, waitMs: 1000 }]) {
        assertProblem(await pool.ask('POST', '/leases', { ttlMs, ...more }), 'ttl_too_long')
      }
    }
    assert.equal((await pool.acquire({ ttlMs: 100_000 })).expiresInMs, 100_000)
    assertProblem(await pool.ask('POST', '/leases', { ttlMs: 100_001 }), 'ttl_too_long')
  })

  test('with keyId grants that key or is a 409', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 100 })
    const ids = await pool.create(10)
    const keyId = ids[7]!
    const assertUnavailable = async (): Promise<void> => {
      for (const more of [{}, { waitMs: 1000 }]) {
        assertProblem(await pool.ask('POST', '/leases', { keyId, ...more }), 'key_unavailable')
      }
    }
    const lease = await pool.acquire({ keyId, ttlMs: 7 })
    assert.deepEqual([lease.keyId, lease.expiresInMs], [keyId, 7])
    await assertUnavailable()
    await pool.release(lease.leaseId)
    await assertUnavailable()
    await clock.advance(100)
    await pool.ask('PATCH', `/keys/${keyId}`, { disabled: true })
    await assertUnavailable()
    await pool.ask('PATCH', `/keys/${keyId}`, { disabled: false })
    await pool.acquire({ keyId: keyId.toUpperCase() })
  })

  test('is a 400 that names what is wrong', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    const bodies: [object | string, RegExp][] = [
      [{ ttl: 5000 }, /"ttl"/],
      ['{"__proto__": {"ttlMs": 1}}', /"__proto__"/],
      ['{"constructor": {}}', /"constructor"/],
      [{ ttlMs: 0 }, /ttlMs/],
      [{ ttlMs: 1.5 }, /ttlMs/],
      [{ ttlMs: '5000' }, /ttlMs/],
      [{ ttlMs: null }, /ttlMs/],
      [{ ttlMs: 10 * 365.25 * DAY_MS + 1 }, /ttlMs/],
      [{ waitMs: -1 }, /waitMs/],
      [{ waitMs: 60_001 }, /waitMs/],
      [{ keyId: 5 }, /keyId/],
      [{ count: 2 }, /"count"/],
      [[], /object/],
      ['"ttlMs"', /object/],
      ['{"ttlMs": 5000', /JSON/],
    ]
    for (const [body, detail] of bodies) {
      const answer = await pool.ask('POST', '/leases', body)
      assert.match(assertProblem(answer, 'invalid_request'), detail)
    }
    assert.equal((await pool.show()).counts.available, 1)
  })

  test('gives fencing tokens that rise, and never fall with the pool', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    const pool = await PoolClient.make(server)
    await pool.create(3)
    const tokens = [await pool.acquire(), await pool.acquire(), await pool.acquire()]
    await pool.ask('DELETE', '?force=true')
    await PoolClient.make(server)
    await pool.create()
    tokens.push(await pool.acquire())
    const all = tokens.map(({ fencingToken }) => fencingToken)
    assert.deepEqual(
      all,
      all.toSorted((a, b) => a - b),
    )
    assert.equal(new Set(all).size, 4)
  })
})

suite('nothing to give', () => {
  test('429 with when to come again, in whole seconds and exact, and the keys by state', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 2001 })
    const [first] = await pool.create(4)
    await pool.ask('PATCH', `/keys/${first!}`, { disabled: true })
    const { leaseId } = await pool.acquire({ ttlMs: 1001 })
    await pool.acquire({ ttlMs: 2002 })
    await pool.acquire()
    const assertExhausted = async (
      seconds: string,
      retryAfterMs: number,
      counts: object,
    ): Promise<void> => {
      for (const body of [{}, { waitMs: 0 }]) {
        const answer = await pool.ask('POST', '/leases', body)
        assertProblem(answer, 'pool_exhausted', { retryAfterMs, disabled: 1, ...counts })
        assert.equal(answer.headers['retry-after'], seconds)
      }
    }
    await assertExhausted('2', 1001, { leased: 3, cooling: 0 })
    await clock.advance(1)
    await assertExhausted('1', 1000, { leased: 3, cooling: 0 })
    await clock.advance(999)
    await assertExhausted('1', 1, { leased: 3, cooling: 0 })
    await pool.release(leaseId)
    await assertExhausted('2', 1002, { leased: 2, cooling: 1 })
    await clock.advance(1001)
    await assertExhausted('1', 1, { leased: 2, cooling: 1 })
    await clock.advance(1)
    await pool.acquire()
  })

  test('429 without a time where every key dies first', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { keyLifetimeMs: 5000 })
    await pool.create()
    await pool.acquire()
    const answer = await pool.ask('POST', '/leases')
    assertProblem(answer, 'pool_exhausted', { leased: 1, cooling: 0, disabled: 0 })
    assert.equal(answer.headers['retry-after'], undefined)
  })

  test('409 where no key is available, leased or cooling', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const counts = { leased: 0, cooling: 0, disabled: 0 }
    for (const body of [{}, { waitMs: 0 }]) {
      const answer = await pool.ask('POST', '/leases', body)
      assertProblem(answer, 'pool_empty', counts)
      assert.equal(answer.headers['retry-after'], undefined)
    }
    const [keyId] = await pool.create()
    await pool.ask('PATCH', `/keys/${keyId!}`, { disabled: true })
    assertProblem(await pool.ask('POST', '/leases'), 'pool_empty', { ...counts, disabled: 1 })
  })
})

suite('a lease that has ended', () => {
  for (const [reason, end] of [
    ['expired', (_pool, _lease, clock) => clock.advance(60_000)],
    ['released', (pool, { leaseId }) => pool.release(leaseId)],
    ['unblocked', (pool, { keyId }) => pool.server.ask('PUT', `/keys/${keyId}`)],
    ['revoked', (pool, { keyId }) => pool.ask('DELETE', `/keys/${keyId}/lease`)],
    ['key_deleted', (pool, { keyId }) => pool.ask('DELETE', `/keys/${keyId}`)],
    ['key_expired', (_pool, _lease, clock) => clock.advance(50_000)],
  ] as [string, (pool: PoolClient, lease: Lease, clock: VirtualClock) => Promise<unknown>][]) {
    test(`is a 410 with the reason: ${reason}; its release changes nothing`, async () => {
      const clock = new VirtualClock()
      const keyLifetimeMs = reason === 'key_expired' ? 50_000 : null
      await using server = await TestServer.start({ clock, policy: { keyLifetimeMs } })
      const pool = new PoolClient(server, 'default')
      const [keyId] = await pool.create()
      const lease = await pool.acquire()
      await end(pool, lease, clock)
      for (const answer of [
        await pool.ask('GET', `/leases/${lease.leaseId}`),
        await pool.renew(lease.leaseId),
        await pool.renew(lease.leaseId, { ttlMs: 1, keepAlive: true }),
      ]) {
        assertProblem(answer, 'lease_ended', { reason })
      }
      const before = (await pool.ask('GET', `/keys/${keyId!}`)).text
      for (const outcome of ['ok', 'rate_limited', 'error', 'invalid']) {
        const late = { outcome, retryAfterMs: 9000, reason: 'late' }
        assert.deepEqual(await pool.release(lease.leaseId, late), { released: false, reason })
      }
      assert.equal((await pool.ask('GET', `/keys/${keyId!}`)).text, before)
    })
  }

  test('does nothing to its successor, and its reason is no longer known', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const past = await pool.acquire()
    await pool.release(past.leaseId)
    await pool.acquire()
    const before = await pool.key(keyId!)
    assertProblem(await pool.renew(past.leaseId), 'lease_ended')
    for (const outcome of ['ok', 'error', 'invalid']) {
      const answer = await pool.release(past.leaseId, { outcome })
      assert.deepEqual(answer, { released: false, reason: 'unknown' })
    }
    assert.deepEqual(await pool.key(keyId!), before)
  })

  test('is a 404 if it never was one, or is one of another pool', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const other = await PoolClient.make(server, {}, 'other')
    await other.create()
    const { leaseId, keyId } = await other.acquire()
    const forged = `${leaseId.slice(0, -1)}${leaseId.endsWith('A') ? 'B' : 'A'}`
    const hostile = ['constructor', '__proto__', '%00', 'x'.repeat(3000), `${leaseId}0`, keyId]
    for (const id of [NO_LEASE, leaseId, forged, ...hostile]) {
      const path = `/leases/${id}`
      assertProblem(await pool.ask('GET', path), 'lease_not_found')
      assertProblem(await pool.ask('POST', `${path}/renew`, {}), 'lease_not_found')
      assertProblem(await pool.ask('POST', `${path}/release`, {}), 'lease_not_found')
    }
    assertProblem(await other.ask('GET', `/leases/${forged}`), 'lease_not_found')
    assertProblem(await other.ask('POST', `/leases/${forged}/release`), 'lease_not_found')
    await other.lease(leaseId)
  })
})

suite('renew', () => {
  test('without a TTL takes the last one of this lease', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    await pool.create()
    const lease = await pool.acquire({ ttlMs: 5000 })
    await pool.ask('PATCH', '', { leaseTtlMs: 1 })
    for (const [body, expiresInMs] of [
      [undefined, 5000],
      [{ ttlMs: 9000 }, 9000],
      [{}, 9000],
      [{ ttlMs: 10 }, 10], // earlier than before
      [{}, 10],
    ] as const) {
      await clock.advance(5)
      const renewed = assertStatus(await pool.renew(lease.leaseId, body), 200)
      const expected = { ...lease, expiresInMs, expiresAt: inMs(clock, expiresInMs) }
      assert.deepEqual(renewed.body, expected)
      assert.deepEqual(await pool.lease(lease.leaseId), expected)
    }
    await clock.advance(10)
    assertProblem(await pool.renew(lease.leaseId), 'lease_ended', { reason: 'expired' })
  })

  test('stretches a lease to maxLeaseTotalMs, then is a 409', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { leaseTtlMs: 100, maxLeaseTotalMs: 150 })
    await pool.create()
    const { leaseId } = await pool.acquire()
    await clock.advance(80)
    assert.equal(((await pool.renew(leaseId)).body as Lease).expiresInMs, 70)
    const before = await pool.lease(leaseId)
    assertProblem(await pool.renew(leaseId), 'lease_limit')
    assert.deepEqual(await pool.lease(leaseId), before)
    assert.equal(((await pool.renew(leaseId, { ttlMs: 20 })).body as Lease).expiresInMs, 20)
    assert.equal(((await pool.renew(leaseId, { ttlMs: 99 })).body as Lease).expiresInMs, 70)
    await clock.advance(70)
    assertProblem(await pool.renew(leaseId), 'lease_ended', { reason: 'expired' })
  })

  test('does nothing to the life of the key unless keepAlive is true', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 1000, leaseTtlMs: 100 })
    await pool.create()
    const { leaseId, keyExpiresAt } = await pool.acquire()
    for (const body of [{}, { keepAlive: false }]) {
      await clock.advance(50)
      const { body: lease } = await pool.renew(leaseId, body)
      assert.equal((lease as Lease).keyExpiresAt, keyExpiresAt)
    }
    const { body } = await pool.renew(leaseId, { keepAlive: true, ttlMs: 2000 })
    const { keyExpiresAt: death, expiresAt } = body as Lease
    assert.deepEqual([death, expiresAt], [inMs(clock, 1000), inMs(clock, 1000)])
  })

  test('with a TTL above maxLeaseTtlMs is a 422 and changes nothing', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    const pool = await PoolClient.make(server)
    await pool.create()
    const lease = await pool.acquire()
    assertProblem(
      await pool.renew(lease.leaseId, { ttlMs: 3_600_001, keepAlive: true }),
      'ttl_too_long',
    )
    assert.deepEqual(await pool.lease(lease.leaseId), lease)
  })
})

test('of many simultaneous acquires each key goes to one', async () => {
  await using server = await TestServer.start()
  const pool = await PoolClient.make(server)
  await pool.create(50)
  const answers = await Promise.all(
    Array.from({ length: 80 }, () => server.ask('POST', `${pool.path}/leases`, json({}))),
  )
  const granted = answers.filter(({ status }) => status === 201).map(({ body }) => body as Lease)
  assert.equal(new Set(granted.map(({ keyId }) => keyId)).size, 50)
  assert.equal(granted.length, 50)
  for (const answer of answers) if (answer.status !== 201) assert.equal(answer.status, 429)
})
