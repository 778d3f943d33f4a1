/** Keys of the v1 API, sentence by sentence. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { NOBODY, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, type Key, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const LIFETIME_MS = 300_000

/** The instant `ms` from now as answers spell it. */
function inMs(clock: VirtualClock, ms: number): string {
  return new Date(clock.now() + ms).toISOString()
}

suite('POST …/keys', () => {
  test('makes plain keys, each with a random UUID', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const { body } = assertStatus(await pool.ask('POST', '/keys', { count: 3 }), 201)
    const { keyIds } = body as { keyIds: string[] }
    assert.deepEqual(body, { keyIds })
    assert.equal(new Set(keyIds).size, 3)
    for (const keyId of keyIds) {
      assert.match(keyId, UUID_V4)
      assert.equal(await pool.state(keyId), 'available')
    }
  })

  test('makes up to 10 000', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    assert.equal(new Set(await pool.create(10_000)).size, 10_000)
    assert.equal((await pool.show()).counts.available, 10_000)
  })

  test('is a 400 that names what is wrong', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const bodies: [object | string, RegExp][] = [
      [{ count: 1, typo: 1 }, /"typo"/],
      ['{"count": 1, "__proto__": {"count": 2}}', /"__proto__"/],
      [{}, /count/],
      [{ count: 0 }, /count/],
      [{ count: 10_001 }, /count/],
      [{ count: 1.5 }, /count/],
      [{ count: '1' }, /count/],
      [{ count: null }, /count/],
      [[], /object/],
      ['null', /object/],
      ['{"count": 1', /JSON/],
    ]
    for (const [body, detail] of bodies) {
      assert.match(assertProblem(await pool.ask('POST', '/keys', body), 'invalid_request'), detail)
    }
    assertProblem(await pool.ask('POST', '/keys'), 'invalid_request')
    assert.equal((await pool.show()).counts.available, 0)
  })

  test('beyond maxKeys or what the server holds is refused whole', async () => {
    await using server = await TestServer.start({ maxTotalKeys: 15 })
    const pool = await PoolClient.make(server, { maxKeys: 10 })
    await pool.create(8)
    assertProblem(await pool.ask('POST', '/keys', { count: 3 }), 'pool_full')
    assert.equal((await pool.show()).counts.available, 8)
    const other = await PoolClient.make(server, {}, 'other')
    assertProblem(await other.ask('POST', '/keys', { count: 8 }), 'server_full')
    assert.equal((await other.show()).counts.available, 0)
    await other.create(7)
    await pool.ask('PATCH', '', { maxKeys: 11 })
    assertProblem(await pool.ask('POST', '/keys', { count: 1 }), 'server_full')
  })

  test('reads up to 8 MiB, and says so beyond', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const padded = (bytes: number): string => `{"count":1}${' '.repeat(bytes - 11)}`
    assertStatus(await pool.ask('POST', '/keys', padded(8 * 2 ** 20)), 201)
    const tooLarge = await pool.ask('POST', '/keys', padded(8 * 2 ** 20 + 1))
    assert.match(assertProblem(tooLarge, 'body_too_large'), /\b8388608 bytes/)
  })
})

