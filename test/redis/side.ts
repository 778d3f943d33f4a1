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

const tasks = {
  async serve(urls: string[], replicas: number, history = false): Promise<void> {
    server = await serveOn(urls, { replicas, history: history ? KEPT : null })
  },

  fill: async (count: number): Promise<void> => {
    await fill(server, count)
  },

  begin(): void {
    load = new LeaseLoad(server)
  },

  lastAt: (): number => load.lastAt,

  async end(): Promise<Loaded> {
    await load.end()
    const { granted, refused } = load
    return { granted, refused }
  },

  /** The status of the answer. */
  showPool: (): Promise<number> => server.status('GET', POOL),

  countLost: (granted: Granted[]): Promise<number> => countLost(server, granted),

  countUntold: (granted: Granted[]): Promise<number> => countUntold(server, granted),
}

export type SideTasks = typeof tasks
answerParent(tasks)
