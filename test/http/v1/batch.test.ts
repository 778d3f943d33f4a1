/** Batches of the v1 API, sentence by sentence. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SystemRandom } from '../../../src/random.ts'
import { EmbeddedStore } from '../../../src/store/embedded/embedded-store.ts'
import { NOBODY, TestServer } from '../../support/server.ts'
import { SimulatedDisk } from '../../support/simulated-disk.ts'
import { assertProblem, assertStatus, NO_LEASE, PoolClient, type Result } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const ACQUIRE = { op: 'acquire' }

async function startPool(
  policy: object = {},
): Promise<{ server: TestServer; pool: PoolClient; clock: VirtualClock } & AsyncDisposable> {
  const clock = new VirtualClock()
  const server = await TestServer.start({ clock })
  const pool = await PoolClient.make(server, policy)
  return { server, pool, clock, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

function renew(leaseId: string, more = {}): object {
  return { op: 'renew', leaseId, ...more }
}

function release(leaseId: string, more = {}): object {
  return { op: 'release', leaseId, ...more }
}

function statusesOf(results: Result[]): number[] {
  return results.map(({ status }) => status)
}

suite('operations', () => {
  test('are done in order, with one result for each', async () => {
    await using started = await startPool()
    const { pool } = started
    await pool.create()
    const [first] = await pool.batch(ACQUIRE)
    const { leaseId } = first!.leases![0]!
    const results = await pool.batch(
      ACQUIRE,
      renew(leaseId),
      release(leaseId),
      renew(leaseId),
      ACQUIRE,
      release(leaseId),
      ACQUIRE,
    )
    assert.deepEqual(statusesOf(results), [429, 200, 200, 410, 201, 200, 429])
    assert.deepEqual(results[2], { status: 200, released: true })
    assert.deepEqual(results[5], { status: 200, released: false, reason: 'unknown' })
  })

  test('may be none', async () => {
    await using started = await startPool()
    assert.deepEqual(await started.pool.batch(), [])
  })

  test('do not stop at a failure', async () => {
    await using started = await startPool()
    const { pool } = started
    const [keyId] = await pool.create()
    const results = await pool.batch(
      renew(NO_LEASE),
      release('%00'),
      { op: 'keepAlive', keyId: NOBODY },
      { op: 'keepAlive', keyId: '__proto__' },
      { op: 'acquire', ttlMs: 3_600_001 },
      { op: 'acquire', keyId: NOBODY },
      ACQUIRE,
      { op: 'keepAlive', keyId },
    )
    assert.deepEqual(statusesOf(results), [404, 404, 404, 404, 422, 404, 201, 200])
    const codes = results.map(({ code }) => code)
    assert.deepEqual(codes.slice(0, 6), [
      'lease_not_found',
      'lease_not_found',
      'key_not_found',
      'key_not_found',
      'ttl_too_long',
      'key_not_found',
    ])
  })

  test('acquire grants what it can', async () => {
    await using started = await startPool()
    const { pool } = started
    await pool.create(5)
    const results = await pool.batch(
      { op: 'acquire', count: 2 },
      { op: 'acquire', count: 10 },
      ACQUIRE,
    )
    assert.deepEqual(statusesOf(results), [201, 201, 429])
    const leases = results.flatMap(({ leases = [] }) => leases)
    assert.equal(results[0]!.leases!.length, 2)
    assert.equal(new Set(leases.map(({ keyId }) => keyId)).size, 5)
    for (const lease of leases) assert.deepEqual(await pool.lease(lease.leaseId), lease)
  })

  test('have the outcomes of a release', async () => {
    await using started = await startPool({ failureCooldownMs: 100 })
    const { pool, clock } = started
    await pool.create(3)
    const [acquired] = await pool.batch({ op: 'acquire', count: 3 })
    const [a, b, c] = acquired!.leases!
    await pool.batch(
      release(a!.leaseId, { outcome: 'error' }),
      release(b!.leaseId, { outcome: 'rate_limited', retryAfterMs: 700 }),
      release(c!.leaseId, { outcome: 'invalid', reason: 'HTTP 401' }),
    )
    const until = (ms: number): string => new Date(clock.now() + ms).toISOString()
    assert.equal((await pool.key(a!.keyId)).coolingUntil, until(100))
    assert.equal((await pool.key(b!.keyId)).coolingUntil, until(700))
    assert.equal((await pool.key(c!.keyId)).disabledReason, 'HTTP 401')
  })
})

suite('results', () => {
  /** What the single route answers, told the batch's way. */
  async function single(pool: PoolClient, operation: object): Promise<object> {
    const { op, ...body } = operation as { op: string }
    const { leaseId, keyId, ...rest } = body as { leaseId?: string; keyId?: string }
    const [path, asked] = {
      acquire: ['/leases', body],
      renew: [`/leases/${leaseId!}/renew`, rest],
      release: [`/leases/${leaseId!}/release`, rest],
      keepAlive: [`/keys/${keyId!}/keepalive`, undefined],
    }[op] as [string, object | undefined]
    const answer = await pool.ask('POST', path, asked)
    return { status: answer.status, ...(answer.body as object) }
  }

  test('say what the single routes say, where they grant', async () => {
    await using started = await startPool({
      keyLifetimeMs: 3000,
      leaseTtlMs: 5,
    })
    const { pool, clock } = started
    const [keyId] = await pool.create(2)
    await clock.advance(123)
    const [acquired] = await pool.batch({ op: 'acquire', ttlMs: 4999, keyId })
    const [lease] = acquired!.leases!
    assert.deepEqual(lease, await pool.lease(lease!.leaseId))
    await clock.advance(77)
    for (const operation of [
      renew(lease.leaseId),
      renew(lease.leaseId, { ttlMs: 100, keepAlive: true }),
      { op: 'keepAlive', keyId },
    ]) {
      const [result] = await pool.batch(operation)
      assert.deepEqual(result, await single(pool, operation))
    }
    await pool.ask('PUT', '', { keyLifetimeMs: null })
    await pool.ask('POST', `/keys/${keyId!}/keepalive`)
    const operations = [renew(lease.leaseId), { op: 'keepAlive', keyId }]
    for (const [at, result] of (await pool.batch(...operations)).entries()) {
      assert.deepEqual(result, await single(pool, operations[at]!))
    }
  })

  test('say what the single routes say, where they refuse', async () => {
    await using started = await startPool({ maxLeaseTotalMs: 60_000, cooldownMs: 900 })
    const { pool, clock } = started
    const operations: object[] = [
      ACQUIRE,
      renew(NO_LEASE),
      release(NO_LEASE),
      { op: 'keepAlive', keyId: 'x' },
    ]
    const assertSame = async (): Promise<void> => {
      const results = await pool.batch(...operations)
      assert.equal(results.length, operations.length)
      for (const [at, result] of results.entries()) {
        assert.deepEqual(result, await single(pool, operations[at]!))
        assert.deepEqual(result.status >= 400, result.code !== undefined)
      }
    }
    await assertSame() // pool_empty
    const [keyId] = await pool.create(4)
    const [held, released, revoked, deleted] = (await pool.batch({ op: 'acquire', count: 4 }))[0]!
      .leases!
    await pool.release(released!.leaseId)
    await pool.ask('DELETE', `/keys/${revoked!.keyId}/lease`)
    await pool.ask('DELETE', `/keys/${deleted!.keyId}`)
    await pool.ask('PATCH', `/keys/${revoked!.keyId}`, { disabled: true })
    operations.push(
      { op: 'acquire', ttlMs: 3_600_001 },
      { op: 'acquire', keyId },
      renew(held!.leaseId), // lease_limit
      ...[released, revoked, deleted].flatMap((lease) => [
        renew(lease!.leaseId),
        release(lease!.leaseId, { outcome: 'invalid', reason: '"\\\u0007' }),
      ]),
    )
    await assertSame() // pool_exhausted
    await clock.advance(5000)
    await pool.acquire()
    operations.push(renew(released!.leaseId), release(released!.leaseId))
    await assertSame()
  })

  test('are JSON, however many', async () => {
    await using started = await startPool()
    const { pool } = started
    await pool.create(10_000)
    const answer = await pool.ask('POST', '/batch', {
      operations: [
        { op: 'acquire', count: 5000 },
        ...Array.from({ length: 5000 }, () => ACQUIRE),
        ...Array.from({ length: 4999 }, () => renew(NO_LEASE)),
      ],
    })
    assert.match(answer.headers['content-type']!, /^application\/json/)
    assert.equal(answer.status, 200)
    const { results } = answer.body as { results: Result[] }
    assert.deepEqual(answer.body, { results })
    assert.equal(results.length, 10_000)
    const leases = results.flatMap(({ leases = [] }) => leases)
    assert.equal(new Set(leases.map(({ keyId }) => keyId)).size, 10_000)
    assert.equal(JSON.stringify(answer.body), answer.text)
  })
})