suite('GET …/keys/{id}', () => {
  test('shows a key free, leased, cooling and disabled', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 100 })
    const [keyId] = await pool.create()
    const free = {
      keyId: keyId!,
      name: null,
      metadata: null,
      hasValue: false,
      state: 'available',
      createdAt: inMs(clock, 0),
      keepAliveAt: inMs(clock, 0),
      expiresAt: inMs(clock, LIFETIME_MS),
      disabled: false,
      disabledReason: null,
      failures: 0,
      coolingUntil: null,
      lease: null,
    }
    assert.deepEqual(await pool.key(keyId!), free)
    await clock.advance(50)
    const { leaseId, fencingToken, grantedAt, expiresAt } = await pool.acquire()
    assert.deepEqual(await pool.key(keyId!), {
      ...free,
      state: 'leased',
      lease: { fencingToken, holder: null, grantedAt, expiresAt },
    })
    await pool.release(leaseId)
    const cooling = { ...free, state: 'cooling', coolingUntil: inMs(clock, 100) }
    assert.deepEqual(await pool.key(keyId!), cooling)
    await pool.ask('PATCH', `/keys/${keyId!}`, { disabled: true, reason: 'abuse' })
    const disabled = { disabled: true, disabledReason: 'abuse', state: 'disabled' }
    assert.deepEqual(await pool.key(keyId!), { ...cooling, ...disabled })
    await clock.advance(100)
    assert.deepEqual(await pool.key(keyId!), { ...free, ...disabled })
  })

  test('shows null for the death of a key that has none', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { keyLifetimeMs: null })
    const [keyId] = await pool.create()
    assert.equal((await pool.key(keyId!)).expiresAt, null)
    assert.equal((await pool.acquire()).keyExpiresAt, null)
    const kept = await pool.ask('POST', `/keys/${keyId!}/keepalive`)
    assert.deepEqual(kept.body, { keyId, expiresAt: null })
  })

  test('is a 404 for what is no live key of this pool, on every route', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 10 })
    const other = await PoolClient.make(server, {}, 'other')
    const [dead] = await pool.create()
    const [elsewhere] = await other.create()
    await clock.advance(10)
    const hostile = ['constructor', '__proto__', '%00', 'x'.repeat(3000), '%2e%2e', '%F0%9F%94%91']
    for (const id of [NOBODY, dead!, elsewhere!, ...hostile]) {
      for (const [method, path, body] of [
        ['GET', '', undefined],
        ['PATCH', '', { disabled: true }],
        ['DELETE', '', undefined],
        ['POST', '/keepalive', undefined],
        ['DELETE', '/lease', undefined],
      ] as const) {
        assertProblem(await pool.ask(method, `/keys/${id}${path}`, body), 'key_not_found')
      }
      assertProblem(await pool.ask('POST', '/leases', { keyId: id }), 'key_not_found')
    }
    assert.equal(await other.state(elsewhere!), 'available')
  })
})

suite('PATCH …/keys/{id}', () => {
  test('disable: nobody is given the key', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const path = `/keys/${keyId!}`
    const { body } = assertStatus(await pool.ask('PATCH', path, { disabled: true }), 200)
    assert.deepEqual(body, await pool.key(keyId!))
    assert.equal(body.state, 'disabled')
    assertProblem(await pool.ask('POST', '/leases', {}), 'pool_empty', {
      leased: 0,
      cooling: 0,
      disabled: 1,
    })
    await pool.ask('PATCH', path, { disabled: false })
    await pool.acquire()
  })

  for (const [way, end] of [
    ['release', (pool: PoolClient, { leaseId }: { leaseId: string }) => pool.release(leaseId)],
    [
      'revocation',
      (pool: PoolClient, { keyId }: { keyId: string }) =>
        pool.ask('DELETE', `/keys/${keyId}/lease`),
    ],
    ['expiry', null],
  ] as const) {
    test(`disable while leased: the holder may renew and finish, and ${way} ends in disabled`, async () => {
      const clock = new VirtualClock()
      await using server = await TestServer.start({ clock })
      const pool = await PoolClient.make(server, { cooldownMs: 10 })
      const [keyId] = await pool.create()
      const lease = await pool.acquire()
      await pool.ask('PATCH', `/keys/${keyId!}`, { disabled: true, reason: 'old' })
      const { state, disabled } = await pool.key(keyId!)
      assert.deepEqual([state, disabled], ['leased', true])
      assertStatus(await pool.renew(lease.leaseId, { ttlMs: 50 }), 200)
      if (end === null) await clock.advance(50)
      else await end(pool, lease)
      const after = await pool.key(keyId!)
      assert.deepEqual([after.state, after.disabledReason], ['disabled', 'old'])
      assertProblem(await pool.renew(lease.leaseId), 'lease_ended', {
        reason: { release: 'released', revocation: 'revoked', expiry: 'expired' }[way],
      })
    })
  }

  test('enable clears failures and reason; a cooldown goes on unless it is set to null', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const path = `/keys/${keyId!}`
    const coolingUntil = inMs(clock, 1000)
    const spoil = async (): Promise<void> => {
      const { leaseId } = await pool.acquire()
      await pool.release(leaseId, { outcome: 'error', retryAfterMs: 1000 })
      await pool.ask('PATCH', path, { disabled: true, reason: 'flaky' })
    }
    await spoil()
    const enabled = (await pool.ask('PATCH', path, { disabled: false })).body as Key
    assert.deepEqual(
      [enabled.state, enabled.failures, enabled.disabledReason, enabled.coolingUntil],
      ['cooling', 0, null, coolingUntil],
    )
    await clock.advance(1000)
    await spoil()
    const both = await pool.ask('PATCH', path, { disabled: false, coolingUntil: null })
    const { state, coolingUntil: rest } = both.body as Key
    assert.deepEqual([state, rest], ['available', null])
  })

  test('coolingUntil null ends a rest, and leaves a lease and the flag alone', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { cooldownMs: 10_000 })
    const [keyId] = await pool.create()
    const path = `/keys/${keyId!}`
    const { leaseId } = await pool.acquire()
    const leased = assertStatus(await pool.ask('PATCH', path, { coolingUntil: null }), 200)
    assert.equal((leased.body as Key).state, 'leased')
    await pool.release(leaseId, { outcome: 'error' })
    const { state, failures } = (await pool.ask('PATCH', path, { coolingUntil: null })).body as Key
    assert.deepEqual([state, failures], ['available', 1])
    await pool.ask('PATCH', path, { disabled: true })
    const disabled = await pool.ask('PATCH', path, { coolingUntil: null })
    assert.equal((disabled.body as Key).state, 'disabled')
  })

  test('of nothing changes nothing', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const before = await pool.key(keyId!)
    assert.deepEqual((await pool.ask('PATCH', `/keys/${keyId!}`, {})).body, before)
  })

  test('is a 400 that names what is wrong', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const bodies: [object | string, RegExp][] = [
      [{ disable: true }, /"disable"/],
      ['{"__proto__": {"disabled": true}}', /"__proto__"/],
      [{ disabled: 'true' }, /disabled/],
      [{ disabled: null }, /disabled/],
      [{ coolingUntil: '2030-01-01T00:00:00.000Z' }, /coolingUntil/],
      [{ disabled: true, reason: 'x'.repeat(201) }, /reason/],
      [{ state: 'available' }, /"state"/],
    ]
    for (const [body, detail] of bodies) {
      const answer = await pool.ask('PATCH', `/keys/${keyId!}`, body)
      assert.match(assertProblem(answer, 'invalid_request'), detail)
    }
    assert.equal(await pool.state(keyId!), 'available')
  })
})

