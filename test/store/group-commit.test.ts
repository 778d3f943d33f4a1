/** Which changes go to the disk together. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { MAX_RECORD_WORDS } from '../../src/engine/records.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { BusyClock } from './harness.ts'

const KEYS = 200

/** Leases so many keys in one turn: how many were on their way to the disk before it was over, and each group's rows. */
async function leaseInOneTurn(leases: number): Promise<{ early: number; groups: number[] }> {
  const disk = new SimulatedDisk()
  const store = await EmbeddedStore.open(
    { maxTotalKeys: KEYS, maxPools: 2 },
    new BusyClock(),
    new SeededRandom(1),
    { wakeAt: () => undefined },
    (events) => disk.open(events),
  )
  await store.putPool('pool', DEFAULT_POLICY)
  await store.run('pool', [{ op: 'create', count: KEYS }])
  const groups: number[] = []
  disk.decide = ({ records }) => {
    groups.push(records.length / MAX_RECORD_WORDS) // a leased key has the longest record
    return Promise.resolve('committed')
  }
  const acquired = Array.from({ length: leases }, () => store.run('pool', [{ op: 'acquire' }]))
  const early = groups.reduce((sum, rows) => sum + rows, 0)
  for (const [result] of await Promise.all(acquired)) assert('leases' in result)
  await store.close()
  return { early, groups }
}

test('what changes in one turn is committed together', async () => {
  assert.deepEqual(await leaseInOneTurn(63), { early: 0, groups: [63] })
})

test('where it is much, the disk is at work on a part before the turn is over', async () => {
  const { early, groups } = await leaseInOneTurn(KEYS)
  assert.equal(early, 64)
  assert.deepEqual(groups, [64, KEYS - 64])
})
