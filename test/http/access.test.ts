/** Access tokens over HTTP: what the matrix of routes does not say. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SystemClock } from '../../src/clock.ts'
import { ERRORS } from '../../src/engine/errors.ts'
import { SystemRandom } from '../../src/random.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { type Answer, exchange, json, NOBODY, TestServer } from '../support/server.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { bearer, Holder } from '../support/tokens.ts'
import { assertProblem, assertStatus, NO_LEASE, PoolClient } from '../support/v1.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

interface House extends AsyncDisposable {
  server: TestServer
  admin: Holder
}

async function open(clock = new VirtualClock()): Promise<House> {
  const server = await TestServer.start({ clock })
  const admin = await Holder.first(server)
  for (const pool of ['own', 'other']) {
    assertStatus(await admin.ask('PUT', `/v1/pools/${pool}`, json({})), 201)
  }
  return { server, admin, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

/** All of an answer that could tell one from another. */
function whole({ status, headers: { date, ...headers }, text }: Answer): object {
  assert.ok(date)
  return { status, headers, text }
}

async function waiting(server: TestServer, pool: string, count: number): Promise<void> {
  while (server.orchestrator.waiters(pool) !== count) await new Promise(setImmediate)
}

suite('a token', () => {
  test('is told once, with what it may and where it is', async () => {
    const clock = new VirtualClock()
    await using house = await open(clock)
    const { server, admin } = house
    const asking = json({
      name: 'worker 1',
      scopes: ['leases', 'read'],
      pools: ['own'],
      lifetimeMs: 3_600_000,
    })
    const answer = assertStatus(await admin.ask('POST', '/v1/tokens', asking), 201)
    const { token, ...shown } = answer.body as Record<string, string>
    assert.equal(answer.headers.location, `/v1/tokens/${shown.id!}`)
    assert.deepEqual(shown, {
      id: shown.id,
      name: 'worker 1',
      scopes: ['leases', 'read'],
      pools: ['own'],
      createdAt: new Date(clock.now()).toISOString(),
      expiresAt: new Date(clock.now() + 3_600_000).toISOString(),
    })
    const listed = await admin.ask('GET', '/v1/tokens')
    const { tokens } = listed.body as { tokens: { id: string }[] }
    assert.deepEqual(
      tokens.find(({ id }) => id === shown.id),
      shown,
    )
    assert.equal(tokens.length, 2)
    for (const hidden of [token!, token!.slice(4), server.access.authenticate(token!)!.sha256]) {
      assert.ok(!listed.text.includes(hidden))
    }
  })

  test('with a wrong wish is a 400 that says what is wrong', async () => {
    await using house = await open()
    const right = { name: 'x', scopes: ['read'] }
    const wrong: [body: object, detail: RegExp][] = [
      [{ scopes: ['read'] }, /required property 'name'/],
      [{ name: 'x' }, /required property 'scopes'/],
      [{ ...right, name: '' }, /body\/name must match/],
      [{ ...right, name: 'x'.repeat(129) }, /body\/name must match/],
      [{ ...right, name: 'naïve' }, /body\/name must match/],
      [{ ...right, name: 'two\nlines' }, /body\/name must match/],
      [{ ...right, scopes: [] }, /body\/scopes must NOT have fewer than 1/],
      [{ ...right, scopes: ['write'] }, /body\/scopes\/0 must be equal to one of the allowed/],
      [{ ...right, scopes: ['read', 'read'] }, /body\/scopes must NOT have duplicate/],
      [{ ...right, pools: 'own' }, /body\/pools must match/],
      [{ ...right, pools: ['*'] }, /body\/pools\/0 must match/],
      [{ ...right, pools: ['Own'] }, /body\/pools\/0 must match/],
      [{ ...right, pools: null }, /body\/pools must be string,array/],
      [{ ...right, pools: Array(1001).fill('a') }, /body\/pools must NOT have more than 1000/],
      [{ ...right, lifetimeMs: 0 }, /body\/lifetimeMs/],
      [{ ...right, lifetimeMs: 1e15 }, /body\/lifetimeMs/],
      [{ ...right, expiresAt: '2030-01-01T00:00:00.000Z' }, /"expiresAt"/],
      [{ ...right, scopes: ['admin'], pools: ['own'] }, /are about all pools/],
    ]
    for (const [body, detail] of wrong) {
      const answer = await house.admin.ask('POST', '/v1/tokens', json(body))
      assert.match(assertProblem(answer, 'invalid_request'), detail)
    }
    assert.equal(house.server.access.page(10).tokens.length, 1)
  })

  test('is listed in pages', async () => {
    await using house = await open()
    for (let count = 0; count < 24; count++) await house.admin.make({ scopes: ['read'] })
    const ids: string[] = []
    let cursor = ''
    for (const length of [10, 10, 5]) {
      const { body } = await house.admin.ask('GET', `/v1/tokens?limit=10&cursor=${cursor}`)
      const page = body as { tokens: { id: string }[]; nextCursor?: string }
      assert.equal(page.tokens.length, length)
      ids.push(...page.tokens.map(({ id }) => id))
      cursor = page.nextCursor ?? ''
    }
    assert.equal(cursor, '')
    assert.equal(new Set(ids).size, 25)
  })

  test('that is the last admin stays: 409, of two deleted at once one', async () => {
    await using house = await open()
    const first = house.server.access.page(1).tokens[0]!.id
    assertProblem(await house.admin.ask('DELETE', `/v1/tokens/${first}`), 'last_admin_token')
    const second = await house.admin.make({ scopes: ['admin'] })
    const answers = await Promise.all(
      [first, second.id].map((id) => house.admin.ask('DELETE', `/v1/tokens/${id}`)),
    )
    const statuses = answers.map(({ status }) => status)
    // Who deletes himself may be unknown by the time his second request is read.
    assert.ok(['204,409', '204,401', '409,204'].includes(statuses.join()), statuses.join())
    assert.equal(house.server.access.page(10).tokens.length, 1)
  })

  test('is read from its header as RFC 6750 has it', async () => {
    await using house = await open()
    const { token } = await house.admin.make({ scopes: ['read'] })
    const status = async (authorization: string): Promise<number> =>
      (await house.server.ask('GET', '/v1/pools', { headers: { authorization } })).status
    for (const right of [`Bearer ${token}`, `bearer ${token}`, `BEARER   ${token}`]) {
      assert.equal(await status(right), 200, right)
    }
    for (const wrong of [
      ...[token, `Bearer${token}`, `Bearer ${token}, Bearer ${token}`, `Bearer ${token} x`],
      ...[`Basic ${token}`, `Bearer "${token}"`, `Token ${token}`, 'Bearer', ''],
    ]) {
      assert.equal(await status(wrong), 401, wrong)
    }
    // Twice is not once, even if both are the same.
    const twice = `Authorization: Bearer ${token}\r\n`.repeat(2)
    const head = 'GET /v1/pools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
    const answer = await exchange(house.server.port, `${head}${twice}\r\n`)
    assert.ok(answer.startsWith('HTTP/1.1 401 '), answer)
  })
})

