/**
 * A primary of a cluster is cut off together with a server of ours and half of the load, until the other side has chosen
 * another primary and answers again. What was answered on either side is looked at when they are one again.
 */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from '../../bench/child.ts'
import { type Place, SplitNetwork } from '../support/network.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { countTwice, type Granted, longestSilenceMs, nowMs, until } from './lease-load.ts'
import type { SideTasks } from './side.ts'

/** More than the load leases on a fast machine. */
const KEYS_A_ROUND = 40_000
const BEFORE_MS = 500
/** So long the many go on before the few are back. */
const ALONE_MS = 1000
const SIDE = new URL('side.ts', import.meta.url).href

export interface Partition {
  /** Leases that were answered, on either side. */
  answered: number
  /** Of them those by the few while they were cut off. */
  answeredAlone: number
  /** Leases that were answered and that nobody knows when all is one again. */
  lost: number
  /** Leases that were answered and that the history does not tell of, where there is one. */
  untold: number
  /** Keys of which two leases were answered while both lasted. */
  twice: number
  /** The longest time without a grant among the many after the cut. */
  manyMs: number
  /** From the end of the cut to the first grant among the few. */
  fewMs: number
}

/** With `replicas` 1 an answer waits for the replica, with 0 it does not. */
export async function tryPartitions(
  rounds: number,
  replicas: 0 | 1,
  history = false,
): Promise<Partition[]> {
  await using stack = new AsyncDisposableStack()
  const network = stack.use(await SplitNetwork.start())
  const cluster = stack.use(await RedisCluster.start(network.many))
  const side = async ({ enter }: Place, urls: string[]): Promise<Child<SideTasks>> => {
    const child = stack.use(new Child<SideTasks>(SIDE, null, enter))
    await child.ask('serve', urls, replicas, history)
    return child
  }
  const many = await side(network.many, cluster.urls)
  await many.ask('fill', 1)
  const node = await cluster.succeed(cluster.primaryOf(cluster.poolKeys()[0]!), network.few)
  const few = await side(network.few, [node.url, ...cluster.urls])
  const partitions: Partition[] = []
  const before: Granted[] = []
  for (let round = 0; round < rounds; round++) {
    await many.ask('fill', KEYS_A_ROUND)
    await cluster.promote(node)
    // One goes over to whom the others leave without a replica, so that the many can wait for one.
    await cluster.spare(node)
    assert.equal(cluster.primaryOf(cluster.poolKeys()[0]!), node)
    partitions.push(await tryOne(network, many, few, before, history))
  }
  return partitions
}

async function tryOne(
  network: SplitNetwork,
  many: Child<SideTasks>,
  few: Child<SideTasks>,
  before: Granted[],
  history: boolean,
): Promise<Partition> {
  await Promise.all([many.ask('begin'), few.ask('begin')])
  await sleep(BEFORE_MS)
  network.cut()
  const cutAt = nowMs()
  await until(async () => (await many.ask('lastAt')) > cutAt + ALONE_MS)
  await sleep(ALONE_MS)
  const healedAt = nowMs()
  network.heal()
  await until(async () => (await few.ask('lastAt')) > healedAt + ALONE_MS)
  const ends = await Promise.all([many.ask('end'), few.ask('end')])
  const [byMany, byFew] = ends.map(({ granted }) => granted) as [Granted[], Granted[]]
  const granted = [...byMany, ...byFew]
  const twice = countTwice([...before, ...granted]) - countTwice(before)
  before.push(...granted)
  return {
    answered: granted.length,
    answeredAlone: byFew.filter(({ at }) => at > cutAt && at < healedAt).length,
    lost: await many.ask('countLost', granted),
    untold: history ? await many.ask('countUntold', granted) : 0,
    twice,
    manyMs: longestSilenceMs(byMany, cutAt),
    fewMs: byFew.find(({ at }) => at > healedAt)!.at - healedAt,
  }
}