suite('a batch', () => {
  test('of more than 10 000 operations or leases is refused whole', async () => {
    await using started = await startPool()
    const { pool } = started
    await pool.create(3)
    const operations = (count: number): object => ({
      operations: Array.from({ length: count }, () => ACQUIRE),
    })
    for (const [body, detail] of [
      [operations(10_001), /operations.*10000/],
      [{ operations: [{ op: 'acquire', count: 10_001 }] }, /count/],
      [{ operations: [ACQUIRE, { op: 'acquire', count: 10_000 }] }, /10000 leases, not 10001/],
    ] as const) {
      const answer = await pool.ask('POST', '/batch', body)
      assert.match(assertProblem(answer, 'invalid_request'), detail)
      const missing = await new PoolClient(pool.server, 'nobody').ask('POST', '/batch', body)
      assertProblem(missing, 'pool_not_found')
    }
    assert.equal((await pool.show()).counts.available, 3)
  })

  test('on no pool is a 404, even with nothing to do', async () => {
    await using started = await startPool()
    const pool = new PoolClient(started.server, 'nobody')
    for (const operations of [[], [ACQUIRE], [renew(NO_LEASE), ACQUIRE]]) {
      assertProblem(await pool.ask('POST', '/batch', { operations }), 'pool_not_found')
    }
  })

  test('with anything wrong in it is a 400 that names the place, and does nothing', async () => {
    await using started = await startPool()
    const { pool } = started
    await pool.create()
    const wrong: [object | string, RegExp][] = [
      [{ ...ACQUIRE, typo: 1 }, /operations\/1.*"typo"/],
      ['{"op": "acquire", "__proto__": {"count": 5}}', /operations\/1.*"__proto__"/],
      [{ ...ACQUIRE, waitMs: 5 }, /operations\/1.*"waitMs"/],
      [{ ...ACQUIRE, leaseId: 'x' }, /operations\/1.*"leaseId"/],
      [{ ...ACQUIRE, count: 0 }, /operations\/1\/count/],
      [{ ...ACQUIRE, ttlMs: 1.5 }, /operations\/1\/ttlMs/],
      [
        { op: 'create', count: 1 },
        /operations\/1\/op must be one of "acquire", "renew", "release", "keepAlive", not "create"\.$/,
      ],
      [{ op: 'constructor' }, /operations\/1.*"constructor"/],
      [{ op: '__proto__' }, /operations\/1.*"__proto__"/],
      [{ op: null }, /operations\/1\/op must be one of .*"keepAlive"\.$/],
      [{}, /operations\/1.*op/],
      ['null', /operations\/1/],
      [{ op: 'renew' }, /operations\/1.*leaseId/],
      [{ op: 'renew', leaseId: 5 }, /operations\/1\/leaseId/],
      [{ op: 'release', leaseId: 'x', outcome: 'bad' }, /operations\/1\/outcome/],
      [{ op: 'release', leaseId: 'x', ttlMs: 1 }, /operations\/1.*"ttlMs"/],
      [{ op: 'keepAlive', leaseId: 'x' }, /operations\/1/],
    ]
    for (const [operation, detail] of wrong) {
      const text = typeof operation === 'string' ? operation : JSON.stringify(operation)
      const body = `{"operations": [{"op": "acquire"}, ${text}]}`
      assert.match(assertProblem(await pool.ask('POST', '/batch', body), 'invalid_request'), detail)
    }
    for (const [body, detail] of [
      [{}, /operations/],
      [{ operations: {} }, /operations/],
      [{ operations: [], atomic: true }, /"atomic"/],
      ['[]', /object/],
      ['{"operations": [', /JSON/],
    ] as const) {
      assert.match(assertProblem(await pool.ask('POST', '/batch', body), 'invalid_request'), detail)
    }
    assert.equal((await pool.show()).counts.available, 1)
  })

  test('may be 8 MiB long, and no longer', async () => {
    await using started = await startPool()
    const { pool } = started
    const padded = (bytes: number): string => {
      const text = JSON.stringify({ operations: [ACQUIRE] })
      return text + ' '.repeat(bytes - text.length)
    }
    assertStatus(await pool.ask('POST', '/batch', padded(8 * 2 ** 20)), 200)
    const tooLarge = await pool.ask('POST', '/batch', padded(8 * 2 ** 20 + 1))
    assert.match(assertProblem(tooLarge, 'body_too_large'), /\b8388608 bytes/)
  })

  test('is one commit', async () => {
    const disk = new SimulatedDisk()
    const clock = new VirtualClock()
    await using server = await TestServer.start({
      clock,
      openStore: (events) =>
        EmbeddedStore.open(
          { maxTotalKeys: 50_000, maxPools: 10 },
          clock,
          new SystemRandom(),
          events,
          (journalEvents) => disk.open(journalEvents),
        ),
    })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create(1000)
    const [acquired] = await pool.batch({ op: 'acquire', count: 500 })
    const [past, ...held] = acquired!.leases!
    const before = disk.sequence
    const results = await pool.batch(
      ...held.map(({ leaseId }) => renew(leaseId)),
      release(past!.leaseId),
      release(past!.leaseId),
      ACQUIRE,
      { op: 'acquire', count: 1000 },
      { op: 'keepAlive', keyId },
      ACQUIRE,
    )
    assert.equal(results.length, 505)
    assert.equal(disk.sequence, before + 1)
    await pool.batch(renew(NO_LEASE), ACQUIRE) // changes nothing
    assert.equal(disk.sequence, before + 1)
  })
})