suite('open mode', () => {
  test('ends with the first token, which must be an admin that lasts', async () => {
    await using server = await TestServer.start()
    const terms = { name: 'first', scopes: ['admin'] }
    for (const weak of [
      { ...terms, scopes: ['read', 'leases:admin'] },
      { ...terms, lifetimeMs: 1000 },
    ]) {
      assertProblem(await server.ask('POST', '/v1/tokens', json(weak)), 'admin_token_first')
      assertStatus(await server.ask('GET', '/keys'), 404)
    }
    assertProblem(await server.ask('DELETE', '/v1/tokens/x'), 'token_not_found')
    assert.deepEqual((await server.ask('GET', '/v1/tokens')).body, { tokens: [] })
    const foreign = { ...json(terms), headers: { ...json(terms).headers, host: 'example.com' } }
    assertProblem(await server.ask('POST', '/v1/tokens', foreign), 'not_local')
    assertStatus(await server.ask('POST', '/v1/tokens', json(terms)), 201)
    assertProblem(await server.ask('POST', '/v1/tokens', json(terms)), 'access_token_required')
    assertProblem(await server.ask('GET', '/keys'), 'access_token_required')
  })

  test('over, callers from elsewhere and proxies are welcome, with a token', async () => {
    await using house = await open()
    const { token } = await house.admin.make({ scopes: ['read'] })
    for (const headers of [
      { host: 'keys.example.com' },
      { 'x-forwarded-for': '10.0.0.1', via: '1.1 proxy' },
      { origin: 'https://example.com', 'sec-fetch-site': 'cross-site' },
    ]) {
      const known = { headers: { ...bearer(token), ...headers } }
      assertStatus(await house.server.ask('GET', '/v1/pools', known), 200)
      assertProblem(
        await house.server.ask('GET', '/v1/pools', { headers }),
        'access_token_required',
      )
      assertStatus(await house.server.ask('GET', '/healthz', { headers }), 200)
    }
  })

  test('over, a request still has one Host', async () => {
    await using house = await open()
    for (const [version, hosts, status] of [
      ['1.1', '', 400],
      ['1.1', 'Host: a\r\nHost: b\r\n', 400],
      ['1.1', 'Host: a\r\n', 200],
      ['1.0', '', 200],
    ] as const) {
      const text = `GET /healthz HTTP/${version}\r\n${hosts}Connection: close\r\n\r\n`
      const answer = await exchange(house.server.port, text)
      assert.ok(answer.startsWith(`HTTP/1.1 ${status} `), `${version} ${hosts}: ${answer}`)
    }
  })
})

