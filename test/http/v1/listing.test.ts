/** The keys of a pool of the v1 API, page by page. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { NOBODY, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, type Key, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

interface Page {
  keys: Key[]
  nextCursor?: string
}

async function page(pool: PoolClient, query = ''): Promise<Page> {
  return assertStatus(await pool.ask('GET', `/keys${query}`), 200).body as Page
}

/** Goes through a whole listing; `between` is called between two pages. */
async function listed(
  pool: PoolClient,
  query: string,
  between: () => Promise<void> = () => Promise.resolve(),
): Promise<Key[]> {
  const all: Key[] = []
  for (let cursor = ''; ;) {
    const { keys, nextCursor } = await page(pool, `?${query}${cursor}`)
    all.push(...keys)
    if (nextCursor === undefined) return all
    cursor = `&cursor=${nextCursor}`
    await between()
  }
}

function idsOf(keys: Key[]): string[] {
  return keys.map(({ keyId }) => keyId)
}

suite('GET …/keys', () => {
  test('lists keys as they are shown', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    assert.deepEqual(await page(pool), { keys: [] })
    const [keyId] = await pool.create()
    await pool.acquire()
    assert.deepEqual(await page(pool), { keys: [await pool.key(keyId!)] })
  })

  test('gives 100 a page unless told, at most 1000', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const ids = await pool.create(1001)
    assert.equal((await page(pool)).keys.length, 100)
    assert.equal((await page(pool, '?limit=1000')).keys.length, 1000)
    for (const limit of ['0', '1001', '-1', '1e2', '', '%00']) {
      const answer = await pool.ask('GET', `/keys?limit=${limit}`)
      assert.match(assertProblem(answer, 'invalid_request'), /limit/)
    }
    assert.deepEqual(idsOf(await listed(pool, 'limit=7')).sort(), ids.sort())
  })

  for (const size of [50, 5000]) {
    test(`of ${String(size)} keys shows each once while others come and go`, async () => {
      const clock = new VirtualClock()
      await using server = await TestServer.start({ clock })
      const pool = await PoolClient.make(server, { keyLifetimeMs: 1000 })
      const dying = await pool.create(size / 2)
      await clock.advance(500)
      const staying = await pool.create(size)
      const passing = await pool.create(size / 2)
      let pages = 0
      const all = await listed(pool, `limit=${String(size / 10)}`, async () => {
        if (pages++ === 2) await clock.advance(499)
        if (pages === 4) await clock.advance(1)
        await pool.create(3)
        for (const keyId of passing.splice(0, 3)) await pool.ask('DELETE', `/keys/${keyId}`)
      })
      const ids = idsOf(all)
      assert.equal(new Set(ids).size, ids.length)
      assert.deepEqual(
        staying.filter((keyId) => !ids.includes(keyId)),
        [],
      )
      assert.ok(pages >= 4)
      assert.ok(dying.some((keyId) => !ids.includes(keyId)))
    })
  }

  test('filters by state', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server, { cooldownMs: 1000 })
    await pool.create(20)
    const rest = await pool.acquire()
    await pool.release(rest.leaseId)
    const { keyId: leased } = await pool.acquire()
    const { keyId: disabled } = await pool.acquire()
    await pool.ask('PATCH', `/keys/${disabled}`, { disabled: true })
    await pool.ask('DELETE', `/keys/${disabled}/lease`)
    const ids = async (state: string): Promise<string[]> =>
      idsOf(await listed(pool, `limit=3&state=${state}`))
    assert.deepEqual(await ids('cooling'), [rest.keyId])
    assert.deepEqual(await ids('leased'), [leased])
    assert.deepEqual(await ids('disabled'), [disabled])
    assert.equal((await ids('available')).length, 17)
    await clock.advance(1000)
    assert.deepEqual(await ids('cooling'), [])
    for (const state of ['', 'gone', 'leased&state=leased', '__proto__']) {
      const answer = await pool.ask('GET', `/keys?state=${state}`)
      assert.match(assertProblem(answer, 'invalid_request'), /state/)
    }
  })

  test('takes a cursor whose key has gone, and cursors never expire', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    await pool.create(10)
    const { keys, nextCursor } = await page(pool, '?limit=5')
    for (const { keyId } of keys) await pool.ask('DELETE', `/keys/${keyId}`)
    const rest = await page(pool, `?cursor=${nextCursor!}`)
    assert.equal(rest.keys.length, 5)
    await clock.advance(365 * 24 * 3_600_000)
    assert.deepEqual(await page(pool, `?cursor=${nextCursor!}`), { keys: [] })
  })

  test('refuses what is no cursor and no parameter', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    for (const cursor of ['', '0', '__proto__', '%00', 'x'.repeat(3000), `${NOBODY}0`]) {
      assertProblem(await pool.ask('GET', `/keys?cursor=${cursor}`), 'invalid_cursor')
    }
    for (const name of ['States', '__proto__', 'constructor']) {
      const answer = await pool.ask('GET', `/keys?${name}=leased`)
      assert.ok(assertProblem(answer, 'invalid_request').includes(`"${name}"`))
    }
  })
})
