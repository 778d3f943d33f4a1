/** Who holds what, and what becomes of a dead worker's leases. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

interface Held {
  keyId: string
  holder: string | null
}

/** All pages of the leases, of one holder or of all. */
async function heldBy(pool: PoolClient, holder?: string, limit = 100): Promise<Held[]> {
  const held: Held[] = []
  let cursor: string | undefined
  do {
    const query = new URLSearchParams({ limit: String(limit) })
    if (holder !== undefined) query.set('holder', holder)
    if (cursor !== undefined) query.set('cursor', cursor)
    const { body } = assertStatus(await pool.ask('GET', `/leases?${query.toString()}`), 200)
    const page = body as { leases: Held[]; nextCursor?: string }
    assert(page.leases.length <= limit)
    held.push(...page.leases)
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return held
}

async function revoke(pool: PoolClient, holder: string): Promise<unknown> {
  const query = new URLSearchParams({ holder }).toString()
  return assertStatus(await pool.ask('DELETE', `/leases?${query}`), 200).body
}

suite('a holder', () => {
  test('is null unless given, and shown wherever the lease is', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(3)
    for (const holder of [null, ' ', '~ printable "\\ {} ASCII!'.padEnd(128, '.')]) {
      const lease = await pool.acquire(holder === null ? {} : { holder })
      const { leaseId, keyId, fencingToken, grantedAt, expiresAt } = lease
      const [batched] = await pool.batch({ op: 'renew', leaseId, ttlMs: 60_000 })
      const shown = await pool.lease(leaseId)
      assert.deepEqual(
        [lease.holder, batched!.holder, shown.holder, (await pool.key(keyId)).lease!.holder],
        [holder, holder, holder, holder],
      )
      const held = (await heldBy(pool)).find((held) => held.keyId === keyId)!
      // Whoever looks may not renew or release: he is not told the lease's id.
      assert.deepEqual(Object.keys(held).sort(), [
        'expiresAt',
        'fencingToken',
        'grantedAt',
        'holder',
        'keyId',
      ])
      assert.partialDeepStrictEqual(held, { keyId, holder, fencingToken, grantedAt })
      assert(expiresAt <= shown.expiresAt)
    }
  })

  test('is 1 to 128 printable ASCII characters', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    for (const holder of ['', 'x'.repeat(129), 'a\n', '\t', 'ä', '\x7f', '🔑', 5, null, ['a']]) {
      const answers = [
        await pool.ask('POST', '/leases', { holder }),
        await pool.ask('POST', '/leases', { holder, waitMs: 10 }),
        await pool.ask('POST', '/batch', { operations: [{ op: 'acquire', holder }] }),
      ]
      if (typeof holder === 'string') {
        const query = `/leases?holder=${encodeURIComponent(holder)}`
        answers.push(await pool.ask('GET', query), await pool.ask('DELETE', query))
      }
      for (const answer of answers) {
        assert.match(assertProblem(answer, 'invalid_request'), /holder/)
      }
    }
    assert.deepEqual(await heldBy(pool), [])
  })

  test('of a batch has all leases that it asked for, and one who waited has his', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(3)
    const [got] = await pool.batch({ op: 'acquire', count: 5, holder: 'w' })
    assert.deepEqual(
      got!.leases!.map(({ holder }) => holder),
      ['w', 'w', 'w'],
    )
    const waiting = pool.acquire({ holder: 'patient', waitMs: 10_000 })
    await pool.release(got!.leases![0]!.leaseId)
    assert.equal((await waiting).holder, 'patient')
    assert.equal((await heldBy(pool, 'w')).length, 2)
    assert.equal((await heldBy(pool, 'patient')).length, 1)
  })
})

