/** Whether a key is good: what gateways and resource servers ask. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Answer, NOBODY, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import type { Scope } from '../../../src/service/scopes.ts'

const VALUE = 'sk-live-31415926'

function introspect(
  server: TestServer,
  form: Record<string, string> | string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return server.ask('POST', '/v1/introspect', {
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: new URLSearchParams(form).toString(),
  })
}

async function active(server: TestServer, token: string, pool?: string): Promise<boolean> {
  const { body } = assertStatus(
    await introspect(server, pool === undefined ? { token } : { token, pool }),
    200,
  )
  const { active, ...rest } = body as { active: boolean }
  if (!active) assert.deepEqual(rest, {}, 'of what is not good nothing more is said')
  return active
}

function verify(server: TestServer, headers: Record<string, string>): Promise<Answer> {
  return server.ask('GET', '/v1/verify', { headers })
}

async function newToken(
  server: TestServer,
  scopes: Scope[],
  pools: '*' | string[] = '*',
): Promise<string> {
  const made = await server.access.create({ name: scopes.join(), scopes, pools, lifetimeMs: null })
  assert('secret' in made, JSON.stringify(made))
  return made.secret
}

suite('POST /v1/introspect', () => {
  test('a value is good while its key is leased, and everything is said of the lease', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.importKeys({ value: VALUE })
    assert.equal(await active(server, VALUE), false)
    const lease = await pool.acquire({ holder: 'worker 7' })
    const { body } = assertStatus(await introspect(server, { token: VALUE }), 200)
    assert.deepEqual(body, {
      active: true,
      exp: Math.floor(Date.parse(lease.expiresAt) / 1000),
      iat: Math.floor(Date.parse(lease.grantedAt) / 1000),
      jti: String(lease.fencingToken),
      client_id: 'worker 7',
      pool: 'pool',
      key_id: keyId,
    })
    await pool.release(lease.leaseId)
    assert.equal(await active(server, VALUE), false)
  })

  test('from the millisecond on in which the lease or the key ends it is not', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { leaseTtlMs: 1000 })
    await pool.importKeys({ value: VALUE, lifetimeMs: 1500 })
    await pool.acquire()
    await clock.advance(999)
    assert.equal(await active(server, VALUE), true)
    await clock.advance(1)
    assert.equal(await active(server, VALUE), false)
    await pool.acquire()
    await clock.advance(499)
    assert.equal(await active(server, VALUE), true)
    await clock.advance(1)
    assert.equal(await active(server, VALUE), false)
  })

  test('of a plain key the id counts, of one with a value only that', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [plain] = await pool.create()
    await pool.acquire()
    assert.equal(await active(server, plain!), true)
    assert.equal(await active(server, plain!.toUpperCase()), true)
    const [valued] = await pool.importKeys({ value: VALUE })
    await pool.acquire()
    assert.equal(await active(server, VALUE), true)
    assert.equal(await active(server, valued!), false)
    for (const token of [NOBODY, 'constructor', '__proto__', '\0', ' ', 'x'.repeat(16_384)]) {
      assert.equal(await active(server, token), false)
    }
  })

  test('a lease without a holder has no client', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    await pool.acquire()
    const { body } = await introspect(server, { token: keyId! })
    assert(!('client_id' in (body as object)))
  })

  test('in several pools the latest grant wins; `pool` narrows it', async () => {
    await using server = await TestServer.start()
    const pools: PoolClient[] = []
    for (const name of ['one', 'two', 'three']) {
      const pool = await PoolClient.make(server, {}, name)
      await pool.importKeys({ value: VALUE })
      pools.push(pool)
    }
    for (const pool of [pools[0]!, pools[2]!, pools[1]!]) await pool.acquire()
    const poolOf = async (form: Record<string, string>): Promise<unknown> =>
      ((await introspect(server, form)).body as { pool?: string }).pool
    assert.equal(await poolOf({ token: VALUE }), 'two')
    assert.equal(await poolOf({ token: VALUE, pool: 'one' }), 'one')
    assert.equal(await active(server, VALUE, 'nowhere'), false)
    assertStatus(await server.ask('DELETE', '/v1/pools/two?force=true'), 204)
    assert.equal(await poolOf({ token: VALUE }), 'three')
  })

  test('a disabled key is good until its holder is done with it', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.importKeys({ value: VALUE })
    const { leaseId } = await pool.acquire()
    assertStatus(await pool.ask('PATCH', `/keys/${keyId!}`, { disabled: true }), 200)
    assert.equal(await active(server, VALUE), true)
    await pool.release(leaseId)
    assert.equal(await active(server, VALUE), false)
  })

  test('what is not a form with one token is a 400 that says so', async () => {
    await using server = await TestServer.start()
    for (const form of ['', 'token=', 'token=a&token=b', 'pool=pool', 'token=a&pool=b&pool=c']) {
      assertProblem(await introspect(server, form), 'invalid_request')
    }
    const asJson = await server.ask('POST', '/v1/introspect', {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token: VALUE }),
    })
    assert.match(assertProblem(asJson, 'invalid_request'), /x-www-form-urlencoded/)
    assertProblem(await server.ask('POST', '/v1/introspect'), 'invalid_request')
    // RFC 7662, 2.1: a hint may come along.
    const hinted = await introspect(server, { token: VALUE, token_type_hint: 'access_token' })
    assert.deepEqual(assertStatus(hinted, 200).body, { active: false })
  })

  test('it needs the scope, and knows nothing of pools that are hidden from its caller', async () => {
    await using server = await TestServer.start()
    for (const name of ['mine', 'theirs']) {
      const pool = await PoolClient.make(server, {}, name)
      await pool.importKeys({ value: `${VALUE}-${name}` })
      await pool.acquire()
    }
    await newToken(server, ['admin'])
    const mine = await newToken(server, ['introspect'], ['mine'])
    const read = await newToken(server, ['read'])
    const ask = async (secret: string, form: Record<string, string>): Promise<Answer> =>
      introspect(server, form, { authorization: `Bearer ${secret}` })
    const isActive = async (form: Record<string, string>): Promise<unknown> =>
      (assertStatus(await ask(mine, form), 200).body as { active: boolean }).active
    assert.equal(await isActive({ token: `${VALUE}-mine` }), true)
    assert.equal(await isActive({ token: `${VALUE}-theirs` }), false)
    assert.equal(await isActive({ token: `${VALUE}-theirs`, pool: 'theirs' }), false)
    assertProblem(await ask(read, { token: VALUE }), 'missing_scope')
    assertProblem(await introspect(server, { token: VALUE }), 'access_token_required')
  })
})

suite('GET /v1/verify', () => {
  test('a good key, in either header, is a 204 that says whose it is', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.importKeys({ value: VALUE })
    await pool.acquire({ holder: 'worker 7' })
    for (const headers of [
      { authorization: `Bearer ${VALUE}` },
      { authorization: `bearer   ${VALUE} ` },
      { 'x-api-key': VALUE },
      { 'x-api-key': VALUE, authorization: `Bearer ${VALUE}` },
      { 'x-api-key': VALUE, authorization: 'Basic c29tZTpvbmU=' },
    ]) {
      const { headers: told, text } = assertStatus(await verify(server, headers), 204)
      assert.equal(text, '')
      assert.deepEqual(
        [told['x-key-id'], told['x-pool'], told['x-holder']],
        [keyId, 'pool', 'worker 7'],
      )
    }
  })

  test('anything else is a 401, two keys too: the guarded one might heed the other', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.importKeys({ value: VALUE })
    const refused = async (headers: Record<string, string>): Promise<void> => {
      const answer = await verify(server, headers)
      assertProblem(answer, 'key_not_good')
      assert.match(answer.headers['www-authenticate']!, /^Bearer realm=/)
    }
    await refused({ 'x-api-key': VALUE }) // not leased
    await pool.acquire()
    assertStatus(await verify(server, { 'x-api-key': VALUE }), 204)
    await refused({})
    await refused({ 'x-api-key': '' })
    await refused({ 'x-api-key': `${VALUE}, ${VALUE}` })
    await refused({ authorization: VALUE })
    await refused({ authorization: `Basic ${VALUE}` })
    await refused({ authorization: 'Bearer' })
    await refused({ authorization: `Bearer ${VALUE} ${VALUE}` })
    await refused({ authorization: `Bearer ${VALUE}`, 'x-api-key': 'another' })
    await refused({ authorization: 'Bearer another', 'x-api-key': VALUE })
  })

  test('a gateway shows its own token apart, and is a 403 where that is not enough', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, {}, 'mine')
    await pool.importKeys({ value: VALUE })
    await pool.acquire()
    const admin = await newToken(server, ['admin'])
    const gateway = await newToken(server, ['introspect'], ['mine'])
    const elsewhere = await newToken(server, ['introspect'], ['other'])
    const read = await newToken(server, ['read'])
    const key = { authorization: `Bearer ${VALUE}` }
    for (const secret of [admin, gateway]) {
      assertStatus(await verify(server, { ...key, 'x-access-token': secret }), 204)
    }
    assertProblem(await verify(server, { ...key, 'x-access-token': elsewhere }), 'key_not_good')
    assertProblem(await verify(server, { 'x-access-token': gateway }), 'key_not_good')
    for (const secret of [read, 'tok_unknown', '', `${gateway}, ${gateway}`]) {
      const answer = await verify(server, { ...key, 'x-access-token': secret })
      assertProblem(answer, 'gateway_not_trusted')
    }
    assertProblem(await verify(server, key), 'gateway_not_trusted')
    // Its own token is no key, and a key is no token.
    assertProblem(
      await verify(server, { 'x-api-key': gateway, 'x-access-token': gateway }),
      'key_not_good',
    )
    assertProblem(await verify(server, { ...key, 'x-access-token': VALUE }), 'gateway_not_trusted')
  })

  test('where it cannot be told it is a 403', async () => {
    await using server = await TestServer.start()
    server.orchestrator.find = () => Promise.reject(new Error('the disk is gone'))
    const answer = await verify(server, { 'x-api-key': VALUE })
    assertProblem(answer, 'cannot_verify')
  })
})