test('DELETE …/keys/{id} ends a key and its lease', async () => {
  await using server = await TestServer.start()
  const pool = await PoolClient.make(server)
  const [keyId] = await pool.create()
  const { leaseId } = await pool.acquire()
  assert.equal(assertStatus(await pool.ask('DELETE', `/keys/${keyId!}`), 204).text, '')
  assertProblem(await pool.ask('GET', `/keys/${keyId!}`), 'key_not_found')
  assertProblem(await pool.renew(leaseId), 'lease_ended', { reason: 'key_deleted' })
  assert.equal((await pool.show()).unavailable, 'pool_empty')
})

test('POST …/keys/{id}/keepalive gives a full lifetime from now and does nothing to the lease', async () => {
  const clock = new VirtualClock()
  await using server = await TestServer.start({ clock })
  const pool = await PoolClient.make(server, { keyLifetimeMs: 1000, leaseTtlMs: 100 })
  const [keyId] = await pool.create()
  const { createdAt } = await pool.key(keyId!)
  for (const leased of [false, true]) {
    await clock.advance(700)
    const lease = leased ? await pool.acquire() : null
    const { body } = assertStatus(await pool.ask('POST', `/keys/${keyId!}/keepalive`), 200)
    assert.deepEqual(body, { keyId, expiresAt: inMs(clock, 1000) })
    const key = await pool.key(keyId!)
    assert.deepEqual(
      [key.createdAt, key.keepAliveAt, key.lease?.expiresAt],
      [createdAt, inMs(clock, 0), lease?.expiresAt],
    )
  }
  await clock.advance(1000)
  assertProblem(await pool.ask('POST', `/keys/${keyId!}/keepalive`), 'key_not_found')
})

test('DELETE …/keys/{id}/lease revokes, and the key rests as after a lease that expired', async () => {
  const clock = new VirtualClock()
  await using server = await TestServer.start({ clock })
  const pool = await PoolClient.make(server, { expiredLeaseCooldownMs: 300, cooldownMs: 5 })
  const [keyId] = await pool.create()
  const path = `/keys/${keyId!}/lease`
  assertProblem(await pool.ask('DELETE', path), 'key_not_leased')
  const { leaseId } = await pool.acquire()
  assert.equal(assertStatus(await pool.ask('DELETE', path), 204).text, '')
  assertProblem(await pool.ask('GET', `/leases/${leaseId}`), 'lease_ended', { reason: 'revoked' })
  const { state, coolingUntil } = await pool.key(keyId!)
  assert.deepEqual([state, coolingUntil], ['cooling', inMs(clock, 300)])
  assertProblem(await pool.ask('DELETE', path), 'key_not_leased')
})