suite('GET …/leases', () => {
  test('lists those of one holder or of all, in pages, each once', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(60)
    for (const [holder, count] of [
      ['a', 20],
      ['__proto__', 15],
      [undefined, 10],
    ] as const) {
      await pool.batch({ op: 'acquire', count, ...(holder === undefined ? {} : { holder }) })
    }
    for (const limit of [1, 7, 100]) {
      for (const [holder, count] of [
        ['a', 20],
        ['__proto__', 15],
        ['nobody', 0],
        [undefined, 45],
      ] as const) {
        const held = await heldBy(pool, holder, limit)
        const ids = held.map(({ keyId }) => keyId)
        assert.equal(new Set(ids).size, count, `${String(holder)} by ${limit}`)
        assert.deepEqual(ids, ids.toSorted())
        if (holder !== undefined) assert(held.every((lease) => lease.holder === holder))
      }
    }
    assertProblem(await pool.ask('GET', '/leases?cursor=x'), 'invalid_cursor')
    for (const query of ['limit=0', 'limit=1001', 'typo=1', 'holder=a&holder=b']) {
      assertProblem(await pool.ask('GET', `/leases?${query}`), 'invalid_request')
    }
    const { body } = await pool.ask('GET', '/leases?limit=0')
    assert.match((body as { detail: string }).detail, /limit must match .* \(1 to 1000; /)
  })

  test('shows none that is over, from its millisecond on', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: 2000 })
    await pool.create(2)
    await pool.acquire({ holder: 'w', ttlMs: 1000 })
    await pool.acquire({ holder: 'w', ttlMs: 5000 })
    const counts: number[] = []
    for (const ms of [0, 999, 1, 999, 1]) {
      await clock.advance(ms)
      counts.push((await heldBy(pool, 'w')).length)
    }
    assert.deepEqual(counts, [2, 2, 1, 1, 0])
  })
})

suite('DELETE …/leases', () => {
  test('revokes those of the holder, and no others', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { expiredLeaseCooldownMs: 500, cooldownMs: 9000 })
    const other = await PoolClient.make(server, {}, 'other')
    await pool.create(30)
    await other.create(2)
    const [dead] = await pool.batch({ op: 'acquire', count: 12, holder: 'dead' })
    await pool.batch({ op: 'acquire', count: 3, holder: 'dead 2' }, { op: 'acquire', count: 4 })
    const elsewhere = await other.acquire({ holder: 'dead' })
    const stays = dead!.leases!.shift()!
    await pool.release(stays.leaseId)
    assert.deepEqual(await revoke(pool, 'dead'), { revoked: 11 })
    assert.deepEqual(await revoke(pool, 'dead'), { revoked: 0 })
    assert.deepEqual(await heldBy(pool, 'dead'), [])
    assert.equal((await heldBy(pool)).length, 7)
    for (const { leaseId, keyId } of dead!.leases!) {
      assertProblem(await pool.ask('GET', `/leases/${leaseId}`), 'lease_ended', {
        reason: 'revoked',
      })
      assert.equal(await pool.state(keyId), 'cooling')
    }
    assert.equal((await other.lease(elsewhere.leaseId)).holder, 'dead')
    await clock.advance(499)
    assert.equal((await pool.show()).counts.cooling, 12)
    await clock.advance(1)
    // The one that was released rests for another reason.
    assert.equal((await pool.show()).counts.cooling, 1)
  })

  test('takes as many as there are, also where time has ended many of them', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { keyLifetimeMs: null })
    await pool.create(8000)
    const acquire = { op: 'acquire', holder: 'dead' }
    await pool.batch({ ...acquire, count: 3000, ttlMs: 1000 }, { ...acquire, count: 2500 })
    assert.deepEqual(await revoke(pool, 'nobody'), { revoked: 0 })
    // Time passes, and nobody has looked yet.
    clock.startFrom(clock.now() + 1000)
    assert.deepEqual(await revoke(pool, 'dead'), { revoked: 2500 })
    assert.equal((await pool.show()).counts.leased, 0)
  })

  test('without a holder is a 400: it takes nothing from everybody', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create()
    await pool.acquire({ holder: 'w' })
    for (const query of ['', '?', '?holder=', '?holder', '?holder=w&x=1', '?holder=w&holder=w']) {
      assertProblem(await pool.ask('DELETE', `/leases${query}`), 'invalid_request')
    }
    assert.equal((await heldBy(pool)).length, 1)
    const none = new PoolClient(server, 'none')
    assertProblem(await none.ask('DELETE', '/leases?holder=w'), 'pool_not_found')
    assertProblem(await none.ask('GET', '/leases'), 'pool_not_found')
  })
})
