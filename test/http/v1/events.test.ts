/** GET /v1/events: what is told to whom over HTTP, and what becomes of readers who are slow or vanish. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { TestServer } from '../../support/server.ts'
import { EventReader } from '../../support/stream.ts'
import { Holder } from '../../support/tokens.ts'
import { assertStatus, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const SECRET = 'sk-never-told'

/** Lets the server do what it does at once, then what it does in time. */
async function pass(clock: VirtualClock, ms: number): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await clock.yield()
  await clock.advance(ms)
  for (let turn = 0; turn < 50; turn++) await clock.yield()
}

suite('a stream', () => {
  test('tells each change of one pool, and neither values nor lease ids', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const reader = (await EventReader.open(server.port, '?pool=pool')).read()
    const { headers } = reader.response
    assert.equal(headers['content-type'], 'text/event-stream')
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['x-accel-buffering'], 'no')
    await pass(clock, 0)
    assert.deepEqual(await reader.next('counts'), {
      pool: 'pool',
      counts: { available: 0, leased: 0, cooling: 0, disabled: 0 },
      waiters: 0,
      nextAvailableAt: null,
      changes: {},
    })
    const [keyId] = await pool.importKeys({ value: SECRET })
    const { leaseId, fencingToken } = await pool.acquire({ holder: 'me' })
    assertStatus(await pool.ask('PATCH', `/keys/${keyId!}`, { disabled: true }), 200)
    await pass(clock, 100)
    for (const [change, token] of [
      ['created', 0],
      ['leased', fencingToken],
      ['updated', fencingToken],
    ]) {
      const expected = { pool: 'pool', change, keyId, fencingToken: token }
      assert.deepEqual(await reader.next('change'), expected)
    }
    await pass(clock, 1000)
    const counts = await reader.next('counts')
    assert.deepEqual(counts.changes, { created: 1, leased: 1, updated: 1 })
    assert.deepEqual(counts.nextAvailableAt, new Date(clock.now() - 1100 + 60_000).toISOString())
    assert.ok(!reader.text.includes(SECRET) && !reader.text.includes(leaseId))
    reader.leave()
  })

  test('without a pool tells of all that the token sees, and ends with the token', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    for (const name of ['one', 'two']) await PoolClient.make(server, {}, name)
    const admin = await Holder.first(server)
    const { id, token } = await admin.make({ scopes: ['read'], pools: ['one'] })
    const headers = { authorization: `Bearer ${token}` }
    const reader = (await EventReader.open(server.port, '', headers)).read()
    const named = (await EventReader.open(server.port, '?pools=one,two', headers)).read()
    for (const name of ['one', 'two', 'default']) {
      const asking = {
        headers: { 'content-type': 'application/json' },
        body: '{"count": 1}',
      }
      assertStatus(await admin.ask('POST', `/v1/pools/${name}/keys`, asking), 201)
    }
    await pass(clock, 2000)
    for (const one of [reader, named]) assert.equal((await one.next('counts')).pool, 'one')
    assertStatus(await admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    await pass(clock, 1000)
    for (const one of [reader, named]) {
      assert.equal((await one.next('end')).code, 'access_token_invalid')
      await one.over()
      assert.doesNotMatch(one.text, /two|default/)
    }
  })

  test('is refused where the pool is none, or hidden, or the question is two', async () => {
    await using server = await TestServer.start()
    await PoolClient.make(server, {}, 'own')
    const admin = await Holder.first(server)
    const other = await admin.holder({ scopes: ['read'], pools: ['other'] })
    const hidden = await other.ask('GET', '/v1/events?pool=own')
    const missing = await other.ask('GET', '/v1/events?pool=none')
    assert.deepEqual([hidden.status, hidden.text], [404, missing.text])
    for (const query of ['pool=a&pools=b', 'pools=', 'pools=a,,b', 'pool=a&pool=b', 'since=1']) {
      assert.equal((await admin.ask('GET', `/v1/events?${query}`)).status, 400, query)
    }
    const names = Array.from({ length: 101 }, (_, at) => `p${at}`)
    assert.equal((await admin.ask('GET', `/v1/events?pools=${String(names)}`)).status, 400)
    names.pop()
    assert.equal((await admin.ask('GET', `/v1/events?pools=${String(names)}`)).status, 200)
  })

  test('ends when the server drains', async () => {
    await using server = await TestServer.start()
    const reader = (await EventReader.open(server.port)).read()
    server.orchestrator.drain()
    assert.equal((await reader.next('end')).code, 'draining')
    await reader.over()
    assert.equal((await server.ask('GET', '/v1/events')).status, 503)
  })
})

suite('readers', () => {
  test('who vanish make room for others', async () => {
    await using server = await TestServer.start({ maxSockets: 300 })
    const readers = await Promise.all(
      Array.from({ length: 256 }, () => EventReader.open(server.port)),
    )
    const refused = await server.ask('GET', '/v1/events')
    assert.equal((refused.body as { code: string }).code, 'too_many_streams')
    assert.equal(refused.status, 429)
    for (const reader of readers) reader.leave()
    while (server.orchestrator.events.isHeard) await new Promise(setImmediate)
    ;(await EventReader.open(server.port)).leave()
  })

  test('who read nothing cost no memory, and hear that they have missed something', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    await PoolClient.make(server)
    const slow = await EventReader.open(server.port, '?pool=pool')
    const quick = (await EventReader.open(server.port, '?pool=pool')).read()
    const { orchestrator } = server
    const create = { op: 'create', count: 1000 } as const
    // Far more than what lies in the system's buffers when it stops.
    const rounds = 150
    for (let round = 0; round < rounds; round++) {
      const [created] = await orchestrator.run('pool', [create])
      assert('keyIds' in created)
      const removals = created.keyIds.map((keyId) => ({ op: 'remove', keyId }) as const)
      await pass(clock, 100)
      await orchestrator.run('pool', removals)
      await pass(clock, 100)
    }
    const changes = (reader: EventReader): number =>
      reader.events.filter(({ event }) => event === 'change').length
    assert.equal(changes(slow), 0)
    slow.read()
    for (let tries = 0; tries < 1000 && !slow.text.includes('missed'); tries++) await pass(clock, 1)
    await slow.next('missed')
    await pass(clock, 1000)
    assert.deepEqual((await slow.next('counts')).counts, {
      ...{ available: 0, leased: 0, cooling: 0, disabled: 0 },
    })
    assert.ok(slow.text.length < quick.text.length, 'all was kept for him')
    for (const reader of [slow, quick]) reader.leave()
  })

  test('who never read are cut off', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    await PoolClient.make(server)
    const slow = await EventReader.open(server.port, '?pool=pool')
    const { orchestrator } = server
    for (let round = 0; round < 400 && orchestrator.events.isHeard; round++) {
      const [created] = await orchestrator.run('pool', [{ op: 'create', count: 1000 }])
      assert('keyIds' in created)
      await pass(clock, 1000)
      const removals = created.keyIds.map((keyId) => ({ op: 'remove', keyId }) as const)
      await orchestrator.run('pool', removals)
    }
    assert.equal(orchestrator.events.isHeard, false)
    slow.read()
    await slow.over()
  })
})
