/** A durable store, or one in memory, that is worked on without HTTP. */
import { readFileSync, statSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { SystemClock } from '../src/clock.ts'
import { type Answers, isRefusal, type Operation, type Result } from '../src/engine/operations.ts'
import { SystemRandom } from '../src/random.ts'
import { EmbeddedStore } from '../src/store/embedded/embedded-store.ts'
import { SqliteJournal } from '../src/store/embedded/sqlite/sqlite-journal.ts'
import { answerParent } from './child.ts'
import { LIMITS, POLICY } from './workload.ts'

const POOL = 'bench'
const CREATED_AT_A_TIME = 10_000
const DELAY_RESOLUTION_MS = 1
const SECTOR_BYTES = 512

const clock = new SystemClock()
let store: EmbeddedStore
let directory: string | null = null

async function run(operations: readonly Operation[]): Promise<readonly Result[]> {
  const results = await store.run(POOL, operations)
  for (const result of results) if (isRefusal(result)) throw new Error(`refused: ${result.code}`)
  return results
}

async function acquire(count: number): Promise<string[]> {
  const [answer] = (await run([{ op: 'acquire', count }])) as [Answers['acquire']]
  if (answer.leases.length !== count) throw new Error('too few keys were available')
  return answer.leases.map(({ leaseId }) => leaseId)
}

async function release(leaseIds: string[]): Promise<void> {
  await run(leaseIds.map((leaseId) => ({ op: 'release', leaseId })))
}

/** What the disk was given to write so far; NaN where the system does not tell. */
function written(): { byProcess: number; atDevice: number } {
  if (process.platform !== 'linux' || directory === null) return { byProcess: NaN, atDevice: NaN }
  const io = readFileSync('/proc/self/io', 'utf8') // of all threads
  const byProcess = Number(/^write_bytes: (\d+)$/m.exec(io)![1])
  return { byProcess, atDevice: sectorsWritten(statSync(directory).dev) * SECTOR_BYTES }
}

function sectorsWritten(device: number): number {
  const [major, minor] = [(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)]
  try {
    const stat = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, 'utf8')
    return Number(stat.trim().split(/\s+/)[6])
  } catch {
    return NaN // not a device of its own
  }
}

const tasks = {
  /** Opens a store; null: in memory. Returns how many ms that took. */
  async open(inDirectory: string | null): Promise<number> {
    const events = { wakeAt: () => undefined } // work comes often enough, and nothing dies meanwhile
    const start = performance.now()
    directory = inDirectory
    store =
      inDirectory === null
        ? EmbeddedStore.inMemory(LIMITS, clock, new SystemRandom(), events)
        : await EmbeddedStore.open(LIMITS, clock, new SystemRandom(), events, (journalEvents) =>
            SqliteJournal.open({ directory: inDirectory, sync: true }, journalEvents),
          )
    return performance.now() - start
  },

  async fill(keys: number): Promise<void> {
    await store.putPool(POOL, POLICY)
    for (let left = keys; left > 0; left -= CREATED_AT_A_TIME) {
      await run([{ op: 'create', count: Math.min(left, CREATED_AT_A_TIME) }])
    }
  },

  /** How many keys there are, leased or not. */
  async keys(): Promise<number> {
    const { keys } = await store.stats(0)
    return keys.available + keys.leased
  },

  /** Changes a second with so many calls under way, each of which is one acquire or release. */
  async changes(inFlight: number, forMs: number): Promise<{ perSecond: number; cores: number }> {
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const work = async (): Promise<number> => {
      let changes = 0
      while (performance.now() - start < forMs) {
        await release(await acquire(1))
        changes += 2
      }
      return changes
    }
    const done = await Promise.all(Array.from({ length: inFlight }, work))
    const elapsedMs = performance.now() - start
    const { user, system } = process.cpuUsage(cpuBefore)
    const changes = done.reduce((sum, count) => sum + count)
    return { perSecond: (changes / elapsedMs) * 1000, cores: (user + system) / 1000 / elapsedMs }
  },

  /**
   * Changes `rows` rows in groups of that size, each on disk before the next begins. Returns bytes written
   * for each, and the longest that the event loop was kept from others.
   */
  async groups(size: number, rows: number) {
    const before = written()
    const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
    delay.enable()
    const start = performance.now()
    for (let changed = 0; changed < rows; changed += 2 * size) await release(await acquire(size))
    const elapsedMs = performance.now() - start
    delay.disable()
    const after = written()
    return {
      perSecond: (rows / elapsedMs) * 1000,
      byProcess: (after.byProcess - before.byProcess) / rows,
      atDevice: (after.atDevice - before.atDevice) / rows,
      longestPauseMs: delay.max / 1e6 - DELAY_RESOLUTION_MS,
    }
  },

  close: () => store.close(),
}

export type DurableTasks = typeof tasks
answerParent(tasks)
