/** Data that earlier versions have written: they are read, to the last detail. */
import assert from 'node:assert/strict'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { ROOT } from '../support/command.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { DATABASE, LocalStore, type Told } from './data.ts'
import { Scratch, Served } from './served.ts'

interface Expected extends Told {
  /** When it was written (ms since the epoch). */
  instant: number
  leaseIds: { live: string[]; ended: string[] }
}

for (const version of ['v1']) {
  suite(`data ${version}`, () => {
    const golden = join(ROOT, `test/fixtures/data-${version}`)
    const expected = JSON.parse(readFileSync(join(golden, 'expected.json'), 'utf8')) as Expected
    const { leaseIds } = expected
    const pools = Object.keys(expected.pools)

    /** A copy, since a start writes to it. */
    function copy(): Scratch {
      const scratch = new Scratch()
      cpSync(join(golden, DATABASE), join(scratch.data, DATABASE))
      return scratch
    }

    test('is worth reading: it has a chunk, entries and several groups', () => {
      using scratch = copy()
      const database = new DatabaseSync(join(scratch.data, DATABASE), { readOnly: true })
      const count = (table: string): unknown =>
        database.prepare(`SELECT count(*) AS count FROM ${table}`).get()!.count
      assert.deepEqual(count('chunks'), 1)
      assert.ok((count('journal') as number) > 5)
      assert.ok((count('entries') as number) > 3)
      database.close()
      const keys = Object.values(expected.pools).flatMap((pool) => pool.keys)
      const states = new Set(keys.map(({ state }) => state))
      assert.deepEqual([...states].sort(), ['available', 'cooling', 'disabled', 'leased'])
    })

    test('every pool, key and lease is as it was', async () => {
      using scratch = copy()
      const clock = new VirtualClock(expected.instant)
      // Twice: what the first start writes is read by the second.
      for (let start = 0; start < 2; start++) {
        await using local = await LocalStore.open(scratch.data, clock)
        const told = await local.tell(pools, [...leaseIds.live, ...leaseIds.ended])
        for (const pool of pools) {
          const ids = (of: Told): string[] => of.pools[pool]!.keys.map(({ keyId }) => keyId)
          assert.deepEqual(ids(told), ids(expected))
        }
        // Later versions may tell more.
        assert.partialDeepStrictEqual(told, { pools: expected.pools, leases: expected.leases })
        assert.equal(await local.store.policy('gone'), undefined)
      }
    })

    test('its leases can be renewed and released, its tokens go on rising', async () => {
      using scratch = copy()
      await using local = await LocalStore.open(scratch.data, new VirtualClock(expected.instant))
      for (const leaseId of leaseIds.live) {
        const released: unknown[] = []
        for (const pool of pools) {
          await local.store.run(pool, [{ op: 'renew', leaseId, ttlMs: 1000 }])
          released.push((await local.store.run(pool, [{ op: 'release', leaseId }]))[0])
        }
        assert.ok(
          released.some((result) => JSON.stringify(result) === '{"released":true}'),
          leaseId,
        )
      }
      const { leases } = await local.do(pools[0]!, { op: 'acquire', count: 1 })
      const keys = Object.values(expected.pools).flatMap((pool) => pool.keys)
      const tokens = keys.map(({ lease }) => lease?.fencingToken ?? 0)
      assert.ok(leases[0]!.fencingToken > Math.max(...tokens))
    })

    test('a server starts on it', async () => {
      using scratch = copy()
      await using served = await Served.start(scratch.data)
      for (const { keyId, createdAt } of expected.pools.default!.keys) {
        assert.equal(Date.parse((await served.show(keyId)).createdAt), createdAt)
      }
      await served.create()
    })
  })
}
