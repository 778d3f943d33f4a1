/** A disk that has no room at all, not even for what is under way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Group } from '../../src/store/embedded/journal.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { type Fate, SimulatedDisk } from '../support/simulated-disk.ts'
import { BusyClock } from './harness.ts'

const KEYS = 20
const LIFE_MS = 1000

function open(disk: SimulatedDisk, clock: BusyClock): Promise<EmbeddedStore> {
  return EmbeddedStore.open(
    { maxTotalKeys: 100, maxPools: 2 },
    clock,
    new SeededRandom(1),
    { wakeAt: () => undefined },
    (events) => disk.open(events),
  )
}

/** What needs room finds none; time alone has a place of its own. */
function fateWithoutRoom({ records, entries, chunks }: Group): Promise<Fate> {
  const isOfTime = records.length === 0 && entries.size === 0 && chunks.length === 0
  return Promise.resolve(isOfTime ? 'committed' : 'full')
}

/** Names of the entries on the disk that belong to keys. */
function reasonsOn(disk: SimulatedDisk): string[] {
  const entries = [...disk.saved()].filter((saved) => saved.kind === 'entry')
  return entries.map(({ name }) => name).filter((name) => name.startsWith('reason/'))
}

test('keys that die where there is no room are no reason to read the state anew', async () => {
  const disk = new SimulatedDisk()
  const clock = new BusyClock()
  const store = await open(disk, clock)
  await store.putPool('pool', { ...DEFAULT_POLICY, keyLifetimeMs: LIFE_MS })
  const [created] = await store.run('pool', [{ op: 'create', count: KEYS }])
  assert('keyIds' in created)
  const { keyIds } = created
  const disable = (keyId: string) =>
    ({ op: 'update', keyId, disabled: true, reason: 'leaked' }) as const
  await store.run('pool', keyIds.map(disable))
  assert.equal(reasonsOn(disk).length, KEYS)

  let reads = 0
  disk.seek = () => {
    reads++
    return Promise.resolve()
  }
  disk.decide = fateWithoutRoom
  disk.setRoom(false)
  for (let step = 0; step < 3; step++) {
    await clock.advance(LIFE_MS)
    await store.settle(1)
    const [shown] = await store.run('pool', [{ op: 'show', keyId: keyIds[0]! }])
    assert('code' in shown && shown.code === 'key_not_found')
    assert.deepEqual((await store.stats(1)).keys.disabled, 0)
  }
  assert.equal(reads, 0)
  assert.equal(reasonsOn(disk).length, KEYS)

  // Nor are those that a start finds dead.
  const restarted = await open(disk, clock)
  disk.setRoom(false)
  const readAtStart = reads
  const [shown] = await restarted.run('pool', [{ op: 'show', keyId: keyIds[0]! }])
  assert('code' in shown && shown.code === 'key_not_found')
  await restarted.settle(1)
  assert.equal(reads, readAtStart)

  disk.decide = () => Promise.resolve('committed')
  disk.setRoom(true)
  await restarted.run('pool', [{ op: 'create', count: 1 }])
  assert.deepEqual(reasonsOn(disk), [], 'they go with the next change')
})