suite('a pool that is hidden', () => {
  const MEGABYTES = 'x'.repeat(9 * 2 ** 20)
  const typed = { 'content-type': 'application/json' }
  const requests: [method: string, path: string, asking?: object][] = [
    ...['', '?x=1', '/keys', '/keys?limit=0', '/keys?state=none', `/keys/${NOBODY}`, '/keys/x'].map(
      (path): [string, string] => ['GET', path],
    ),
    ['GET', `/leases/${NO_LEASE}`],
    ['PATCH', '', json({})],
    ['PATCH', '', json({ leaseTtlMs: 3_600_001 })],
    ['PATCH', '', json({ nonsense: 1 })],
    ['DELETE', ''],
    ['DELETE', '?force=true'],
    ['DELETE', '?force=perhaps'],
    ['POST', '/keys', json({ count: 1 })],
    ['POST', '/keys', json({ count: 0 })],
    ['POST', '/keys', json('{"broken')],
    ['POST', '/keys', { body: 'text', headers: { 'content-type': 'text/plain' } }],
    ['POST', '/keys', { body: MEGABYTES, headers: typed }],
    ['POST', '/keys', { ...json({ count: 1 }), headers: { ...typed, 'idempotency-key': 'a' } }],
    [
      'POST',
      '/keys',
      { ...json({ count: 1 }), headers: { ...typed, 'idempotency-key': '\u00e9' } },
    ],
    ['PATCH', `/keys/${NOBODY}`, json({ disabled: true })],
    ['DELETE', `/keys/${NOBODY}`],
    ['DELETE', `/keys/${NOBODY}/lease`],
    ['POST', `/keys/${NOBODY}/keepalive`],
    ['POST', '/leases', json({})],
    ['POST', '/leases', json({ waitMs: 60_000 })],
    ['POST', '/leases', json({ waitMs: 60_001 })],
    ['POST', '/leases', json({ ttlMs: 3_600_001 })],
    ['POST', `/leases/${NO_LEASE}/renew`],
    ['POST', `/leases/${NO_LEASE}/release`, json({ outcome: 'none' })],
    ['POST', '/batch', json({ operations: [] })],
    ['POST', '/batch', json({ operations: [{ op: 'acquire', count: 5 }] })],
    ['POST', '/batch', json({ operations: [{ op: 'nothing' }] })],
    ['TRACE', ''],
  ]

  test('is answered in all things as one that does not exist', async () => {
    await using house = await open()
    await new PoolClient(house.server, 'other').send('POST', '/keys', {
      ...json({ count: 3 }),
      headers: { ...house.admin.headers, ...typed },
    })
    const scopes = ['read', 'keys:write', 'pools:write', 'leases', 'leases:admin']
    const narrow = await house.admin.holder({ scopes, pools: ['own'] })
    for (const [method, path, asking = {}] of requests) {
      const hidden = await narrow.ask(method, `/v1/pools/other${path}`, asking)
      const missing = await house.admin.ask(method, `/v1/pools/nowhere${path}`, asking)
      const both = await narrow.ask(method, `/v1/pools/nowhere${path}`, asking)
      const what = `${method} ${path}`
      assert.deepEqual(whole(hidden), whole(missing), what)
      assert.deepEqual(whole(both), whole(missing), what)
      if (method !== 'TRACE') assertProblem(hidden, 'pool_not_found')
    }
    const { body } = await house.admin.ask('GET', '/v1/pools/other')
    const { counts } = body as { counts: object }
    assert.deepEqual(counts, { available: 3, leased: 0, cooling: 0, disabled: 0 })
  })

  test('cannot be made, and whether it is there is not told by that', async () => {
    await using house = await open()
    const narrow = await house.admin.holder({ scopes: ['pools:write'], pools: ['own', 'new'] })
    for (const asking of [json({}), json({ nonsense: 1 }), json({ leaseTtlMs: 3_600_001 })]) {
      const answers = await Promise.all(
        ['other', 'nowhere', 'BAD NAME'].map((pool) =>
          narrow.ask('PUT', `/v1/pools/${encodeURIComponent(pool)}`, asking),
        ),
      )
      for (const answer of answers) {
        assertProblem(answer, 'pool_not_found')
        assert.deepEqual(whole(answer), whole(answers[0]!))
      }
    }
    assertStatus(await house.admin.ask('GET', '/v1/pools/nowhere'), 404)
    assertStatus(await narrow.ask('PUT', '/v1/pools/new', json({})), 201)
    assertStatus(await narrow.ask('DELETE', '/v1/pools/own'), 204)
    assertStatus(await narrow.ask('PUT', '/v1/pools/own', json({})), 201)
  })

  test('is in no list', async () => {
    await using house = await open()
    const pools = ['own', 'b', 'a', 'missing']
    for (const pool of ['a', 'b']) await house.admin.ask('PUT', `/v1/pools/${pool}`, json({}))
    const narrow = await house.admin.holder({ scopes: ['read'], pools })
    const names = async (path: string): Promise<[string[], string | undefined]> => {
      const { body } = assertStatus(await narrow.ask('GET', path), 200)
      const page = body as { pools: { name: string; policy: object }[]; nextCursor?: string }
      for (const { policy } of page.pools) assert.ok('leaseTtlMs' in policy)
      return [page.pools.map(({ name }) => name), page.nextCursor]
    }
    assert.deepEqual(await names('/v1/pools'), [['own', 'b', 'a'], undefined])
    assert.deepEqual(await names('/v1/pools?limit=2'), [['own', 'b'], 'b'])
    assert.deepEqual(await names('/v1/pools?limit=2&cursor=b'), [['a'], undefined])
    assertProblem(await narrow.ask('GET', '/v1/pools?cursor=other'), 'invalid_cursor')
    assertProblem(await narrow.ask('GET', '/v1/pools?cursor=0'), 'invalid_cursor')
    const blind = await house.admin.holder({ scopes: ['read'], pools: [] })
    assert.deepEqual((await blind.ask('GET', '/v1/pools')).body, { pools: [] })
    assert.equal(
      ((await house.admin.ask('GET', '/v1/pools')).body as { pools: [] }).pools.length,
      5,
    )
  })

  test('if it is default, the classic API has nothing to give', async () => {
    await using house = await open()
    const scopes = ['read', 'keys:write', 'leases']
    const narrow = await house.admin.holder({ scopes, pools: ['own'] })
    const { keyId } = (await house.admin.ask('POST', '/keys')).body as { keyId: string }
    for (const [method, path] of [
      ...(['GET', 'PUT', 'DELETE'] as const).map((method) => [method, `/keys/${keyId}`] as const),
      ['PUT', `/keepalive/${keyId}`],
      ['GET', '/keys'],
    ] as const) {
      const { status, text, headers } = await narrow.ask(method, path)
      assert.deepEqual([status, text, headers['retry-after']], [404, '{}', undefined], path)
    }
    for (const asking of [{}, json({ count: 1 }), json({ count: 0 }), json('{"broken')]) {
      const detail = assertProblem(await narrow.ask('POST', '/keys', asking), 'pool_not_found')
      assert.equal(detail, ERRORS.pool_not_found.advice)
    }
    const { body } = await house.admin.ask('GET', `/keys/${keyId}`)
    assert.equal((body as { state: string }).state, 'available')
  })
})

