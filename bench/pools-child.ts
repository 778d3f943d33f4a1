/** A number of equal pools in an engine of their own: what they weigh, and how fast they are. */
import { Engine, Run } from '../src/engine/engine.ts'
import { type Answers, isRefusal, type Operation, type Result } from '../src/engine/operations.ts'
import { SystemRandom } from '../src/random.ts'
import { answerParent, collectGarbage } from './child.ts'
import { anyBelow, LIMITS, POLICY, rate, WorkClock } from './workload.ts'

const CHUNK = 1000
const OUTSTANDING = 64
const CREATED_AT_A_TIME = 10_000

const clock = new WorkClock()
let engine: Engine
let names: string[] = []

function run(pool: string, operation: Operation): Result {
  const run = new Run(pool, [operation])
  if (!engine.run(run, clock.now)) throw new Error('something was due')
  const result = run.results[0]!
  if (isRefusal(result)) throw new Error(`refused: ${result.code}`)
  return result
}

function acquire(): { pool: string; leaseId: string } {
  const pool = names[anyBelow(names.length)]!
  const { leases } = run(pool, { op: 'acquire', count: 1 }) as Answers['acquire']
  return { pool, leaseId: leases[0]!.leaseId }
}

const tasks = {
  async fill(pools: number, keysEach: number) {
    await collectGarbage()
    const before = process.memoryUsage()
    engine = new Engine(LIMITS, new SystemRandom())
    for (let pool = 0; pool < pools; pool++) {
      const name = `pool-${pool}`
      engine.putPool(name, POLICY)
      for (let left = keysEach; left > 0; left -= CREATED_AT_A_TIME) {
        run(name, { op: 'create', count: Math.min(left, CREATED_AT_A_TIME) })
      }
    }
    await collectGarbage()
    const after = process.memoryUsage()
    names = [...engine.poolNames()]
    const keys = pools * keysEach
    return {
      processBytes: (after.rss - before.rss) / keys,
      tableBytes: engine.tables.bytes / keys,
      heapBytes: (after.heapUsed - before.heapUsed) / keys,
    }
  },

  /** Lease + release by id, each in a run of its own, on a pool chosen at random. */
  pairs(forMs: number): number {
    const held = Array.from({ length: OUTSTANDING }, acquire)
    let oldest = 0
    const pairs = rate(forMs, CHUNK, () => {
      clock.advance(1)
      for (let pair = 0; pair < CHUNK; pair++) {
        const { pool, leaseId } = held[oldest]!
        run(pool, { op: 'release', leaseId })
        held[oldest] = acquire()
        oldest = (oldest + 1) % OUTSTANDING
      }
    })
    for (const { pool, leaseId } of held) run(pool, { op: 'release', leaseId })
    return pairs
  },
}

export type PoolsTasks = typeof tasks
answerParent(tasks)
