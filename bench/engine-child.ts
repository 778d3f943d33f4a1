/** One size of the engine benchmark: grows a pool to so many keys and works on it. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { Engine, Run } from '../src/engine/engine.ts'
import { formatKeyId } from '../src/engine/ids.ts'
import { type Answers, isRefusal, type Operation, type Result } from '../src/engine/operations.ts'
import { Pool } from '../src/engine/pool.ts'
import { Tables } from '../src/engine/tables.ts'
import { SystemRandom } from '../src/random.ts'
import { answerParent, collectGarbage } from './child.ts'
import { anyBelow, LIFETIME_MS, LIMITS, POLICY, rate, WorkClock } from './workload.ts'

const CHUNK = 1000
const OUTSTANDING = 64
/** Ids as text are kept for that many keys only: as strings they take more memory than the keys. */
const MAX_IDS = 1_000_000
/** How often each key is kept alive in a lifetime, on average. */
const KEEP_ALIVES = 32
const WARM_UP_KEYS = 100_000

/** Operations on ids as text, as a server asks for them. */
class TextEngine {
  readonly engine = new Engine(LIMITS, new SystemRandom())
  readonly clock = new WorkClock()

  constructor() {
    this.engine.putPool('bench', POLICY)
  }

  run(operations: Operation[]): Result[] {
    const run = new Run('bench', operations)
    if (!this.engine.run(run, this.clock.now)) throw new Error('something was due')
    for (const result of run.results) {
      if (isRefusal(result)) throw new Error(`refused: ${result.code}`)
    }
    return run.results
  }

  /** Where making room takes several turns, between which a server would answer others. Returns the longest. */
  async create(count: number): Promise<number> {
    const run = new Run('bench', [{ op: 'create', count }])
    for (let longestMs = 0; ;) {
      const start = performance.now()
      const finished = this.engine.run(run, this.clock.now)
      longestMs = Math.max(longestMs, performance.now() - start)
      if (finished) return longestMs
      await turn()
    }
  }

  acquire(count: number): string[] {
    const result = this.run([{ op: 'acquire', count }])[0] as Answers['acquire']
    return result.leases.map(({ leaseId }) => leaseId)
  }

  release(leaseIds: string[]): void {
    this.run(leaseIds.map((leaseId) => ({ op: 'release', leaseId })))
  }

  /**
   * Grows from nothing by `step` keys with each create. Ages are spread over half a lifetime, for else
   * the heap of deadlines would lie in order. Returns the longest turn of a create.
   */
  async grow(keys: number, step: number): Promise<number> {
    let longestMs = 0
    for (let made = 0; made < keys; made += step) {
      longestMs = Math.max(longestMs, await this.create(step))
      this.clock.advance((LIFETIME_MS / 2 / keys) * step)
      if (step > 1) await turn()
    }
    return longestMs
  }
}

/** The pool below it, by slot. */
class SlotPool {
  readonly pool = new Pool(1, 'bench', POLICY, new Tables(LIMITS, new SystemRandom()))
  readonly clock = new WorkClock()

  constructor(keys: number) {
    const { now } = this.clock
    for (let made = 0; made < keys; made++) {
      const age = Math.floor((LIFETIME_MS / 2) * (1 - made / keys))
      this.pool.create(now, now + LIFETIME_MS - age, false)
    }
  }

  acquire(): number {
    const { now } = this.clock
    const slot = this.pool.draw(now)
    if (slot <= 0) throw new Error('nothing to draw')
    this.pool.grant(slot, POLICY.leaseTtlMs, undefined, now)
    return slot
  }

  release(slot: number): void {
    this.pool.release(slot, 'ok', undefined, this.clock.now)
  }
}

let keys = 0
let text: TextEngine
let slots: SlotPool
let ids: string[] = []

