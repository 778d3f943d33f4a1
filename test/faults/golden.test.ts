/** Data that earlier versions have written: they are read, to the last detail. */
import assert from 'node:assert/strict'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { Vault } from '../../src/service/vault.ts'
import { SystemRandom } from '../../src/random.ts'
import { ROOT } from '../support/command.ts'
import { TEST_MASTER_KEY } from '../support/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { DATABASE, LocalStore, type Told } from './data.ts'
import { Scratch, Served } from './served.ts'

interface Expected extends Told {
  /** When it was written (ms since the epoch). */
  instant: number
  leaseIds: { live: string[]; ended: string[] }
  /** By key id; all in the last pool, and written with the master key of tests. */
  values: Record<string, string>
}

for (const version of ['v1']) {
  suite(`data ${version}`, () => {
    const golden = join(ROOT, `test/fixtures/data-${version}`)
    const expected = JSON.parse(readFileSync(join(golden, 'expected.json'), 'utf8')) as Expected
    const { leaseIds } = expected
    const pools = Object.keys(expected.pools)
    const valued = pools.at(-1)!

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
      for (const has of ['hasValue', 'name', 'metadata'] as const) {
        assert.ok(keys.some((key) => Boolean(key[has])) && keys.some((key) => !key[has]), has)
      }
      const holders = new Set(keys.map(({ lease }) => lease?.holder))
      assert.deepEqual(holders, new Set([undefined, null, 'worker-1', 'worker-2']))
    })

    test('every value decrypts, and is known again', async () => {
      using scratch = copy()
      await using local = await LocalStore.open(scratch.data, new VirtualClock(expected.instant))
      const vault = await Vault.open(local.store, [TEST_MASTER_KEY], new SystemRandom())
      const keys = expected.pools[valued]!.keys.filter(({ hasValue }) => hasValue)
      assert.deepEqual(keys.map(({ keyId }) => keyId).sort(), Object.keys(expected.values).sort())
      for (const { keyId, lease } of keys) {
        const value = expected.values[keyId]!
        const found = await local.store.find(vault.digest(value), '')
        assert.deepEqual(found, lease === null ? [] : [{ pool: valued, keyId, ...lease }])
        await local.do(valued, { op: 'update', keyId, disabled: false, coolingUntil: null })
        if (lease !== null) await local.do(valued, { op: 'revoke', keyId })
        await local.do(valued, { op: 'update', keyId, coolingUntil: null })
        const { leases } = await local.do(valued, { op: 'acquire', count: 1, keyId })
        assert.equal(vault.open(valued, leases[0]!.sealed!), value)
      }
      const documents = [...(await local.store.documents()).keys()]
      assert.deepEqual(documents.sort(), ['keyring', 'note/abc'])
    })

    test('holders have their leases', async () => {
      using scratch = copy()
      await using local = await LocalStore.open(scratch.data, new VirtualClock(expected.instant))
      for (const holder of ['worker-1', 'worker-2']) {
        const { heldLeases } = await local.do(valued, { op: 'listLeases', limit: 100, holder })
        const held = expected.pools[valued]!.keys.filter(({ lease }) => lease?.holder === holder)
        assert.deepEqual(
          heldLeases,
          held.map(({ keyId, lease }) => ({ keyId, ...lease })),
        )
      }
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
      const key = `${TEST_MASTER_KEY.toString('base64')}\n`
      writeFileSync(join(scratch.data, 'encryption.key'), key, { mode: 0o600 })
      await using served = await Served.start(scratch.data)
      for (const { keyId, createdAt } of expected.pools.default!.keys) {
        assert.equal(Date.parse((await served.show(keyId)).createdAt), createdAt)
      }
      await served.create()
    })
  })
}
