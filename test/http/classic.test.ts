/**
 * The classic API, row by row; `create.test.ts` has `POST /keys`. Time is virtual, so that "not a
 * millisecond early" can be seen.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { idRoutes, json, NOBODY, TestServer } from '../support/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const LEASE_ID = /^[\w-]{32}$/
const LIFETIME_MS = 300_000
const LEASE_TTL_MS = 60_000

/** The instant `ms` from now as answers spell it. */
function inMs(clock: VirtualClock, ms: number): string {
  return new Date(clock.now() + ms).toISOString()
}

suite('GET /keys', () => {
  test('leases a key', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const keyId = await server.create()
    const drawn = await server.draw()
    assert.match(drawn.leaseId, LEASE_ID)
    assert.deepEqual(drawn, {
      keyId,
      key_id: keyId,
      leaseId: drawn.leaseId,
      fencingToken: clock.now() * 1000,
      blockedUntil: inMs(clock, LEASE_TTL_MS),
    })
  })

  test('is a bare 404 when no key will become available by itself', async () => {
    await using server = await TestServer.start({ policy: { leaseTtlMs: LIFETIME_MS } })
    const empty = await server.ask('GET', '/keys')
    assert.deepEqual([empty.status, empty.body], [404, {}])
    assert.equal(empty.headers['retry-after'], undefined)
    await server.create()
    await server.draw()
    const { headers } = await server.ask('GET', '/keys') // The key dies before its lease would end.
    assert.equal(headers['retry-after'], undefined)
  })

  test('says in whole seconds when to come again', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    await server.create()
    await server.draw()
    for (const [laterMs, seconds] of [
      [0, '60'],
      [1, '60'],
      [58_998, '2'],
      [1, '1'],
      [999, '1'],
    ] as const) {
      await clock.advance(laterMs)
      const { status, body, headers } = await server.ask('GET', '/keys')
      assert.deepEqual([status, body, headers['retry-after']], [404, {}, seconds])
    }
    await clock.advance(1)
    await server.draw()
  })

  test('gives fencing tokens that rise', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    await server.ask('POST', '/keys', json({ count: 3 }))
    const first = await server.draw()
    const second = await server.draw()
    await clock.advance(1)
    const third = await server.draw()
    assert.ok(first.fencingToken < second.fencingToken)
    assert.ok(second.fencingToken < third.fencingToken)
  })

  test('cannot be prefetched or asked by HEAD', async () => {
    await using server = await TestServer.start()
    await server.create()
    for (const purpose of ['prefetch', 'prefetch;prerender', 'prefetch;anonymous-client-ip']) {
      const headers = { 'sec-purpose': purpose }
      const { status, body } = await server.ask('GET', '/keys', { headers })
      assert.deepEqual([status, (body as { code: string }).code], [403, 'prefetch_refused'])
    }
    const { status, headers } = await server.ask('HEAD', '/keys')
    assert.deepEqual([status, headers.allow], [405, 'GET, POST'])
    await server.draw()
  })
})

suite('GET /keys/:id', () => {
  test('shows a key free, leased and free again', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const createdAt = inMs(clock, 0)
    const keyId = await server.create()
    const free = {
      keyId,
      key_id: keyId,
      isBlocked: false,
      blockedAt: null,
      createdAt,
      blockedUntil: null,
      expiresAt: inMs(clock, LIFETIME_MS),
      keepAliveAt: createdAt,
      state: 'available',
    }
    assert.deepEqual(await server.show(keyId), free)
    await clock.advance(1234)
    const { blockedUntil } = await server.draw()
    const blockedAt = inMs(clock, 0)
    const leased = { ...free, isBlocked: true, blockedAt, blockedUntil, state: 'leased' }
    assert.deepEqual(await server.show(keyId), leased)
    await clock.advance(LEASE_TTL_MS - 1)
    assert.deepEqual(await server.show(keyId), leased)
    await clock.advance(1)
    assert.deepEqual(await server.show(keyId), free)
  })

  test('shows a lease that the end of the key will cut', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const keyId = await server.create()
    const expiresAt = inMs(clock, LIFETIME_MS)
    await clock.advance(LIFETIME_MS - 1000)
    assert.equal((await server.draw()).blockedUntil, expiresAt)
    assert.equal((await server.show(keyId)).blockedUntil, expiresAt)
    await server.ask('PUT', `/keepalive/${keyId}`)
    assert.equal((await server.show(keyId)).blockedUntil, inMs(clock, LEASE_TTL_MS))
  })

  test('ends with the millisecond of the death, and not before', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock, policy: { keyLifetimeMs: 1000 } })
    const keyId = await server.create()
    await clock.advance(999)
    assert.equal(await server.status('GET', `/keys/${keyId}`), 200)
    await clock.advance(1)
    for (const [method, path] of idRoutes(keyId)) {
      const { status, body } = await server.ask(method, path)
      assert.deepEqual([status, body], [404, {}], method)
    }
    assert.equal(await server.status('GET', '/keys'), 404)
  })

  test('shows a cooldown', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock, policy: { cooldownMs: 500 } })
    const keyId = await server.create()
    await server.draw()
    await server.ask('PUT', `/keys/${keyId}`)
    const { isBlocked, blockedAt, blockedUntil, state } = await server.show(keyId)
    assert.deepEqual([isBlocked, blockedAt, blockedUntil, state], [false, null, null, 'cooling'])
    assert.equal((await server.ask('GET', '/keys')).headers['retry-after'], '1')
    await clock.advance(500)
    assert.equal((await server.show(keyId)).state, 'available')
  })

  test('knows a key in upper case too', async () => {
    await using server = await TestServer.start()
    const keyId = await server.create()
    assert.equal((await server.show(keyId.toUpperCase())).keyId, keyId)
  })
})