const tasks = {
  /** One growth in a fresh process: its speed, its longest stop, its memory. */
  async grow(count: number, step: number) {
    await new TextEngine().grow(WARM_UP_KEYS, step)
    await collectGarbage()
    const rssBefore = process.memoryUsage.rss()
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const grown = new TextEngine()
    const start = performance.now()
    const longestMs = await grown.grow(count, step)
    const seconds = (performance.now() - start) / 1000
    delay.disable()
    await collectGarbage()
    const rssGrowth = process.memoryUsage.rss() - rssBefore
    const { tables } = grown.engine
    const { bytes } = tables
    for (let leased = 0; leased < count; leased += CHUNK) grown.acquire(CHUNK)
    return {
      createsPerSecond: count / seconds,
      longestMs,
      loopDelayMs: delay.max / 1e6,
      bytesPerKey: bytes / count,
      bytesPerLeasedKey: tables.bytes / count,
      rssPerKey: rssGrowth / count,
    }
  },

  /** Makes what the tasks below work on. */
  async fill(count: number) {
    keys = count
    slots = new SlotPool(keys)
    text = new TextEngine()
    await text.grow(keys, CHUNK)
    // No key was ever deleted, so that slots are 1 to `keys`. The factor scatters them, each once.
    ids = Array.from({ length: Math.min(keys, MAX_IDS) }, (_, at) =>
      formatKeyId(text.engine.tables.rows, 1 + ((at * 7_368_787) % keys)),
    )
  },

  /** The oldest of `queue` leases is released, a new one drawn and granted. */
  pairsBySlot(forMs: number, queue: number): number {
    const held = Array.from({ length: queue }, () => slots.acquire())
    let oldest = 0
    const pairs = rate(forMs, CHUNK, () => {
      slots.clock.advance(1)
      for (let pair = 0; pair < CHUNK; pair++) {
        slots.release(held[oldest]!)
        held[oldest] = slots.acquire()
        oldest = oldest + 1 === queue ? 0 : oldest + 1
      }
    })
    for (const slot of held) slots.release(slot)
    return pairs
  },

  /** The same by lease id, each release and each acquire in a run of its own. */
  pairsById(forMs: number): number {
    const held = text.acquire(OUTSTANDING)
    let oldest = 0
    const pairs = rate(forMs, CHUNK, () => {
      text.clock.advance(1)
      for (let pair = 0; pair < CHUNK; pair++) {
        text.run([{ op: 'release', leaseId: held[oldest]! }])
        held[oldest] = text.acquire(1)[0]!
        oldest = (oldest + 1) % OUTSTANDING
      }
    })
    text.release(held)
    return pairs
  },

  /** One run releases as many leases as it then acquires. */
  pairsByBatch(forMs: number): number {
    let held = text.acquire(CHUNK)
    const pairs = rate(forMs, CHUNK, () => {
      text.clock.advance(1)
      const operations: Operation[] = held.map((leaseId) => ({ op: 'release', leaseId }))
      operations.push({ op: 'acquire', count: CHUNK })
      const { leases } = text.run(operations).at(-1) as Answers['acquire']
      held = leases.map(({ leaseId }) => leaseId)
    })
    text.release(held)
    return pairs
  },

  keepAlivesBySlot(forMs: number): number {
    return rate(forMs, CHUNK, () => {
      for (let done = 0; done < CHUNK; done++) {
        slots.clock.advance(LIFETIME_MS / KEEP_ALIVES / keys)
        slots.pool.keepAlive(1 + anyBelow(keys), slots.clock.now)
      }
    })
  },

  keepAlivesById(forMs: number): number {
    let operations: Operation[][] = []
    const work = (): void => {
      for (const operation of operations) {
        text.clock.advance(LIFETIME_MS / KEEP_ALIVES / keys)
        text.run(operation)
      }
    }
    return rate(forMs, CHUNK, work, () => {
      operations = Array.from({ length: CHUNK }, () => [
        { op: 'keepAlive', keyId: ids[anyBelow(ids.length)]! },
      ])
    })
  },
}

export type EngineTasks = typeof tasks
answerParent(tasks)