suite('in a batch', () => {
  test('each operation needs the scope of its single route; the rest go on', async () => {
    await using house = await open()
    const { admin } = house
    const made = await admin.ask('POST', '/v1/pools/own/keys', json({ count: 2 }))
    const [keyId] = (made.body as { keyIds: string[] }).keyIds
    const operations = [
      { op: 'acquire', count: 1 },
      { op: 'keepAlive', keyId },
      { op: 'renew', leaseId: NO_LEASE },
      { op: 'keepAlive', keyId: NOBODY },
      { op: 'release', leaseId: NO_LEASE },
    ]
    const run = async (scopes: string[], asked: object[] = operations): Promise<object[]> => {
      const holder = await admin.holder({ scopes, pools: ['own'] })
      const asking = json({ operations: asked })
      const { body } = assertStatus(await holder.ask('POST', '/v1/pools/own/batch', asking), 200)
      return (body as { results: object[] }).results
    }
    const statuses = (results: object[]): unknown[] =>
      results.map((result) => [
        (result as { status: number }).status,
        (result as { code?: string }).code,
      ])
    const done = [[200, undefined]] as const
    const lacks = [403, 'missing_scope'] as const
    const noKey = [404, 'key_not_found']
    const noLease = [404, 'lease_not_found']
    const results = await run(['keys:write'])
    assert.deepEqual(statuses(results), [lacks, ...done, lacks, noKey, lacks])
    assert.deepEqual(results[0], {
      title: 'The access token lacks a scope.',
      status: 403,
      code: 'missing_scope',
      detail: 'It needs the scope leases.',
    })
    const all = [[201, undefined], ...done, noLease, noKey, noLease]
    assert.deepEqual(statuses(await run(['leases'])), all)
    assert.deepEqual(statuses(await run(['leases:admin'])).slice(1), all.slice(1))
    assert.deepEqual(statuses(await run(['keys:write'], [operations[0]!])), [lacks])
    const holder = await admin.holder({ scopes: ['keys:write'], pools: ['own'] })
    const asking = json({ operations: [operations[0]!] })
    assertProblem(await holder.ask('POST', '/v1/pools/other/batch', asking), 'pool_not_found')
  })
})

