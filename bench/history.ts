/** What a history adds to the cost of a change: stores with and without one, in turns. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SystemClock } from '../src/clock.ts'
import { isRefusal } from '../src/engine/operations.ts'
import { SystemRandom } from '../src/random.ts'
import { EmbeddedStore } from '../src/store/embedded/embedded-store.ts'
import { SqliteJournal } from '../src/store/embedded/sqlite/sqlite-journal.ts'
import { figure, type Table } from './report.ts'
import { POLICY } from './workload.ts'

/** Operations under way at a time, each a call of its own. */
const AT_A_TIME = 256
/** Less than a measurement makes, so that old records go while new ones come. */
const HISTORY = { keptMs: 3_600_000, records: 200_000 }
const noEvents = { wakeAt: () => undefined }

interface Sample {
  off: number
  on: number
}

export async function history(quick: boolean): Promise<Table[]> {
  const keys = quick ? 1000 : 100_000
  const rounds = quick ? 1 : 9
  const changes = quick ? 2048 : 100_000
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'history-bench-'))
  try {
    const rows = []
    for (const place of ['in memory', 'durable'] as const) {
      const where = (name: string): string | null =>
        place === 'durable' ? join(directory, name) : null
      const stores = [await open(keys, where('off'), false), await open(keys, where('on'), true)]
      const samples: Sample[] = []
      for (let round = 0; round <= rounds; round++) {
        const sample: Sample = { off: 0, on: 0 }
        // Who goes first changes.
        for (const at of round % 2 === 0 ? [0, 1] : [1, 0]) {
          sample[at === 0 ? 'off' : 'on'] = await changesASecond(stores[at]!, changes)
        }
        if (round > 0) samples.push(sample) // the first one only warms up
      }
      for (const store of stores) await store.close()
      const cells = [
        figure(samples.map(({ off }) => off)),
        figure(samples.map(({ on }) => on)),
        figure(samples.map(({ off, on }) => off / on)),
      ]
      rows.push({ label: place, cells })
    }
    return [
      {
        title: `Leases and releases a second at the store, ${AT_A_TIME} under way, ${keys} keys`,
        columns: ['without history', 'with', 'cost with / without'],
        rows,
        notes: ['Each lease has a holder. The ratio is taken within a round.'],
      },
    ]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function open(keys: number, directory: string | null, isOn: boolean): Promise<EmbeddedStore> {
  const limits = { maxTotalKeys: keys, maxPools: 10, history: isOn ? HISTORY : null }
  const clock = new SystemClock()
  const random = new SystemRandom()
  const store =
    directory === null
      ? EmbeddedStore.inMemory(limits, clock, random, noEvents)
      : await EmbeddedStore.open(limits, clock, random, noEvents, (events) =>
          SqliteJournal.open({ directory, sync: true, history: isOn }, events),
        )
  await store.putPool('pool', POLICY)
  for (let made = 0; made < keys; made += 1000) {
    const [created] = await store.run('pool', [{ op: 'create', count: 1000 }])
    if (isRefusal(created)) throw new Error(`not created: ${created.code}`)
  }
  return store
}

async function changesASecond(store: EmbeddedStore, changes: number): Promise<number> {
  const start = performance.now()
  const pairs = Math.ceil(changes / 2 / AT_A_TIME)
  await Promise.all(
    Array.from({ length: AT_A_TIME }, async (_, worker) => {
      const holder = `worker-${worker}`
      for (let pair = 0; pair < pairs; pair++) {
        const [acquired] = await store.run('pool', [{ op: 'acquire', count: 1, holder }])
        if (isRefusal(acquired)) throw new Error(`not leased: ${acquired.code}`)
        const { leaseId } = acquired.leases[0]!
        const [released] = await store.run('pool', [{ op: 'release', leaseId }])
        if (isRefusal(released) || !released.released) throw new Error('not released')
      }
    }),
  )
  return (2 * pairs * AT_A_TIME * 1000) / (performance.now() - start)
}
