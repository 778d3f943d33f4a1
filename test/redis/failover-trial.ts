/** Primaries of a cluster are killed or stopped under load, and what their successors know of what was answered is looked at. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCluster } from '../support/redis-cluster.ts'
import type { RedisServer } from '../support/redis.ts'
import { serveOn } from '../support/redis.ts'
import type { TestServer } from '../support/server.ts'
import {
  countFallen,
  countLost,
  countTwice,
  countUntold,
  empty,
  fill,
  type Granted,
  KEPT,
  LeaseLoad,
  longestSilenceMs,
  nowMs,
  POOL,
  until,
} from './lease-load.ts'

/** More than the load leases on a fast machine. */
const KEYS_A_ROUND = 10_000
const BEFORE_MS = 500
/** For so long the replica hears nothing of its primary before that is killed. */
const CUT_MS = 400

export interface Trial {
  /** Leases whose grant was answered. */
  answered: number
  /** Of them, those that the successor does not know. */
  lost: number
  /** Of them, those that the history does not tell of, where there is one. */
  untold: number
  /** Keys of which two leases were answered while both lasted. */
  twice: number
  /** Fencing tokens that were not above those before them. */
  fallen: number
  /** The longest time without an answer after the end, each round. */
  unavailableMs: number[]
  refused: Map<string, number>
}

/** How a primary ends; one that is stopped wakes when another has its place, and does not know that. */
export type End = 'killed' | 'stopped'

interface Failing {
  end?: End
  /** Of the pool. */
  shards?: number
  history?: boolean
}

/** With `replicas` 1 an answer waits for the replica, with 0 it does not. */
export async function tryFailovers(
  rounds: number,
  replicas: 0 | 1,
  { end = 'killed', shards = 1, history = false }: Failing = {},
): Promise<Trial> {
  await using cluster = await RedisCluster.start()
  await using server = await serveOn(cluster.urls, { replicas, history: history ? KEPT : null })
  const pool = shards === 1 ? POOL : '/v1/pools/sharded'
  const counts = { answered: 0, lost: 0, untold: 0, twice: 0, fallen: 0 }
  const trial: Trial = { ...counts, unavailableMs: [], refused: new Map() }
  for (let round = 0; round < rounds; round++) {
    await fill(server, KEYS_A_ROUND, undefined, { pool, shards })
    const granted = await tryOne(cluster, server, end, pool, trial)
    if (history) trial.untold += await countUntold(server, granted, pool)
    await empty(server, pool)
  }
  return trial
}

async function tryOne(
  cluster: RedisCluster,
  server: TestServer,
  end: End,
  pool: string,
  trial: Trial,
): Promise<readonly Granted[]> {
  const load = new LeaseLoad(server, pool)
  const primary = cluster.primaryOf(cluster.poolKeys()[0]!)
  let endAt = 0
  try {
    await sleep(BEFORE_MS)
    if (end === 'killed') {
      cutOff(cluster, primary)
      await sleep(CUT_MS)
      await primary.kill()
    } else {
      primary.stop()
    }
    endAt = nowMs()
    // Without a replica of its own the successor answers nothing either, where answers wait for one.
    if (end === 'killed') await cluster.replace(primary)
    else await wake(cluster, primary)
    await until(() => load.lastAt > endAt)
    await sleep(BEFORE_MS)
  } finally {
    await load.end()
  }
  const { granted, refused } = load
  trial.unavailableMs.push(longestSilenceMs(granted, endAt))
  trial.answered += granted.length
  trial.twice += countTwice(granted)
  trial.fallen += countFallen(granted)
  trial.lost += await countLost(server, granted, pool)
  for (const [code, times] of refused) {
    trial.refused.set(code, (trial.refused.get(code) ?? 0) + times)
  }
  return granted
}

async function wake(cluster: RedisCluster, primary: RedisServer): Promise<void> {
  await cluster.succeeded(primary)
  primary.wake()
  await cluster.settled()
}

/** The replica loses its primary, which is not to know it from one that is well, and may not come back to it. */
export function cutOff(cluster: RedisCluster, primary: RedisServer): void {
  primary.cli('acl', 'setuser', 'default', '-psync', '-sync')
  const replica = cluster.replicaOf(primary)
  replica.cli('client', 'kill', 'type', 'master')
}
