/** What every store that keeps a history tells of it. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Answers, HistoryEntry } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import { shardOfKey } from '../../src/store/redis/layout.ts'
import { Harness, type OpenStore } from './harness.ts'

const HOUR_MS = 3_600_000
const KEPT_MS = 24 * HOUR_MS
const FOREVER = { keyLifetimeMs: null }

/** An entry without what it leaves open. */
type Told = Partial<HistoryEntry> & Pick<HistoryEntry, 'change'>

/** A pool of several shards gives each its part of the records that it may hold. */
export function histories(name: string, openStore: OpenStore, shards = 1): void {
  const open = (policy: Partial<Policy> = {}, records = 1000): Promise<Harness> =>
    Harness.open(openStore, policy, { history: { keptMs: KEPT_MS, records } })

  suite(`${name}: history`, () => {
    test('who held a key when, how each lease ended, and who changed what', async () => {
      const harness = await open({ ...FOREVER, cooldownMs: 50 })
      const start = harness.now
      const { keyIds } = await harness.do({ op: 'create', count: 1, by: 'ann' })
      const keyId = keyIds[0]!
      const first = await lease(harness, 'w1')
      await harness.clock.advance(10)
      await harness.do({ op: 'renew', leaseId: first.leaseId, ttlMs: 1000 })
      await harness.clock.advance(10)
      await harness.do({ op: 'release', leaseId: first.leaseId, outcome: 'rate_limited' })
      await harness.do({ op: 'update', keyId, coolingUntil: null, by: 'bob' })
      const second = await lease(harness, 'w2')
      await harness.do({ op: 'update', keyId, disabled: true, reason: 'leaked', by: 'bob' })
      await harness.do({ op: 'revoke', keyId, by: 'bob' })
      await harness.do({ op: 'update', keyId, disabled: false, by: 'ann' })
      const third = await lease(harness, null)
      await harness.do({ op: 'unblock', keyId, by: 'ann' })
      await harness.do({ op: 'keepAlive', keyId, by: 'ann' })
      await harness.do({ op: 'remove', keyId, by: 'ann' })
      const [one, two, three] = [first, second, third].map(({ fencingToken }) => fencingToken)
      const later = start + 20
      const told: Told[] = [
        { at: later, change: 'deleted', by: 'ann' },
        { at: later, change: 'kept_alive', by: 'ann', until: later + 50 },
        { at: later, change: 'unblocked', fencingToken: three!, by: 'ann', until: later + 50 },
        { at: later, change: 'leased', fencingToken: three!, until: later + 60_000 },
        { at: later, change: 'enabled', by: 'ann' },
        { at: later, change: 'revoked', fencingToken: two!, holder: 'w2', by: 'bob' },
        {
          ...{ at: later, change: 'disabled', fencingToken: two!, holder: 'w2', by: 'bob' },
          until: later + 60_000,
        },
        { at: later, change: 'leased', fencingToken: two!, holder: 'w2', until: later + 60_000 },
        { at: later, change: 'updated', by: 'bob' },
        {
          ...{ at: later, change: 'released', fencingToken: one!, holder: 'w1' },
          ...{ outcome: 'rate_limited', until: later + 30_000 },
        },
        {
          ...{ at: start + 10, change: 'renewed', fencingToken: one!, holder: 'w1' },
          until: start + 1010,
        },
        { at: start, change: 'leased', fencingToken: one!, holder: 'w1', until: start + 60_000 },
        { at: start, change: 'created', by: 'ann' },
      ]
      const page = await harness.do({ op: 'history', keyId, limit: 100 })
      assert.deepEqual(page, { entries: told.map(whole), nextCursor: null, since: start })
      await harness.close()
    })

    test('what time has done is told at its instant, whoever looks when', async () => {
      const harness = await open({ keyLifetimeMs: 100_000, leaseTtlMs: 10_000 })
      const start = harness.now
      const [keyId] = await harness.create()
      const changes = async (): Promise<unknown[]> =>
        (await history(harness, keyId!)).entries.map(({ change, at, holder }) => [
          change,
          at - start,
          holder,
        ])
      const leased = ['leased', 0, 'w']
      await lease(harness, 'w')
      await harness.clock.advance(9_999)
      assert.deepEqual(await changes(), [leased, ['created', 0, null]])
      await harness.clock.advance(1)
      const first = [['lease_expired', 10_000, 'w'], leased, ['created', 0, null]]
      assert.deepEqual(await changes(), first)
      await harness.clock.advance(85_000)
      await harness.store.settle(1)
      await lease(harness, 'v')
      await harness.clock.advance(50_000)
      assert.deepEqual(await changes(), [
        ['key_expired', 100_000, 'v'],
        ['leased', 95_000, 'v'],
        ...first,
      ])
      await harness.close()
    })

    test('pages, the latest first, are the same as one', async () => {
      const harness = await open(FOREVER)
      const [keyId] = await harness.create()
      await harness.create()
      for (let round = 0; round < 10; round++) {
        const leases = await harness.acquire(2)
        if (round % 2 === 0) await harness.clock.advance(60_000)
        else for (const { leaseId } of leases) await harness.do({ op: 'release', leaseId })
      }
      const { entries } = await history(harness, keyId!)
      assert.equal(entries.length, 21)
      for (const limit of [1, 2, 7, 21]) {
        const paged: HistoryEntry[] = []
        let cursor: string | undefined
        do {
          const page = await harness.do({ op: 'history', keyId: keyId!, limit, cursor })
          assert(page.entries.length <= limit)
          paged.push(...page.entries)
          cursor = page.nextCursor ?? undefined
          // What happens meanwhile is not in the pages that follow.
          await harness.do({ op: 'keepAlive', keyId: keyId! })
        } while (cursor !== undefined)
        const before = paged.filter(({ change }) => change !== 'kept_alive')
        assert.deepEqual(before, entries)
      }
      await harness.close()
    })

    test('what is older than it is kept is not shown, and the rest is said to be all since then', async () => {
      const harness = await open({ ...FOREVER, leaseTtlMs: HOUR_MS })
      const start = harness.now
      const [keyId] = await harness.create()
      await harness.clock.advance(KEPT_MS)
      await lease(harness, 'w')
      assert.equal((await history(harness, keyId!)).entries.length, 2)
      await harness.clock.advance(1)
      const page = await history(harness, keyId!)
      assert.deepEqual(
        page.entries.map(({ change }) => change),
        ['leased'],
      )
      assert.equal(page.since, start + 1)
      await harness.do({ op: 'remove', keyId: keyId! })
      await harness.clock.advance(KEPT_MS)
      const last = await history(harness, keyId!)
      assert.deepEqual(
        last.entries.map(({ change }) => change),
        ['deleted'],
      )
      await harness.clock.advance(1)
      const gone = await harness.ask({ op: 'history', keyId: keyId!, limit: 1 })
      assert.deepEqual(gone, { code: 'key_not_found' })
      await harness.close()
    })

    test('where there are more changes than it holds the oldest go, and it says so', async () => {
      const harness = await open(FOREVER, 10 * shards)
      const [busy] = await harness.create()
      for (let change = 0; change < 25; change++) {
        await harness.clock.advance(1)
        await harness.do({ op: 'keepAlive', keyId: busy! })
      }
      const page = await history(harness, busy!)
      assert.equal(page.entries.length, 10)
      assert.equal(page.since, page.entries.at(-1)!.at)
      let fresh: string
      do [fresh] = (await harness.create()) as [string]
      while (shardOfKey(fresh, shards) !== shardOfKey(busy!, shards))
      assert.equal((await history(harness, fresh)).entries.length, 1)
      assert.equal((await history(harness, busy!)).entries.length, 9)
      await harness.close()
    })

    test('a key is known in its pool only, and one of which nothing is known is a 404', async () => {
      const harness = await open(FOREVER)
      await harness.putPool('other')
      const [keyId] = await harness.create()
      const ask = (keyId: string, cursor?: string, pool = 'pool'): Promise<object> =>
        harness.ask({ op: 'history', keyId, limit: 10, cursor }, pool)
      assert.deepEqual(await ask(keyId!, undefined, 'other'), { code: 'key_not_found' })
      for (const id of ['constructor', '', crypto.randomUUID()]) {
        assert.deepEqual(await ask(id), { code: 'key_not_found' })
      }
      for (const cursor of ['', 'x', '99999-1-0', '1-1-9', '-1-1-1']) {
        assert.deepEqual(await ask(keyId!, cursor), { code: 'invalid_cursor' })
      }
      await harness.store.removePool('pool', { force: true })
      assert.deepEqual(await ask(keyId!), { code: 'pool_not_found' })
      await harness.close()
    })

    test('keys of a pool that is emptied are deleted ones', async () => {
      const harness = await open(FOREVER)
      const [keyId] = await harness.create()
      await lease(harness, 'w')
      await harness.store.removePool('pool', { force: true, again: true })
      await harness.store.settle(1)
      const { entries } = await history(harness, keyId!)
      assert.deepEqual(
        entries.map(({ change, holder }) => [change, holder]),
        [
          ['deleted', 'w'],
          ['leased', 'w'],
          ['created', null],
        ],
      )
      await harness.close()
    })

    test('where none is kept it says so', async () => {
      const harness = await Harness.open(openStore)
      const [keyId] = await harness.create()
      const asked = await harness.ask({ op: 'history', keyId: keyId!, limit: 1 })
      assert.deepEqual(asked, { code: 'history_off' })
      await harness.close()
    })
  })
}

function history(harness: Harness, keyId: string): Promise<Answers['history']> {
  return harness.do({ op: 'history', keyId, limit: 100 })
}

async function lease(
  harness: Harness,
  holder: string | null,
): Promise<Answers['acquire']['leases'][0]> {
  const { leases } = await harness.do({ op: 'acquire', holder: holder ?? undefined })
  return leases[0]!
}

function whole(told: Told): HistoryEntry {
  const open = { at: 0, fencingToken: null, holder: null, by: null, outcome: null, until: null }
  return { ...open, ...told }
}
