/** A server of ours and who asks it, in a process of their own, which does what it is told to. */
import { answerParent } from '../../bench/child.ts'
import { serveOn } from '../support/redis.ts'
import type { TestServer } from '../support/server.ts'
import {
  countLost,
  countUntold,
  fill,
  type Granted,
  KEPT,
  LeaseLoad,
  type Loaded,
  POOL,
} from './lease-load.ts'

let server: TestServer
let load: LeaseLoad
let pool = POOL

const tasks = {
  async serve(urls: string[], replicas: number, history = false): Promise<void> {
    server = await serveOn(urls, { replicas, history: history ? KEPT : null })
  },

  /** A pool that is to have several shards is another one than that which is there at once. */
  fill: async (count: number, shards = 1): Promise<void> => {
    if (shards > 1) pool = '/v1/pools/sharded'
    await fill(server, count, undefined, { pool, shards })
  },

  begin(): void {
    load = new LeaseLoad(server, pool)
  },

  lastAt: (): number => load.lastAt,

  async end(): Promise<Loaded> {
    await load.end()
    const { granted, refused } = load
    return { granted, refused }
  },

  /** The status of the answer. */
  showPool: (): Promise<number> => server.status('GET', POOL),

  countLost: (granted: Granted[]): Promise<number> => countLost(server, granted, pool),

  countUntold: (granted: Granted[]): Promise<number> => countUntold(server, granted, pool),
}

export type SideTasks = typeof tasks
answerParent(tasks)
