import assert from 'node:assert/strict'
import { test } from 'node:test'
import { logProgress } from '../../src/cli/progress.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { Log } from '../../src/log.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const GROUPS = 10
const KEYS_A_GROUP = 3

/** A store that logs how far it has come, and what it has logged. */
async function open(
  disk: SimulatedDisk,
  clock: VirtualClock,
): Promise<{ store: EmbeddedStore; told: unknown[] }> {
  const told: unknown[] = []
  const log = new Log('info', (line) => {
    const { message, keysRead, keysInPlace } = JSON.parse(line) as Record<string, unknown>
    told.push([message, keysRead, keysInPlace])
  })
  const store = await EmbeddedStore.open(
    { maxTotalKeys: 100, maxPools: 2 },
    clock,
    new SeededRandom(1),
    { wakeAt: () => undefined, recovering: logProgress(clock, log) },
    (events) => disk.open(events),
  )
  return { store, told }
}

/** A disk with that many groups of keys. */
async function filled(clock: VirtualClock): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  const { store } = await open(disk, clock)
  await store.putPool('pool', DEFAULT_POLICY)
  for (let group = 0; group < GROUPS; group++) {
    await store.run('pool', [{ op: 'create', count: KEYS_A_GROUP }])
  }
  return disk
}

test('a start within a second says nothing of how far it has come', async () => {
  const clock = new VirtualClock()
  const disk = await filled(clock)
  const things = [...disk.saved()].length
  disk.seek = () => clock.advance(Math.floor(999 / things))
  assert.deepEqual((await open(disk, clock)).told, [])
})

test('one that takes longer says it each second, also when the state is read anew', async () => {
  const clock = new VirtualClock()
  const disk = await filled(clock)
  disk.seek = () => clock.advance(400)
  const { store, told } = await open(disk, clock)
  // It counts from the first key on; 400 ms a group.
  const each = [9, 18, 27].map((keysRead) => ['reading what was saved', keysRead, 0])
  assert.deepEqual(told.slice(0, each.length), each)
  const atStart = told.splice(0)

  await clock.advance(60_000)
  disk.decide = () => Promise.resolve('full')
  const failing = store.run('pool', [{ op: 'create', count: 1 }])
  await assert.rejects(failing, { code: 'storage_full' })
  await store.stats(1)
  assert.deepEqual(told, atStart)
})