test('an Idempotency-Key is one of its token', async () => {
  await using house = await open()
  const scopes = ['keys:write']
  const [a, b] = [await house.admin.holder({ scopes }), await house.admin.holder({ scopes })]
  const typed = json({ count: 1 })
  const asking = { ...typed, headers: { ...typed.headers, 'idempotency-key': 'same' } }
  const ids: string[] = []
  for (const holder of [a, b, a, b]) {
    const { body } = assertStatus(await holder.ask('POST', '/v1/pools/own/keys', asking), 201)
    ids.push((body as { keyIds: [string] }).keyIds[0])
  }
  assert.deepEqual([ids[2], ids[3]], [ids[0], ids[1]])
  assert.notEqual(ids[0], ids[1])
})

suite('who waits', () => {
  const asking = json({ waitMs: 60_000 })

  test('and has no token any more when a key comes goes without: 401, and the next gets it', async () => {
    const clock = new VirtualClock()
    await using house = await open(clock)
    const { server, admin } = house
    const wait = (holder: Holder): Promise<Answer> =>
      holder.ask('POST', '/v1/pools/own/leases', asking)
    const { id, token } = await admin.make({ scopes: ['leases'] })
    const expiring = await admin.holder({ scopes: ['leases'], lifetimeMs: 5000 })
    const staying = await admin.holder({ scopes: ['leases'] })
    const answers: Promise<Answer>[] = []
    for (const holder of [new Holder(server, bearer(token)), expiring, staying]) {
      answers.push(wait(holder))
      await waiting(server, 'own', answers.length)
    }
    assertStatus(await admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    await clock.advance(5000)
    assertStatus(await admin.ask('POST', '/v1/pools/own/keys', json({ count: 1 })), 201)
    const [deleted, expired, served] = await Promise.all(answers)
    for (const answer of [deleted!, expired!]) {
      assertProblem(answer, 'access_token_invalid')
      assert.match(answer.headers['www-authenticate']!, /^Bearer .*error="invalid_token"$/)
    }
    assertStatus(served!, 201)
    const { body } = await admin.ask('GET', '/v1/pools/own')
    assert.equal((body as { counts: { leased: number } }).counts.leased, 1)
  })

  test('in vain is not told of the pool by then', async () => {
    const clock = new VirtualClock()
    await using house = await open(clock)
    const { id, token } = await house.admin.make({ scopes: ['leases'] })
    const holder = new Holder(house.server, bearer(token))
    const answer = holder.ask('POST', '/v1/pools/own/leases', asking)
    await waiting(house.server, 'own', 1)
    assertStatus(await house.admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    await clock.advance(60_000)
    assertProblem(await answer, 'access_token_invalid')
  })

  test('since open mode needs a token by then', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const answer = pool.ask('POST', '/leases', { waitMs: 60_000 })
    await waiting(server, 'pool', 1)
    const admin = await Holder.first(server)
    assertStatus(await admin.ask('POST', '/v1/pools/pool/keys', json({ count: 1 })), 201)
    assertProblem(await answer, 'access_token_required')
  })

  test('300 without access are in nobody’s way', async () => {
    await using house = await open()
    const { id, token } = await house.admin.make({ scopes: ['leases'] })
    const gone = new Holder(house.server, bearer(token))
    const { orchestrator, access } = house.server
    const caller = access.authenticate(token)
    const patience = {
      waitMs: 60_000,
      gone: new AbortController().signal,
      bar: () => access.whyNotStill(caller),
    }
    const operation = { op: 'acquire', count: 1 } as const
    const crowd = Array.from({ length: 300 }, () =>
      orchestrator.acquireLease('own', operation, patience, null),
    )
    await waiting(house.server, 'own', 300)
    const last = house.admin.ask('POST', '/v1/pools/own/leases', asking)
    await waiting(house.server, 'own', 301)
    assertStatus(await house.admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    assertStatus(await house.admin.ask('POST', '/v1/pools/own/keys', json({ count: 1 })), 201)
    assertStatus(await last, 201)
    for (const refusal of await Promise.all(crowd)) {
      assert.deepEqual(refusal, { code: 'access_token_invalid' })
    }
    assertProblem(await gone.ask('GET', '/keys'), 'access_token_invalid')
  })
})

test('tokens outlive the server, and so does their deletion; nothing it says or keeps holds a secret', async () => {
  const disk = new SimulatedDisk()
  const kept: string[] = []
  disk.decide = ({ entries }) => {
    kept.push(JSON.stringify([...entries]))
    return Promise.resolve('committed')
  }
  const limits = { maxTotalKeys: 1000, maxPools: 10 }
  const start = (): Promise<TestServer> =>
    TestServer.start({
      openStore: (events) =>
        EmbeddedStore.open(limits, new SystemClock(), new SystemRandom(), events, (journalEvents) =>
          disk.open(journalEvents),
        ),
    })
  const secrets: string[] = []
  const logged: string[] = []
  {
    await using server = await start()
    const { token: admin } = await new Holder(server, {}).make({ scopes: ['admin'] })
    const first = new Holder(server, bearer(admin))
    const reader = await first.make({ scopes: ['read'] })
    const deleted = await first.make({ scopes: ['read'] })
    secrets.push(admin, reader.token, deleted.token)
    assertStatus(await first.ask('DELETE', `/v1/tokens/${deleted.id}`), 204)
    for (const secret of secrets) {
      await server.ask('GET', `/v1/pools/${secret}`, { headers: bearer(secret) })
      await server.ask('POST', '/v1/tokens', { ...json({ name: 1 }), headers: bearer(secret) })
    }
    logged.push(...server.logged)
  }
  await using server = await start()
  const statuses: number[] = []
  for (const secret of secrets) {
    const { status } = await server.ask('GET', '/v1/pools', { headers: bearer(secret) })
    statuses.push(status)
  }
  assert.deepEqual(statuses, [200, 200, 401])
  assertProblem(await server.ask('GET', '/v1/pools'), 'access_token_required')
  assert.match(logged.join(''), /an access token was made.*\n.*\n.*\n?.*was deleted/s)
  const said = [...logged, ...server.logged, ...kept].join('')
  assert.ok(kept.length > 3 && kept.join('').includes('sha256'))
  for (const secret of secrets) assert.ok(!said.includes(secret.slice(4)))
})