suite('PUT /keys/:id', () => {
  test('frees a leased key, once', async () => {
    await using server = await TestServer.start()
    const path = `/keys/${await server.create()}`
    assert.equal(await server.status('PUT', path), 404)
    const first = await server.draw()
    assert.deepEqual((await server.ask('PUT', path)).body, {})
    const again = await server.ask('PUT', path)
    assert.deepEqual([again.status, again.body], [404, {}])
    assert.notEqual((await server.draw()).leaseId, first.leaseId)
  })

  test('with a lease id frees only that lease', async () => {
    await using server = await TestServer.start()
    const keyId = await server.create()
    const path = `/keys/${keyId}`
    const past = (await server.draw()).leaseId
    assert.equal(await server.status('PUT', `${path}?leaseId=${past}`), 200)
    const { leaseId } = await server.draw()
    for (const query of [
      `leaseId=${past}`,
      'leaseId=',
      'leaseId',
      `leaseId=${leaseId}x`,
      `leaseId=${leaseId.slice(0, -1)}`,
      `leaseId=${leaseId}&leaseId=${leaseId}`,
      `leaseId=${past}&leaseId=${leaseId}`,
      `leaseId=${keyId}`,
      'leaseId=__proto__',
      'leaseId=%00',
    ]) {
      const { status, body } = await server.ask('PUT', `${path}?${query}`)
      assert.deepEqual([status, body], [404, {}], query)
    }
    assert.equal((await server.show(keyId)).isBlocked, true)
    assert.equal(await server.status('PUT', `${path}?other=1&leaseId=${leaseId}`), 200)
  })

  test('does not take the lease of another key', async () => {
    await using server = await TestServer.start()
    await server.ask('POST', '/keys', json({ count: 2 }))
    const one = await server.draw()
    const other = await server.draw()
    assert.equal(await server.status('PUT', `/keys/${one.keyId}?leaseId=${other.leaseId}`), 404)
    assert.equal((await server.show(one.keyId)).isBlocked, true)
    assert.equal((await server.show(other.keyId)).isBlocked, true)
  })
})

test('DELETE /keys/:id ends a key, free or leased', async () => {
  await using server = await TestServer.start()
  for (const leased of [false, true]) {
    const keyId = await server.create()
    if (leased) await server.draw()
    const { status, body } = await server.ask('DELETE', `/keys/${keyId}`)
    assert.deepEqual([status, body], [200, {}])
    for (const [method, path] of idRoutes(keyId)) {
      assert.equal(await server.status(method, path), 404, method)
    }
  }
  assert.equal((await server.ask('GET', '/keys')).headers['retry-after'], undefined)
})

test('PUT /keepalive/:id gives a full lifetime from now, to a leased key too', async () => {
  const clock = new VirtualClock()
  await using server = await TestServer.start({ clock })
  const keyId = await server.create()
  const { createdAt } = await server.show(keyId)
  for (const leased of [false, true]) {
    await clock.advance(1000)
    const blockedUntil = leased ? (await server.draw()).blockedUntil : null
    const { status, body } = await server.ask('PUT', `/keepalive/${keyId}`)
    assert.deepEqual([status, body], [200, {}])
    const shown = await server.show(keyId)
    assert.equal(shown.createdAt, createdAt)
    assert.equal(shown.keepAliveAt, inMs(clock, 0))
    assert.equal(shown.expiresAt, inMs(clock, LIFETIME_MS))
    assert.equal(shown.blockedUntil, blockedUntil)
  }
})

test('a key that does not exist is a 404 {} on every route with an id', async () => {
  await using server = await TestServer.start()
  for (const [method, path] of idRoutes(NOBODY)) {
    const { status, body } = await server.ask(method, path)
    assert.deepEqual([status, body], [404, {}], `${method} ${path}`)
  }
})

test('a trailing slash is accepted', async () => {
  await using server = await TestServer.start()
  const { body } = await server.ask('POST', '/keys/')
  const { keyId } = body as { keyId: string }
  assert.equal(await server.status('GET', '/keys/'), 200)
  for (const [method, path] of idRoutes(keyId)) {
    assert.equal(await server.status(method, `${path}/`), 200, method)
  }
})
