/** What every store tells of its own accord, and how it bears a storm. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Harness, type OpenStore } from './harness.ts'

const STORM = 20_000

/** `looksFirst`: a draw asks all shards before it grants, where what they told is old. */
export function eventsAndStorms(
  name: string,
  openStore: OpenStore,
  { looksFirst = false } = {},
): void {
  suite(`${name}: events`, () => {
    test('changes are told in order, each with the fencing token it concerns', async () => {
      const harness = await Harness.open(openStore)
      const [keyId] = await harness.create()
      const [first] = await harness.acquire()
      await harness.do({ op: 'renew', leaseId: first!.leaseId })
      await harness.do({ op: 'release', leaseId: first!.leaseId })
      const [second] = await harness.acquire()
      await harness.clock.advance(60_000)
      await harness.store.settle(1)
      await harness.do({ op: 'keepAlive', keyId: keyId! })
      await harness.clock.advance(300_000)
      await harness.store.settle(1)
      const told = harness.changes.map(({ kind, fencingToken }) => [kind, fencingToken])
      assert.deepEqual(told, [
        ['created', 0],
        ['leased', first!.fencingToken],
        ['renewed', first!.fencingToken],
        ['released', first!.fencingToken],
        ['leased', second!.fencingToken],
        ['lease_expired', second!.fencingToken],
        ['kept_alive', second!.fencingToken],
        ['key_expired', second!.fencingToken],
      ])
      assert(harness.changes.every((change) => change.keyId === keyId && change.pool === 'pool'))
      await harness.close()
    })

    test('it asks to be woken when something falls due, and for nothing earlier', async () => {
      const harness = await Harness.open(openStore, { keyLifetimeMs: 1000, leaseTtlMs: 100 })
      const start = harness.now
      const [keyId] = await harness.create()
      assert.deepEqual(harness.wakes, [start + 1000])
      const [lease] = await harness.acquire()
      assert.deepEqual(harness.wakes.splice(0), [start + 1000, start + 100])
      await harness.do({ op: 'release', leaseId: lease!.leaseId })
      await harness.clock.advance(100)
      await harness.store.settle(1)
      assert.deepEqual(harness.wakes.splice(0), [start + 1000])
      await harness.do({ op: 'keepAlive', keyId: keyId! })
      await harness.clock.advance(900)
      await harness.store.settle(1)
      assert.deepEqual(harness.wakes.splice(0), [start + 1100])
      await harness.clock.advance(100)
      await harness.store.settle(1)
      assert.deepEqual(harness.wakes, [], 'nothing will fall due')
      await harness.close()
    })

    test('it tells which pool may have a key to give', async () => {
      const harness = await Harness.open(openStore, {}, { swept: true })
      const heard = (): string[] => [...new Set(harness.available.splice(0))]
      const [keyId] = await harness.create()
      assert.deepEqual(heard(), ['pool'])
      const [lease] = await harness.acquire()
      assert.deepEqual(heard(), [])
      await harness.do({ op: 'release', leaseId: lease!.leaseId })
      assert.deepEqual(heard(), ['pool'])
      await harness.acquire()
      await harness.do({ op: 'unblock', keyId: keyId! })
      assert.deepEqual(heard(), ['pool'])
      await harness.acquire()
      await harness.clock.advance(59_999)
      assert.deepEqual(heard(), [])
      await harness.clock.advance(1)
      assert.deepEqual(heard(), ['pool'], 'nobody has asked: the timer has done it')
      await harness.close()
    })
  })

  suite(`${name}: storms`, () => {
    test('while thousands of keys die, everybody who asks is answered right', async () => {
      const harness = await Harness.open(openStore, { maxKeys: STORM })
      await harness.putPool('calm')
      for (let created = 0; created < STORM; created += 10_000) await harness.create(10_000)
      await harness.clock.advance(1000)
      await harness.create(1, 'calm')
      await harness.clock.advance(299_000)
      const answered: string[] = []
      const note = <T>(caller: string, answer: Promise<T>): Promise<T> =>
        answer.finally(() => answered.push(caller))
      const [described, drawn, made, calm] = await Promise.all([
        note('describe', harness.do({ op: 'describe' })),
        note('draw', harness.ask({ op: 'acquire', count: 1 })),
        note('create', harness.ask({ op: 'create', count: 10_000 })),
        note('calm', harness.acquire(1, 'calm')),
      ])
      assert.equal(answered[0], 'calm', 'who is not concerned does not wait')
      assert.equal(calm.length, 1)
      assert('keyIds' in made)
      const { available, leased } = described.counts
      assert([0, 10_000].includes(available + leased), 'no dead key is counted')
      if ('leases' in drawn) assert(made.keyIds.includes(drawn.leases[0]!.keyId))
      else assert('code' in drawn && drawn.code === 'pool_empty')
      await harness.close()
    })

    test('when thousands of leases end at once, each key is drawn once', async () => {
      const harness = await Harness.open(openStore)
      const keyIds = await harness.create(10_000)
      await harness.acquire(10_000)
      await harness.clock.advance(60_000)
      const draws = await Promise.all(Array.from({ length: 10 }, () => harness.acquire(1000)))
      const drawn = draws.flat().map(({ keyId }) => keyId)
      assert.deepEqual(drawn.toSorted(), keyIds.toSorted())
      await harness.close()
    })

    test('a storm is settled in slices, and nobody has to ask for it', async () => {
      const harness = await Harness.open(openStore, {}, { swept: true })
      const end = harness.now + 300_000
      await harness.create(10_000)
      await harness.clock.advance(299_999)
      harness.wakes.length = 0
      harness.changes.length = 0
      await harness.clock.advance(1)
      await harness.store.settle(1) // what was done is told when it is saved
      assert(harness.wakes.length > 10, `slices: ${harness.wakes.length}`)
      assert(harness.wakes.every((instant) => instant <= end))
      assert.equal(harness.changes.filter(({ kind }) => kind === 'key_expired').length, 10_000)
      await harness.close()
    })

    test('a pool that is gone is freed in slices, and its room is there at once', async () => {
      const harness = await Harness.open(openStore, {}, { maxTotalKeys: 10_000, swept: true })
      await harness.create(10_000)
      await harness.store.removePool('pool', { force: true })
      await harness.putPool('pool')
      const [keyIds] = await Promise.all([
        harness.create(10_000),
        harness.do({ op: 'list', limit: 1 }),
      ])
      assert.equal(keyIds.length, 10_000)
      await harness.close()
    })

    test('who was given leases before a storm made him wait keeps them, whatever the policy says now', async () => {
      const harness = await Harness.open(openStore)
      await harness.create(10_000)
      await harness.acquire(9000)
      await harness.clock.advance(60_000)
      harness.changes.length = 0
      const waiting = harness.do({ op: 'acquire', count: 10_000, ttlMs: 60_000 })
      const isGiven = (): boolean => harness.changes.some(({ kind }) => kind === 'leased')
      for (let turn = 0; looksFirst && !isGiven(); turn++) {
        assert(turn < 100_000, 'nothing was given')
        await harness.clock.yield()
      }
      assert(harness.changes.filter(({ kind }) => kind === 'leased').length < 10_000)
      await harness.putPool('pool', { leaseTtlMs: 1, maxLeaseTtlMs: 1 })
      assert.equal((await waiting).leases.length, 10_000)
      await harness.close()
    })

    test('a lease that is over when the answer comes is not in it', async () => {
      const harness = await Harness.open(openStore)
      await harness.create(10_000)
      await harness.acquire(9000)
      await harness.clock.advance(60_000)
      const waiting = harness.ask({ op: 'acquire', count: 10_000, ttlMs: 1 })
      await harness.clock.advance(1)
      const result = await waiting
      const now = harness.now
      assert('leases' in result)
      assert(result.leases.every(({ expiresAt }) => expiresAt > now))
      assert.equal(new Set(result.leases.map(({ keyId }) => keyId)).size, result.leases.length)
      await harness.close()
    })

    test('who waits in a pool when it is removed hears that it is gone', async () => {
      const harness = await Harness.open(openStore)
      // It has what is available, and must wait for the leases that have just ended.
      await harness.create(10_000)
      await harness.acquire(9000)
      await harness.clock.advance(60_000)
      const waiting = harness.ask({ op: 'acquire', count: 10_000 })
      await harness.store.removePool('pool', { force: true })
      await harness.putPool('pool')
      const result = await waiting
      assert('code' in result, 'it was given leases of keys that are gone')
      assert.equal(result.code, 'pool_not_found')
      await harness.close()
    })
  })
}
