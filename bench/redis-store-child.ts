/** A store over Redis, and a crowd that asks it for keys. */
import { Redis } from 'ioredis'
import { SystemClock } from '../src/clock.ts'
import { isRefusal, type Operation, type Result, type Results } from '../src/engine/operations.ts'
import { SystemRandom } from '../src/random.ts'
import { openRedis } from '../src/store/redis/open.ts'
import type { RedisStore } from '../src/store/redis/redis-store.ts'
import { answerParent } from './child.ts'
import { POLICY } from './workload.ts'

/** They ask for one thing at a time each; together for as much as two calls take. */
const CALLERS = 200
const POOL = 'bench'
const CREATED_AT_A_TIME = 1000
const CALLS_LOOKED_AT = 50

let store: RedisStore
let port: number

async function run<const O extends readonly Operation[]>(operations: O): Promise<Results<O>> {
  const results = await store.run(POOL, operations)
  const refused = (results as Result[]).find(isRefusal)
  if (refused !== undefined) throw new Error(`refused: ${refused.code}`)
  return results
}

/** All callers do it over and over, each its own. Returns how often a second. */
async function crowd(forMs: number, once: (caller: number) => Promise<void>): Promise<number> {
  const start = performance.now()
  let times = 0
  const callers = Array.from({ length: CALLERS }, async (_, caller) => {
    for (; performance.now() - start < forMs; times++) await once(caller)
  })
  await Promise.all(callers)
  return (times * 1000) / (performance.now() - start)
}

async function someKeys(): Promise<string[]> {
  const [page] = await run([{ op: 'list', limit: CALLERS }])
  return 'keys' in page ? page.keys.map(({ keyId }) => keyId) : []
}

/** Leases that key and gives it back, in one call, so that the same call can be made again. */
function pair(keyId: string): Promise<unknown> {
  return run([
    { op: 'acquire', keyId },
    { op: 'unblock', keyId },
  ])
}

const tasks = {
  async open(on: number): Promise<void> {
    port = on
    const clock = new SystemClock()
    const address = { kind: 'single', options: { host: '127.0.0.1', port } } as const
    const setting = { address, prefix: 'bench', replicas: 0, maxPools: 10, history: null }
    store = await openRedis(
      {
        ...setting,
        clock,
        random: new SystemRandom(),
        follow: (instant) => {
          clock.follow(instant)
        },
      },
      { wakeAt: () => undefined },
      () => undefined,
    )
    await store.putPool(POOL, POLICY)
  },

  async fill(keys: number): Promise<void> {
    for (let made = 0; made < keys; made += CREATED_AT_A_TIME) {
      await run([{ op: 'create', count: Math.min(CREATED_AT_A_TIME, keys - made) }])
    }
  },

  /** Leases of any key, and their releases. */
  leases: (forMs: number) =>
    crowd(forMs, async () => {
      const [acquired] = await run([{ op: 'acquire', count: 1 }])
      const { leaseId } = (acquired as { leases: { leaseId: string }[] }).leases[0]!
      await run([{ op: 'release', leaseId }])
    }),

  async pairs(forMs: number): Promise<number> {
    const keyIds = await someKeys()
    return crowd(forMs, async (caller) => {
      await pair(keyIds[caller]!)
    })
  },

  /** What the store sends to Redis where it is asked for pairs: a call of middling size, and how many are in it. */
  async call(): Promise<{ words: string[]; pairs: number }> {
    const monitor = await new Redis(port).monitor()
    const calls: string[][] = []
    monitor.on('monitor', (_time: string, words: string[]) => {
      if (words[0]!.toUpperCase() === 'EVALSHA') calls.push(words)
    })
    const keyIds = await someKeys()
    calls.length = 0
    await Promise.all(
      keyIds.map(async (keyId) => {
        while (calls.length < CALLS_LOOKED_AT) await pair(keyId)
      }),
    )
    monitor.disconnect()
    calls.sort((a, b) => a.at(-1)!.length - b.at(-1)!.length)
    const words = calls[calls.length >> 1]!
    const { runs } = JSON.parse(words.at(-1)!) as { runs: unknown[] }
    return { words, pairs: runs.length }
  },
}

export type RedisStoreTasks = typeof tasks

answerParent(tasks)
