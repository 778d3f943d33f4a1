/** What holds of every request of the v1 API: what is checked first, how much is read, which methods. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { json, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, NO_LEASE, PoolClient } from '../../support/v1.ts'

suite('the order of checks', () => {
  const routes: [string, string][] = [
    ['PATCH', ''],
    ['POST', '/keys'],
    ['PATCH', '/keys/nobody'],
    ['POST', '/leases'],
    ['POST', `/leases/${NO_LEASE}/renew`],
    ['POST', `/leases/${NO_LEASE}/release`],
    ['POST', '/batch'],
  ]

  test('a pool that is not there comes before the body', async () => {
    await using server = await TestServer.start()
    const pool = new PoolClient(server, 'nobody')
    for (const [method, path] of routes) {
      for (const body of ['{"broken', '{"typo": 1}', '{}', '[]']) {
        assertProblem(await pool.ask(method, path, body), 'pool_not_found')
      }
      const text = { headers: { 'content-type': 'text/plain' }, body: 'text' }
      assertProblem(await pool.send(method, path, text), 'pool_not_found')
    }
    const gets = ['', '/keys', '/keys?limit=0', '/keys/nobody', `/leases/${NO_LEASE}`]
    for (const path of gets) assertProblem(await pool.ask('GET', path), 'pool_not_found')
    assertProblem(await pool.ask('DELETE', '?force=maybe'), 'pool_not_found')
  })

  test('the body comes before the policy', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { maxLeaseTtlMs: 60_000 })
    const wrong = { leaseTtlMs: 60_001, typo: 1 }
    for (const method of ['PUT', 'PATCH']) {
      assertProblem(await pool.ask(method, '', wrong), 'invalid_request')
    }
    const tooLong = { ttlMs: 60_001 }
    assertProblem(await pool.ask('POST', '/leases', { ...tooLong, typo: 1 }), 'invalid_request')
    assertProblem(await pool.ask('POST', '/leases', tooLong), 'ttl_too_long')
  })

  test('a body that is not said to be JSON is a 400, not ignored', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'gar bage']) {
      const asking = { headers: { 'content-type': type }, body: '{"ttlMs":5}' }
      for (const path of ['/leases', '/keys', '/batch']) {
        assert.match(
          assertProblem(await pool.send('POST', path, asking), 'invalid_request'),
          /JSON/,
        )
      }
    }
    assert.equal((await pool.show()).counts.available, 1)
    const typed = { headers: { 'content-type': 'text/plain' }, body: '' }
    assertStatus(await pool.send('POST', '/leases', typed), 201)
    await pool.create()
    const suffixed = { headers: { 'content-type': 'application/x+json; charset=utf-8' } }
    assertStatus(await pool.send('POST', '/leases', { ...suffixed, body: '{"ttlMs":5}' }), 201)
  })

  test('what is wrong with it is told in full', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const { leaseId } = await pool.acquire()
    for (const [path, body, told] of [
      [`/leases/${leaseId}/release`, { outcome: 'great' }, /values: "ok", /],
      [`/keys/${keyId!}/keepalive`, { lifetimeMs: 5 }, /"lifetimeMs"/],
      ['/keys', undefined, /^The body is missing: body must be object\.$/],
      ['/leases', { ttlMs: null }, /ttlMs must be integer/],
    ] as const) {
      assert.match(assertProblem(await pool.ask('POST', path, body), 'invalid_request'), told)
    }
  })

  test('a body of more than 64 KiB is a 413 that says how many bytes there may be', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const padded = (bytes: number): string => `{}${' '.repeat(bytes - 2)}`
    for (const [method, path] of [
      ['PUT', ''],
      ['PATCH', ''],
      ['POST', '/leases'],
    ] as const) {
      assert.notEqual((await pool.ask(method, path, padded(65_536))).status, 413)
      const tooLarge = await pool.ask(method, path, padded(65_537))
      assert.match(assertProblem(tooLarge, 'body_too_large'), /\b65536 bytes/)
    }
  })
})

test('what is no pool is on no route, however it is spelt', async () => {
  await using server = await TestServer.start()
  const names = ['constructor', '__proto__', 'toString', '%00', 'x'.repeat(3000), 'DEFAULT', '%2e']
  for (const name of [...names, 'default%20', 'default%00', '*', ':pool', '%F0%9F%94%91']) {
    const pool = new PoolClient(server, name)
    for (const path of ['', '/keys', '/keys/x', '/leases/x']) {
      assertProblem(await pool.ask('GET', path), 'pool_not_found')
    }
    assertProblem(await pool.ask('DELETE', '?force=true'), 'pool_not_found')
    assertProblem(await pool.ask('POST', '/leases', {}), 'pool_not_found')
  }
  for (const name of ['%zz', '%', '%c0%ae']) {
    const answer = await new PoolClient(server, name).ask('GET', '')
    assert.match(assertProblem(answer, 'invalid_request'), /^A % in a path/)
  }
})

test('other methods are a 405 that says which there are; HEAD changes nothing', async () => {
  await using server = await TestServer.start()
  const pool = await PoolClient.make(server)
  const [keyId] = await pool.create()
  const { leaseId } = await pool.acquire()
  const shown = await pool.show()
  const allowed: [string, string][] = [
    [pool.path, 'PUT, PATCH, GET, DELETE'],
    ['/v1/pools', 'GET'],
    [`${pool.path}/keys`, 'POST, GET'],
    [`${pool.path}/keys/${keyId!}`, 'GET, PATCH, DELETE'],
    [`${pool.path}/keys/${keyId!}/keepalive`, 'POST'],
    [`${pool.path}/keys/${keyId!}/lease`, 'DELETE'],
    [`${pool.path}/leases`, 'POST, GET, DELETE'],
    [`${pool.path}/leases/${leaseId}`, 'GET'],
    [`${pool.path}/leases/${leaseId}/renew`, 'POST'],
    [`${pool.path}/leases/${leaseId}/release`, 'POST'],
    [`${pool.path}/batch`, 'POST'],
  ]
  for (const [path, methods] of allowed) {
    for (const method of ['HEAD', 'OPTIONS', 'TRACE', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      if (methods.split(', ').includes(method)) continue
      for (const body of [undefined, '{"broken']) {
        const asking = body === undefined ? {} : json(body)
        const answer = await server.ask(method, path, asking)
        assert.equal(answer.status, 405, `${method} ${path}`)
        assert.equal(answer.headers.allow, methods)
        if (method !== 'HEAD') assertProblem(answer, 'method_not_allowed')
      }
    }
  }
  assert.deepEqual(await pool.show(), shown)
})
