/** Pools of the v1 API, sentence by sentence. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DEFAULT_POLICY } from '../../../src/engine/policy.ts'
import { TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const EVERY_FIELD = {
  keyLifetimeMs: null,
  leaseTtlMs: 1,
  maxLeaseTtlMs: 2,
  maxLeaseTotalMs: 3,
  cooldownMs: 4,
  expiredLeaseCooldownMs: 5,
  failureCooldownMs: 6,
  maxFailureCooldownMs: 7,
  maxKeys: 8,
  shards: 9,
}

async function policyOf(pool: PoolClient): Promise<object> {
  return (await pool.show()).policy
}

suite('PUT /v1/pools/{pool}', () => {
  test('creates a pool with the policy of the table', async () => {
    await using server = await TestServer.start()
    const pool = new PoolClient(server, 'build.agents_2-x')
    const { headers, body } = assertStatus(await pool.ask('PUT', '', {}), 201)
    assert.equal(headers.location, pool.path)
    const policy = {
      keyLifetimeMs: 300_000,
      leaseTtlMs: 60_000,
      maxLeaseTtlMs: 3_600_000,
      maxLeaseTotalMs: null,
      cooldownMs: 0,
      expiredLeaseCooldownMs: 0,
      failureCooldownMs: 30_000,
      maxFailureCooldownMs: 3_600_000,
      maxKeys: 10_000_000,
      shards: 1,
    }
    assert.deepEqual(body, { name: 'build.agents_2-x', policy })
  })

  test('replaces the whole policy: what is not said is the default again', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, EVERY_FIELD)
    assert.deepEqual(await policyOf(pool), EVERY_FIELD)
    const { headers, body } = assertStatus(await pool.ask('PUT', '', { cooldownMs: 9 }), 200)
    assert.equal(headers.location, undefined)
    // Those are fixed where they count, so nobody has to repeat them.
    const policy = { ...DEFAULT_POLICY, cooldownMs: 9, shards: 9 }
    assert.deepEqual(body, { name: 'pool', policy })
    assert.deepEqual(await policyOf(pool), policy)
  })

  test('keeps the keys and leases that are there', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(2)
    const { leaseId } = await pool.acquire()
    await pool.ask('PUT', '', {})
    const { available, leased } = (await pool.show()).counts
    assert.deepEqual([available, leased], [1, 1])
    await pool.lease(leaseId)
  })

  test('takes names of 1 to 64 of a-z 0-9 . _ - that begin with a letter or digit', async () => {
    await using server = await TestServer.start()
    for (const name of ['a', '0', 'a'.repeat(64), 'constructor', 'a..b', '9-._']) {
      const pool = new PoolClient(server, name)
      assertStatus(await pool.ask('PUT', '', {}), 201)
      assertStatus(await pool.ask('DELETE', ''), 204)
    }
    const refused = ['A', '-a', '.a', '_a', 'a'.repeat(65), 'x'.repeat(3000), '__proto__', '%00']
    for (const name of [...refused, 'a%0A', 'a%20b', 'a%2Fb', '%C3%A4', 'a%00', '*', 'a:b']) {
      const pool = new PoolClient(server, name)
      assertProblem(await pool.ask('PUT', '', {}), 'invalid_pool_name')
    }
  })

  test('refuses more pools than the server holds', async () => {
    await using server = await TestServer.start()
    for (let number = 1; number < 10; number++) {
      await PoolClient.make(server, {}, `pool${String(number)}`)
    }
    assertProblem(await new PoolClient(server, 'ten').ask('PUT', '', {}), 'too_many_pools')
    await new PoolClient(server, 'pool1').ask('DELETE', '')
    await PoolClient.make(server, {}, 'ten')
  })
})

suite('PATCH /v1/pools/{pool}', () => {
  test('merges', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, EVERY_FIELD)
    const { body } = assertStatus(await pool.ask('PATCH', '', { keyLifetimeMs: 9 }), 200)
    const policy = { ...EVERY_FIELD, keyLifetimeMs: 9 }
    assert.deepEqual(body, { name: 'pool', policy })
    await pool.ask('PATCH', '', { maxLeaseTotalMs: null })
    assert.deepEqual(await policyOf(pool), { ...policy, maxLeaseTotalMs: null })
    assert.deepEqual(assertStatus(await pool.ask('PATCH', '', {}), 200).body, {
      name: 'pool',
      policy: { ...policy, maxLeaseTotalMs: null },
    })
  })

  test('makes no pool', async () => {
    await using server = await TestServer.start()
    const pool = new PoolClient(server, 'nobody')
    assertProblem(await pool.ask('PATCH', '', {}), 'pool_not_found')
    assertProblem(await pool.ask('GET', ''), 'pool_not_found')
  })

  test('counts from the next event on: deadlines that are set stay', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const { leaseId, expiresAt } = await pool.acquire()
    const before = await pool.key(keyId!)
    await pool.ask('PATCH', '', { leaseTtlMs: 5, keyLifetimeMs: 7, cooldownMs: 3 })
    assert.deepEqual(await pool.key(keyId!), before)
    assert.equal((await pool.lease(leaseId)).expiresAt, expiresAt)
    await pool.release(leaseId)
    assert.equal(await pool.state(keyId!), 'cooling')
    await clock.advance(3)
    assert.equal((await pool.acquire()).expiresInMs, 5)
  })

  test('lowering maxKeys only refuses creates', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(3)
    await pool.ask('PATCH', '', { maxKeys: 2 })
    assert.equal((await pool.show()).counts.available, 3)
    assertProblem(await pool.ask('POST', '/keys', { count: 1 }), 'pool_full')
    await pool.acquire()
  })
})

suite('a policy', () => {
  test('that contradicts itself is a 422 that says how, and changes nothing', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    for (const [policy, detail] of [
      [{ leaseTtlMs: 11, maxLeaseTtlMs: 10 }, /leaseTtlMs is above maxLeaseTtlMs: 11 > 10/],
      [{ maxLeaseTotalMs: 59_999 }, /leaseTtlMs is above maxLeaseTotalMs: 60000 > 59999/],
      [{ failureCooldownMs: 3_600_001 }, /failureCooldownMs is above maxFailureCooldownMs/],
    ] as const) {
      for (const method of ['PUT', 'PATCH']) {
        assert.match(assertProblem(await pool.ask(method, '', policy), 'invalid_policy'), detail)
      }
      const fresh = new PoolClient(server, 'fresh')
      assertProblem(await fresh.ask('PUT', '', policy), 'invalid_policy')
      assertProblem(await fresh.ask('GET', ''), 'pool_not_found')
      assertProblem(await fresh.ask('PATCH', '', policy), 'pool_not_found')
    }
    assert.deepEqual(await policyOf(pool), DEFAULT_POLICY)
  })

  test('with a PATCH contradicts by what is there already', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { leaseTtlMs: 10, maxLeaseTtlMs: 20 })
    assertProblem(await pool.ask('PATCH', '', { leaseTtlMs: 21 }), 'invalid_policy')
    assertProblem(await pool.ask('PATCH', '', { maxLeaseTtlMs: 9 }), 'invalid_policy')
    assertStatus(await pool.ask('PATCH', '', { leaseTtlMs: 21, maxLeaseTtlMs: 21 }), 200)
  })

  test('is a 400 that names the field where it is unknown or out of range', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const tenYears = 10 * 365.25 * 24 * 3_600_000
    const bodies: [object | string, RegExp][] = [
      [{ leaseTtl: 5 }, /"leaseTtl"/],
      [{ name: 'other' }, /"name"/],
      ['{"__proto__": {"leaseTtlMs": 5}}', /"__proto__"/],
      ['{"constructor": 5}', /"constructor"/],
      [{ leaseTtlMs: null }, /leaseTtlMs/],
      [{ leaseTtlMs: 0 }, /leaseTtlMs/],
      [{ leaseTtlMs: 1.5 }, /leaseTtlMs/],
      [{ leaseTtlMs: '60000' }, /leaseTtlMs/],
      [{ maxLeaseTtlMs: tenYears + 1 }, /maxLeaseTtlMs/],
      ['{"maxLeaseTtlMs": 1e400}', /maxLeaseTtlMs/],
      [{ maxLeaseTotalMs: 0 }, /maxLeaseTotalMs/],
      [{ keyLifetimeMs: -1 }, /keyLifetimeMs/],
      [{ cooldownMs: -1 }, /cooldownMs/],
      [{ cooldownMs: null }, /cooldownMs/],
      [{ expiredLeaseCooldownMs: true }, /expiredLeaseCooldownMs/],
      [{ maxKeys: 0 }, /maxKeys/],
      [{ maxKeys: 10_000_001 }, /maxKeys/],
      ['[]', /object/],
      ['null', /object/],
      ['{"leaseTtlMs": 5', /JSON/],
    ]
    for (const [body, detail] of bodies) {
      for (const method of ['PUT', 'PATCH']) {
        assert.match(assertProblem(await pool.ask(method, '', body), 'invalid_request'), detail)
      }
    }
    assertProblem(await pool.ask('PUT', ''), 'invalid_request')
    assert.deepEqual(await policyOf(pool), DEFAULT_POLICY)
    assertStatus(await pool.ask('PATCH', '', { maxLeaseTtlMs: tenYears, cooldownMs: 0 }), 200)
  })
})

suite('DELETE /v1/pools/{pool}', () => {
  test('ends an empty pool', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const { text } = assertStatus(await pool.ask('DELETE', ''), 204)
    assert.equal(text, '')
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      assertProblem(await pool.ask(method, '', method === 'GET' ? undefined : {}), 'pool_not_found')
    }
  })

  test('of a pool with keys needs force, and is at once', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(10_000)
    for (const query of ['', '?force=false']) {
      assert.match(assertProblem(await pool.ask('DELETE', query), 'pool_not_empty'), /\?force=true/)
    }
    assert.equal((await pool.show()).counts.available, 10_000)
    assertStatus(await pool.ask('DELETE', '?force=true'), 204)
    for (const path of ['', '/keys']) {
      assertProblem(await pool.ask('GET', path), 'pool_not_found')
    }
    assertProblem(await pool.ask('POST', '/leases', {}), 'pool_not_found')
  })

  test('needs no force where all keys are dead', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 10 })
    await pool.create(100)
    await clock.advance(10)
    assertStatus(await pool.ask('DELETE', ''), 204)
  })

  test('takes force as true or false only', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    for (const query of [
      '?force',
      '?force=',
      '?force=1',
      '?force=true&force=true',
      '?Force=true',
    ]) {
      assertProblem(await pool.ask('DELETE', query), 'invalid_request')
    }
    assert.equal((await pool.show()).counts.available, 1)
  })

  test('leaves lease and key ids that never match a later pool of that name', async () => {
    await using server = await TestServer.start()
    const past = await PoolClient.make(server)
    const [keyId] = await past.create()
    const { leaseId } = await past.acquire()
    await past.ask('DELETE', '?force=true')
    const pool = await PoolClient.make(server)
    const assertEnded = async (): Promise<void> => {
      assertProblem(await pool.ask('GET', `/leases/${leaseId}`), 'lease_ended')
      assertProblem(await pool.renew(leaseId), 'lease_ended')
      assert.deepEqual(await pool.release(leaseId, { outcome: 'invalid' }), {
        released: false,
        reason: 'unknown',
      })
      assertProblem(await pool.ask('GET', `/keys/${keyId!}`), 'key_not_found')
    }
    await assertEnded()
    const [successor] = await pool.create() // may take the slot
    await pool.acquire()
    await assertEnded()
    assert.equal(await pool.state(successor!), 'leased')
  })

  test('of default empties it and keeps its policy', async () => {
    await using server = await TestServer.start({ policy: { cooldownMs: 77 } })
    const pool = new PoolClient(server, 'default')
    const [keyId] = await pool.create(3)
    const { leaseId } = await pool.acquire()
    assertProblem(await pool.ask('DELETE', ''), 'pool_not_empty')
    assertStatus(await pool.ask('DELETE', '?force=true'), 204)
    const { policy, counts } = await pool.show()
    assert.deepEqual(policy, { ...DEFAULT_POLICY, cooldownMs: 77 })
    assert.deepEqual(counts, { available: 0, leased: 0, cooling: 0, disabled: 0 })
    assertProblem(await pool.ask('GET', `/keys/${keyId!}`), 'key_not_found')
    assertProblem(await pool.ask('GET', `/leases/${leaseId}`), 'lease_ended')
    assertStatus(await pool.ask('DELETE', ''), 204)
    await pool.create()
    await pool.acquire()
  })
})

suite('GET /v1/pools/{pool}', () => {
  test('shows the policy and explains availability', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 500, keyLifetimeMs: null })
    const none = { available: 0, leased: 0, cooling: 0, disabled: 0 }
    const empty = {
      name: 'pool',
      policy: { ...DEFAULT_POLICY, cooldownMs: 500, keyLifetimeMs: null },
      counts: none,
      waiters: 0,
      nextAvailableAt: null,
      unavailable: 'pool_empty',
    }
    assert.deepEqual(await pool.show(), empty)
    const [first] = await pool.create()
    assert.deepEqual(await pool.show(), {
      ...empty,
      counts: { ...none, available: 1 },
      unavailable: null,
    })
    const { leaseId, expiresAt } = await pool.acquire({ ttlMs: 1000 })
    const exhausted = { ...empty, unavailable: 'pool_exhausted' }
    assert.deepEqual(await pool.show(), {
      ...exhausted,
      counts: { ...none, leased: 1 },
      nextAvailableAt: expiresAt,
    })
    await pool.release(leaseId)
    assert.deepEqual(await pool.show(), {
      ...exhausted,
      counts: { ...none, cooling: 1 },
      nextAvailableAt: new Date(clock.now() + 500).toISOString(),
    })
    await pool.ask('PATCH', `/keys/${first!}`, { disabled: true })
    assert.deepEqual(await pool.show(), { ...empty, counts: { ...none, disabled: 1 } })
  })

  test('counts nothing that is over, however late anyone looks', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 1000 })
    await pool.create(2)
    await pool.acquire({ ttlMs: 999 })
    await clock.advance(999)
    assert.deepEqual((await pool.show()).counts, { ...(await pool.show()).counts, available: 2 })
    await clock.advance(1)
    assert.equal((await pool.show()).unavailable, 'pool_empty')
  })
})

suite('GET /v1/pools', () => {
  test('lists pools with their policies', async () => {
    await using server = await TestServer.start()
    await PoolClient.make(server, { cooldownMs: 1 }, 'b')
    const { body } = assertStatus(await server.ask('GET', '/v1/pools'), 200)
    assert.deepEqual(body, {
      pools: [
        { name: 'default', policy: DEFAULT_POLICY },
        { name: 'b', policy: { ...DEFAULT_POLICY, cooldownMs: 1 } },
      ],
    })
  })

  test('goes through them by cursor, each once while others come and go', async () => {
    await using server = await TestServer.start()
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    for (const name of names) await PoolClient.make(server, {}, name)
    await new PoolClient(server, 'a').ask('DELETE', '')
    const seen: string[] = []
    let query = '?limit=2'
    for (let page = 0; query !== ''; page++) {
      const { body } = assertStatus(await server.ask('GET', `/v1/pools${query}`), 200)
      const { pools, nextCursor } = body as { pools: { name: string }[]; nextCursor?: string }
      assert.ok(pools.length <= 2)
      seen.push(...pools.map(({ name }) => name))
      query = nextCursor === undefined ? '' : `?limit=2&cursor=${nextCursor}`
      if (page === 0) await PoolClient.make(server, {}, 'late')
      if (page === 1) await new PoolClient(server, 'b').ask('DELETE', '')
    }
    assert.deepEqual(
      seen.filter((name) => name !== 'late' && name !== 'b').sort(),
      ['c', 'd', 'default', 'e', 'f'].sort(),
    )
    assert.equal(new Set(seen).size, seen.length)
  })

  test('refuses what is no limit, no cursor and no parameter', async () => {
    await using server = await TestServer.start()
    for (const limit of ['', '0', '1001', '-1', '1.5', 'ten', '01', '1&limit=1', '%00']) {
      const answer = await server.ask('GET', `/v1/pools?limit=${limit}`)
      assert.match(assertProblem(answer, 'invalid_request'), /limit/)
    }
    for (const cursor of ['', 'x', '-1', '1e3', '99999999', '%00', '__proto__', 'x'.repeat(3000)]) {
      assertProblem(await server.ask('GET', `/v1/pools?cursor=${cursor}`), 'invalid_cursor')
    }
    for (const name of ['Limit', '__proto__', 'constructor', 'state']) {
      const answer = await server.ask('GET', `/v1/pools?${name}=1`)
      assert.ok(assertProblem(answer, 'invalid_request').includes(`"${name}"`))
    }
    assertStatus(await server.ask('GET', '/v1/pools?limit=1000'), 200)
  })
})
