/** Callers of a real server that is killed again and again, and whether what they were told can have been. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { cutOff } from '../redis/failover-trial.ts'
import { empty, fill } from '../redis/lease-load.ts'
import { listeningPort, startCli } from '../support/command.ts'
import { Connection } from '../support/connection.ts'
import { serveOn } from '../support/redis.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { Caller } from './caller.ts'
import { check } from './linearisable.ts'
import type { Operation } from './model.ts'

const CALLERS = 24
const KEYS = 40
const LEASE_TTL_MS = 60_000
/** After so many kills the keys are new, so that a history does not become too long to be looked at. */
const KILLS_A_POOL = 3

/** Load before and after a failover. */
const AROUND_MS = 2000
/** For so long the replica hears nothing of its primary before that is killed. */
const CUT_MS = 400

export interface Trial {
  operations: number
  /** Of them, those whose outcome nobody was told. */
  unknown: number
  faults: number
  keys: number
  /** Keys whose history no right key can have. */
  wrong: Operation[][]
  undecided: number
}

export interface TrialOptions {
  kills: number
  seed: number
  dataDir: string
  /** How long the load goes on before a kill, about. */
  loadMs: number
  /** Done to the data between a kill and the next start. */
  betweenRuns?: (kills: number) => void
  /** Called after each pool. */
  onPool?: (trial: Trial) => void
}

export async function verifyKills(options: TrialOptions): Promise<Trial> {
  const { kills, seed, dataDir, loadMs, betweenRuns, onPool } = options
  const random = new SeededRandom(seed)
  const trial = newTrial()
  for (let round = 0; trial.faults < kills; round++) {
    const pool = `verify-${round}`
    const history: Operation[] = []
    let keys: string[] = []
    for (let life = 0; life < KILLS_A_POOL && trial.faults < kills; life++) {
      betweenRuns?.(trial.faults)
      await using command = startCli(['serve', '--data-dir', dataDir, '--port', '0'])
      const port = await listeningPort(command)
      if (life === 0) keys = await makeKeys(port, pool)
      const work = Promise.all(
        Array.from({ length: CALLERS }, () => {
          const own = new SeededRandom(random.uint32())
          return new Caller(port, pool, keys, own, history).work(() => false)
        }),
      )
      await Promise.race([work, sleep(loadMs / 2 + random.below(loadMs))])
      command.kill('SIGKILL')
      assert.equal(await command.code, null, 'the server has ended by itself')
      await work
      trial.faults++
    }
    judge(history, trial)
    onPool?.(trial)
  }
  return trial
}

/** Primaries of a cluster are killed; with `replicas` 1 an answer waits for the replica, with 0 it does not. */
export async function verifyFailovers(
  rounds: number,
  replicas: 0 | 1,
  seed: number,
  { onPool, shards = 1 }: { onPool?: (trial: Trial) => void; shards?: number } = {},
): Promise<Trial> {
  const pool = shards === 1 ? 'default' : 'sharded'
  const path = `/v1/pools/${pool}`
  const random = new SeededRandom(seed)
  const trial = newTrial()
  await using cluster = await RedisCluster.start()
  await using server = await serveOn(cluster.urls, { replicas })
  for (let round = 0; round < rounds; round++) {
    const history: Operation[] = []
    const keyIds = await fill(server, KEYS, LEASE_TTL_MS, { pool: path, shards })
    let isOver = false
    const work = Promise.all(
      Array.from({ length: CALLERS }, () => {
        const own = new SeededRandom(random.uint32())
        return new Caller(server.port, pool, keyIds, own, history).work(() => isOver)
      }),
    )
    try {
      await Promise.race([work, failOver(cluster)])
    } finally {
      isOver = true
      await work
    }
    trial.faults++
    judge(history, trial)
    onPool?.(trial)
    await empty(server, path)
  }
  return trial
}

/** The replica has missed the last of what its primary did. */
async function failOver(cluster: RedisCluster): Promise<void> {
  const primary = cluster.primaryOf(cluster.poolKeys()[0]!)
  await sleep(AROUND_MS)
  cutOff(cluster, primary)
  await sleep(CUT_MS)
  await primary.kill()
  await cluster.replace(primary)
  await sleep(AROUND_MS)
}

function newTrial(): Trial {
  return { operations: 0, unknown: 0, faults: 0, keys: 0, wrong: [], undecided: 0 }
}

function judge(history: Operation[], trial: Trial): void {
  trial.operations += history.length
  trial.unknown += history.filter(({ returnedAt }) => returnedAt === Infinity).length
  for (const operations of Map.groupBy(history, ({ key }) => key).values()) {
    trial.keys++
    const finding = check(operations)
    if (finding === 'wrong') trial.wrong.push(operations)
    if (finding === 'undecided') trial.undecided++
  }
}

async function makeKeys(port: number, pool: string): Promise<string[]> {
  const connection = new Connection(port)
  const path = `/v1/pools/${pool}`
  await connection.ask('PUT', path, { keyLifetimeMs: null })
  const made = await connection.ask('POST', `${path}/keys`, { count: KEYS })
  assert.equal(made?.status, 201)
  connection.close()
  return (JSON.parse(made.text) as { keyIds: string[] }).keyIds
}
