/** Keys with values, names and metadata, sentence by sentence. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { json, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, type Key, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const YEAR_MS = 365 * 24 * 3_600_000

interface Created {
  keyIds: string[]
  skipped?: { index: number; keyId: string }[]
}

type NewKey = Record<string, unknown>

async function importKeys(pool: PoolClient, keys: NewKey[], more: object = {}): Promise<Created> {
  return assertStatus(await pool.ask('POST', '/keys', { keys, ...more }), 201).body as Created
}

async function importValues(pool: PoolClient, ...values: string[]): Promise<string[]> {
  const { keyIds } = await importKeys(
    pool,
    values.map((value) => ({ value })),
  )
  return keyIds
}

suite('import', () => {
  test('takes keys in, in their order, and gives their values in a lease', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const values = ['sk-1', 'ключ 🔑', '\0\n"\\', ' ']
    const keyIds = await importValues(pool, ...values)
    assert.equal(keyIds.length, 4)
    for (const [at, keyId] of keyIds.entries()) {
      const { value, name, metadata } = await pool.acquire({ keyId })
      assert.deepEqual([value, name, metadata], [values[at], null, null])
    }
  })

  test('is all or none', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { maxKeys: 3 })
    const ask = (...values: string[]): ReturnType<PoolClient['ask']> =>
      pool.ask('POST', '/keys', { keys: values.map((value) => ({ value })) })
    assertProblem(await ask('a', 'b', 'c', 'd'), 'pool_full')
    assert.equal((await pool.show()).counts.available, 0)
    const [, b] = await importValues(pool, 'a', 'b')
    assertProblem(await ask('c', 'b', 'd'), 'duplicate_value', { index: 1, keyId: b })
    assert.equal((await pool.show()).counts.available, 2)
    await importValues(pool, 'c')
  })

  test('takes up to 10 000', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const keys = Array.from({ length: 10_001 }, (_, at) => ({ value: `value ${at}` }))
    assertProblem(await pool.ask('POST', '/keys', { keys }), 'invalid_request')
    const { keyIds } = await importKeys(pool, keys.slice(1))
    assert.equal(new Set(keyIds).size, 10_000)
    assert.equal((await pool.acquire({ keyId: keyIds[4999] })).value, 'value 5000')
  })

  test('takes a value of up to 16 KiB, counted in bytes', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const largest = ['x'.repeat(16_384), 'é'.repeat(8192), '🔑'.repeat(4096)]
    const keyIds = await importValues(pool, ...largest)
    for (const [at, keyId] of keyIds.entries()) {
      assert.equal((await pool.acquire({ keyId })).value, largest[at])
    }
    for (const value of [...largest.map((text) => `${text}y`), '']) {
      const answer = await pool.ask('POST', '/keys', { keys: [{ value: 'fine' }, { value }] })
      assert.match(assertProblem(answer, 'invalid_request'), /keys\/1\/value/)
      assert(!answer.text.includes('xxx'))
    }
  })

  test('takes a body of up to 8 MiB', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const keys = (count: number): object => ({
      keys: Array.from({ length: count }, (_, at) => ({
        value: String(at).padStart(16_384, 'x'),
      })),
    })
    assertStatus(await pool.ask('POST', '/keys', keys(511)), 201)
    assertProblem(await pool.ask('POST', '/keys', keys(512)), 'body_too_large')
  })

  test('is a 400 that names what is wrong, and changes nothing', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const value = 'v'
    const bodies: [object | string, RegExp][] = [
      [{ keys: [] }, /keys/],
      [{ keys: {} }, /keys/],
      [{ keys: [{}] }, /keys\/0.*value/],
      [{ keys: [null] }, /keys\/0/],
      [{ keys: [{ value: 5 }] }, /keys\/0\/value/],
      [{ keys: [{ value: null }] }, /keys\/0\/value/],
      [{ keys: [{ value, typo: 1 }] }, /"typo"/],
      ['{"keys": [{"value": "v", "__proto__": {}}]}', /"__proto__"/],
      ['{"keys": [{"value": "\\ud800"}]}', /keys\/0\/value.*Unicode/],
      ['{"keys": [{"value": "a"}, {"value": "x\\udc00\\ud800"}]}', /keys\/1\/value.*Unicode/],
      [{ keys: [{ value, name: '' }] }, /name/],
      [{ keys: [{ value, name: 'x'.repeat(129) }] }, /name/],
      [{ keys: [{ value, name: null }] }, /name/],
      [{ keys: [{ value, metadata: [] }] }, /metadata/],
      [{ keys: [{ value, metadata: 'text' }] }, /metadata/],
      [{ keys: [{ value, metadata: null }] }, /metadata/],
      [{ keys: [{ value, lifetimeMs: 0 }] }, /lifetimeMs/],
      [{ keys: [{ value, lifetimeMs: 1.5 }] }, /lifetimeMs/],
      [{ keys: [{ value, lifetimeMs: 10 * 366 * 24 * 3_600_000 }] }, /lifetimeMs/],
      [{ keys: [{ value }], count: 1 }, /either count.*or keys/],
      [{ keys: [{ value }], prefix: 'acme' }, /prefix/],
      [{ count: 1, onDuplicate: 'skip' }, /onDuplicate/],
      [{ keys: [{ value }], onDuplicate: 'replace' }, /onDuplicate/],
    ]
    for (const [body, detail] of bodies) {
      assert.match(assertProblem(await pool.ask('POST', '/keys', body), 'invalid_request'), detail)
    }
    assert.equal((await pool.show()).counts.available, 0)
  })

  test('never dies by itself, unless its own lifetimeMs says so', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const { keyIds } = await importKeys(pool, [
      { value: 'a' },
      { value: 'b', lifetimeMs: null },
      { value: 'c', lifetimeMs: 1000 },
    ])
    const deaths = await Promise.all(keyIds.map(async (id) => (await pool.key(id)).expiresAt))
    assert.deepEqual(deaths, [null, null, new Date(clock.now() + 1000).toISOString()])
    await clock.advance(999)
    assert.equal(await pool.state(keyIds[2]!), 'available')
    await clock.advance(1)
    assertProblem(await pool.ask('GET', `/keys/${keyIds[2]!}`), 'key_not_found')
    await clock.advance(5 * YEAR_MS)
    for (const keyId of keyIds.slice(0, 2)) assert.equal(await pool.state(keyId), 'available')
  })

  test('a keep-alive gives its own lifetime again', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const { keyIds } = await importKeys(pool, [{ value: 'a' }, { value: 'b', lifetimeMs: 1000 }])
    await clock.advance(600)
    const deaths: unknown[] = []
    for (const keyId of keyIds) {
      const { body } = assertStatus(await pool.ask('POST', `/keys/${keyId}/keepalive`), 200)
      deaths.push((body as Key).expiresAt)
    }
    assert.deepEqual(deaths, [null, new Date(clock.now() + 1000).toISOString()])
  })
})

suite('a value that the pool holds already', () => {
  test('is a 409 that names its place and the key, never the value', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await importValues(pool, 'secret-one', 'secret-two')
    const ask = (...values: string[]): ReturnType<PoolClient['ask']> =>
      pool.ask('POST', '/keys', { keys: values.map((value) => ({ value })) })
    const held = await ask('secret-three', 'secret-one')
    assertProblem(held, 'duplicate_value', { index: 1, keyId })
    const twice = await ask('secret-three', 'secret-four', 'secret-three')
    assertProblem(twice, 'duplicate_value', { index: 2, firstIndex: 0 })
    for (const { text } of [held, twice]) assert.doesNotMatch(text, /secret/)
    // The place that comes first is named.
    assertProblem(await ask('n', 'n', 'secret-one'), 'duplicate_value', { index: 1, firstIndex: 0 })
    const before = await ask('secret-one', 'n', 'n')
    assertProblem(before, 'duplicate_value', { index: 0, keyId })
  })

  test('is passed over with "onDuplicate": "skip"', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { maxKeys: 4 })
    const [a, b] = await importValues(pool, 'a', 'b')
    const values = ['c', 'a', 'c', 'd', 'b'].map((value) => ({ value }))
    const { keyIds, skipped } = await importKeys(pool, values, { onDuplicate: 'skip' })
    assert.equal(keyIds.length, 2)
    assert.deepEqual(skipped, [
      { index: 1, keyId: a },
      { index: 2, keyId: keyIds[0] },
      { index: 4, keyId: b },
    ])
    assert.equal((await pool.show()).counts.available, 4)
    // None of them is new, so the pool need not have room.
    const again = await importKeys(pool, values, { onDuplicate: 'skip' })
    assert.deepEqual(again.keyIds, [])
    assert.equal(again.skipped!.length, 5)
    const none = await importKeys(
      await PoolClient.make(server, {}, 'other'),
      [{ value: 'a' }, { value: 'b' }],
      { onDuplicate: 'skip' },
    )
    assert.deepEqual([none.keyIds.length, none.skipped], [2, []])
  })

  test('may be held by another pool', async () => {
    await using server = await TestServer.start()
    const [one, two] = [await PoolClient.make(server), await PoolClient.make(server, {}, 'two')]
    for (const pool of [one, two]) {
      await importValues(pool, 'shared')
      assert.equal((await pool.acquire()).value, 'shared')
    }
    assertStatus(await one.ask('DELETE', '?force=true'), 204)
    const again = await PoolClient.make(server)
    await importValues(again, 'shared')
    assert.equal((await again.acquire()).value, 'shared')
  })

  test('is free again with the deletion of its key, and from the millisecond of its death on', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    const [first] = await importValues(pool, 'v')
    assertStatus(await pool.ask('DELETE', `/keys/${first!}`), 204)
    const { keyIds } = await importKeys(pool, [{ value: 'v', lifetimeMs: 1000 }])
    await clock.advance(999)
    assertProblem(await pool.ask('POST', '/keys', { keys: [{ value: 'v' }] }), 'duplicate_value', {
      index: 0,
      keyId: keyIds[0],
    })
    await clock.advance(1)
    await importValues(pool, 'v')
    assert.equal((await pool.acquire()).value, 'v')
  })
})

suite('a prefix', () => {
  test('makes keys with values that begin so, and that die as generated keys do', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 5000 })
    const answer = await pool.ask('POST', '/keys', { count: 3, prefix: 'acme_live' })
    const { keyIds } = assertStatus(answer, 201).body as Created
    assert.deepEqual(answer.body, { keyIds })
    const values = new Set<string>()
    for (const keyId of keyIds) {
      const { value, keyExpiresAt } = await pool.acquire({ keyId, ttlMs: 1000 })
      assert.equal(keyExpiresAt, new Date(clock.now() + 5000).toISOString())
      const [, body, checksum] = /^(acme_live_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})$/.exec(value!)!
      const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
      const number = Array.from(checksum!).reduce(
        (sum, digit) => sum * 62 + digits.indexOf(digit),
        0,
      )
      assert.equal(number, crc32(body!))
      values.add(value!)
      // It is kept like an imported one.
      const again = await pool.ask('POST', '/keys', { keys: [{ value }] })
      assertProblem(again, 'duplicate_value', { index: 0, keyId })
    }
    assert.equal(values.size, 3)
    await clock.advance(3000)
    await pool.ask('POST', `/keys/${keyIds[0]!}/keepalive`)
    await clock.advance(2000)
    assert.equal(await pool.state(keyIds[0]!), 'available')
    assertProblem(await pool.ask('GET', `/keys/${keyIds[1]!}`), 'key_not_found')
  })

  test('is 1 to 32 of letters, digits, - and _, and begins and ends with a letter or digit', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    for (const prefix of ['a', '9', 'sk-live', 'A_b-C', 'x'.repeat(32)]) {
      assertStatus(await pool.ask('POST', '/keys', { count: 1, prefix }), 201)
    }
    for (const prefix of ['', '_', 'a_', '-a', 'a b', 'a.b', 'ä', 'x'.repeat(33), 'a\n', 5, null]) {
      const answer = await pool.ask('POST', '/keys', { count: 1, prefix })
      assert.match(assertProblem(answer, 'invalid_request'), /prefix/)
    }
    assertProblem(await pool.ask('POST', '/keys', { prefix: 'a' }), 'invalid_request')
  })
})

test('a value is given in leases, and nowhere else', async () => {
  await using server = await TestServer.start()
  const pool = new PoolClient(server, 'default')
  const value = 'a-value-to-look-for'
  const asking = json({ keys: [{ value }] })
  const repeatable = { ...asking, headers: { ...asking.headers, 'idempotency-key': '1' } }
  const created = assertStatus(await pool.send('POST', '/keys', repeatable), 201)
  const [keyId] = (created.body as Created).keyIds
  const silent = [
    created,
    await pool.send('POST', '/keys', repeatable),
    await pool.ask('GET', `/keys/${keyId!}`),
    await pool.ask('GET', '/keys'),
    await pool.ask('PATCH', `/keys/${keyId!}`, { name: 'n' }),
    await server.ask('GET', `/keys/${keyId!}`),
  ]
  const lease = await pool.acquire()
  assert.equal(lease.value, value)
  const { leaseId } = lease
  assert.equal((await pool.lease(leaseId)).value, value)
  const renewed = assertStatus(await pool.renew(leaseId, { ttlMs: 5000 }), 200)
  assert.equal((renewed.body as { value: string }).value, value)
  const [again] = await pool.batch({ op: 'renew', leaseId })
  assert.equal(again!.value, value)
  silent.push(
    await pool.ask('GET', '/leases'),
    await pool.ask('GET', `/keys/${keyId!}`),
    await pool.ask('GET', ''),
    await pool.ask('POST', `/leases/${leaseId}/release`),
    await pool.ask('GET', `/leases/${leaseId}`),
    await pool.renew(leaseId),
    await server.ask('GET', '/metrics'),
  )
  const [acquired] = await pool.batch({ op: 'acquire' })
  assert.equal(acquired!.leases![0]!.value, value)
  silent.push(await pool.ask('DELETE', `/keys/${keyId!}/lease`))
  const drawn = (await server.draw()) as { value?: string; leaseId: string }
  assert.equal(drawn.value, value)
  silent.push(await server.ask('PUT', `/keys/${keyId!}?leaseId=${drawn.leaseId}`))
  const acquire = { headers: { 'idempotency-key': '2' } }
  const first = assertStatus(await pool.send('POST', '/leases', acquire), 201)
  const repeat = assertStatus(await pool.send('POST', '/leases', acquire), 201)
  for (const { body } of [first, repeat]) assert.equal((body as { value: string }).value, value)
  for (const { text } of silent) assert(!text.includes(value), text)
  assert(!server.logged.join('').includes(value))
})

test('a plain key has no value, and its classic draw says none', async () => {
  await using server = await TestServer.start()
  const pool = new PoolClient(server, 'default')
  const [keyId] = await pool.create()
  assert.equal((await pool.key(keyId!)).hasValue, false)
  assert.equal((await pool.acquire({ ttlMs: 60_000 })).value, null)
  const [other] = await pool.create()
  assert.equal('value' in (await server.draw()), false)
  assert.equal((await pool.key(other!)).hasValue, false)
})

suite('names and metadata', () => {
  /** As text, for some of it JSON.stringify would not write. */
  const METADATA = [
    '{}',
    '{"a":null,"b":[1,2.5,-0.1,1e+300,"x"],"c":{"d":{}},"":true}',
    '{"__proto__":{"polluted":true},"constructor":{"prototype":1},"hasOwnProperty":2}',
    '{"toJSON":"text","then":"text","valueOf":{"toJSON":{}}}',
    '{"lone":"\\ud800","other":["\\udc00x"],"pair":"🔑","nul":"\\u0000"}',
    `{"long and lone":"${'x'.repeat(50)}\\ud800${'y'.repeat(50)}"}`,
    `${'{"a":'.repeat(680)}1${'}'.repeat(680)}`,
    `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`,
    '{"2":"b","1":"a","k":"c"}',
  ]

  test('come back as they were sent, wherever they are shown', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    for (const [at, text] of METADATA.entries()) {
      const metadata: unknown = JSON.parse(text)
      const name = ['key', 'ключ 🔑', '\ud800', '"\n', 'x'.repeat(128)][at % 5]!
      const body = `{"keys": [{"value": "v${at}", "name": ${JSON.stringify(name)}, "metadata": ${text}}]}`
      const created = assertStatus(await pool.ask('POST', '/keys', body), 201)
      const keyId = (created.body as Created).keyIds[0]!
      const lease = await pool.acquire({ keyId })
      const [batched] = await pool.batch({ op: 'renew', leaseId: lease.leaseId })
      for (const shown of [
        lease,
        batched!,
        await pool.lease(lease.leaseId),
        await pool.key(keyId),
      ]) {
        assert.equal(JSON.stringify(shown.metadata), JSON.stringify(metadata))
        assert.equal(shown.name, name)
      }
      const { body: listed } = assertStatus(await pool.ask('GET', '/keys?state=leased'), 200)
      const key = (listed as { keys: Key[] }).keys.find((key) => key.keyId === keyId)!
      assert.equal(JSON.stringify([key.metadata, key.name]), JSON.stringify([metadata, name]))
    }
    assert.equal(({} as { polluted?: boolean }).polluted, undefined)
  })

  test('of up to 4 KiB, counted in bytes; a name of up to 128 characters', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const metadata = (bytes: number, letter = 'x'): object => ({
      a: letter.repeat((bytes - 8) / Buffer.byteLength(letter)),
    })
    const patch = (body: object): ReturnType<PoolClient['ask']> =>
      pool.ask('PATCH', `/keys/${keyId!}`, body)
    for (const letter of ['x', 'é', '🔑']) {
      assertStatus(await patch({ metadata: metadata(4096, letter) }), 200)
      const tooLong = { ...metadata(4096, letter), b: 1 }
      for (const answer of [
        await patch({ metadata: tooLong }),
        await pool.ask('POST', '/keys', { keys: [{ value: 'v', metadata: tooLong }] }),
      ]) {
        assert.match(assertProblem(answer, 'invalid_request'), /metadata.*4096 bytes/)
      }
    }
    assert.deepEqual((await pool.key(keyId!)).metadata, metadata(4096, '🔑'))
    assertStatus(await patch({ name: '🔑'.repeat(128) }), 200)
    assertProblem(await patch({ name: '🔑'.repeat(129) }), 'invalid_request')
    // Far too deep for whoever would go down into it.
    const deep = `{"metadata": ${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`
    assertProblem(await pool.ask('PATCH', `/keys/${keyId!}`, deep), 'invalid_request')
  })

  test('PATCH sets what it says, null takes it away, and the value stays', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [valued] = await importValues(pool, 'v')
    const [plain] = await pool.create()
    for (const keyId of [valued!, plain!]) {
      const patch = async (body: object): Promise<unknown[]> => {
        const answer = await pool.ask('PATCH', `/keys/${keyId}`, body)
        const { name, metadata } = assertStatus(answer, 200).body as Key
        const key = await pool.key(keyId)
        assert.deepEqual([key.name, key.metadata], [name, metadata])
        return [name, metadata]
      }
      assert.deepEqual(await patch({ name: 'n' }), ['n', null])
      assert.deepEqual(await patch({ metadata: { a: 1 } }), ['n', { a: 1 }])
      assert.deepEqual(await patch({ metadata: { b: 2 } }), ['n', { b: 2 }])
      assert.deepEqual(await patch({}), ['n', { b: 2 }])
      assert.deepEqual(await patch({ name: null }), [null, { b: 2 }])
      const lease = await pool.acquire({ keyId })
      assert.deepEqual(lease.metadata, { b: 2 })
      assert.deepEqual(await patch({ metadata: null, name: 'm' }), ['m', null])
      assert.equal((await pool.lease(lease.leaseId)).value, keyId === valued ? 'v' : null)
      assert.equal((await pool.key(keyId)).hasValue, keyId === valued)
    }
    for (const body of [
      { name: '' },
      { name: 5 },
      { metadata: [] },
      { metadata: 1 },
      { value: 'x' },
    ]) {
      assertProblem(await pool.ask('PATCH', `/keys/${plain!}`, body), 'invalid_request')
    }
  })
})
