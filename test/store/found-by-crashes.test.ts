/** What the crash simulation has found, each in its shortest form. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { BusyClock } from './harness.ts'

const START = Date.UTC(2030, 0, 1)

async function open(disk: SimulatedDisk, clock: BusyClock, maxPools = 5): Promise<EmbeddedStore> {
  return EmbeddedStore.open(
    { maxTotalKeys: 5000, maxPools },
    clock,
    new SeededRandom(clock.now()),
    { wakeAt: () => undefined },
    (events) => disk.open(events),
  )
}

function at(instant: number): BusyClock {
  return new BusyClock(instant)
}

async function pool(store: EmbeddedStore, policy: Partial<Policy> = {}): Promise<string> {
  await store.putPool('pool', { ...DEFAULT_POLICY, ...policy })
  const [created] = await store.run('pool', [{ op: 'create', count: 1 }])
  assert('keyIds' in created)
  return created.keyIds[0]!
}

test('a key that died while nobody was there, and was shown dead, stays so', async () => {
  const disk = new SimulatedDisk()
  const keyId = await pool(await open(disk, at(START)))
  const later = await open(disk, at(START + 300_000))
  const [shown] = await later.run('pool', [{ op: 'show', keyId }])
  assert('code' in shown && shown.code === 'key_not_found')
  const setBack = await open(disk, at(START + 200_000))
  const [again] = await setBack.run('pool', [{ op: 'show', keyId }])
  assert('code' in again, 'it lives again')
})

test('a rest that was over together with its lease, and was shown so, is over', async () => {
  const disk = new SimulatedDisk()
  const clock = at(START)
  const store = await open(disk, clock)
  const keyId = await pool(store, {
    keyLifetimeMs: null,
    leaseTtlMs: 1000,
    expiredLeaseCooldownMs: 1000,
  })
  await store.run('pool', [{ op: 'acquire', count: 1 }])
  await clock.advance(1500)
  await store.putPool('other', DEFAULT_POLICY) // 1500 is on record
  await clock.advance(500)
  const [shown] = await store.run('pool', [{ op: 'show', keyId }])
  assert('key' in shown && shown.key.state === 'available')
  const setBack = await open(disk, at(START + 1500))
  const [again] = await setBack.run('pool', [{ op: 'show', keyId }])
  assert('key' in again)
  assert.equal(again.key.state, 'available')
})

test('a rest under a disabled key that was shown to be over is over', async () => {
  const disk = new SimulatedDisk()
  const clock = at(START)
  const store = await open(disk, clock)
  const keyId = await pool(store, { keyLifetimeMs: null, cooldownMs: 1000 })
  const [acquired] = await store.run('pool', [{ op: 'acquire', count: 1 }])
  assert('leases' in acquired)
  const { leaseId } = acquired.leases[0]!
  await store.run('pool', [
    { op: 'release', leaseId },
    { op: 'update', keyId, disabled: true },
  ])
  await clock.advance(1000)
  const [shown] = await store.run('pool', [{ op: 'show', keyId }])
  assert('key' in shown && shown.key.coolingUntil === null)
  const setBack = await open(disk, at(START + 500))
  const [again] = await setBack.run('pool', [{ op: 'show', keyId }])
  assert('key' in again)
  assert.equal(again.key.coolingUntil, null)
})

test('a request that was a new one again after ten minutes, and was shown so, stays new', async () => {
  const disk = new SimulatedDisk()
  const clock = at(START)
  const store = await open(disk, clock)
  await pool(store)
  const request = { key: 'key', body: 'body' }
  await store.run('pool', [{ op: 'describe' }, { op: 'remember', ...request, count: 1 }])
  await clock.advance(600_000)
  const [recalled] = await store.run('pool', [{ op: 'recall', ...request }])
  assert.deepEqual(recalled, { results: null })
  const setBack = await open(disk, at(START + 500_000))
  const [again] = await setBack.run('pool', [{ op: 'recall', ...request }])
  assert.deepEqual(again, { results: null })
})

test('who was granted leases before there was no room is given them', async () => {
  const disk = new SimulatedDisk()
  const clock = at(START)
  const store = await open(disk, clock)
  await pool(store, { keyLifetimeMs: null })
  await store.run('pool', [{ op: 'create', count: 999 }])
  await store.run('pool', [{ op: 'acquire', count: 900 }])
  await clock.advance(60_000)
  const waiting = store.run('pool', [{ op: 'acquire', count: 1000 }])
  disk.setRoom(false)
  const [acquired] = await waiting
  const [described] = await store.run('pool', [{ op: 'describe' }])
  assert('counts' in described)
  assert('leases' in acquired, `refused, though ${described.counts.leased} keys are leased by it`)
})

test('without room, keys of a pool that is gone are not counted', async () => {
  const disk = new SimulatedDisk()
  const store = await open(disk, at(START))
  await pool(store)
  await store.removePool('pool', { force: true })
  disk.setRoom(false)
  assert.equal((await store.stats(1)).keys.available, 0)
})

test('who waits for a place for a pool waits for the state to be read anew, too', async () => {
  const disk = new SimulatedDisk()
  const clock = at(START)
  const store = await open(disk, clock, 2)
  await store.putPool('first', DEFAULT_POLICY)
  await pool(store)
  await store.run('pool', [{ op: 'create', count: 999 }])
  disk.decide = () => Promise.resolve('full')
  disk.seek = async () => {
    for (let turns = 0; turns < 20; turns++) await clock.yield()
  }
  const removing = store.removePool('pool', { force: true }) // will not be saved
  const putting = store.putPool('other', DEFAULT_POLICY)
  const outcomes = await Promise.allSettled([removing, putting])
  assert.equal(outcomes[0].status, 'rejected')
  disk.decide = () => Promise.resolve('committed')
  const names = (await store.stats(10)).pools.map(({ name }) => name)
  assert.deepEqual(names.sort(), ['first', 'pool'])
})
