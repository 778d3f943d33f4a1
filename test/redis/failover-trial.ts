/** Primaries of a cluster are killed under load, and what their successors know of what was answered is looked at. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCluster } from '../support/redis-cluster.ts'
import type { RedisServer } from '../support/redis.ts'
import { serveOn } from '../support/redis.ts'
import type { TestServer } from '../support/server.ts'

const WORKERS = 8
const KEYS_A_ROUND = 4000
const BEFORE_MS = 500
/** For so long the replica hears nothing of its primary before that is killed. */
const CUT_MS = 400
const POOL = '/v1/pools/default'
const BACK_WITHIN_MS = 30_000

export interface Trial {
  /** Leases whose grant was answered. */
  answered: number
  /** Of them, those that the successor does not know. */
  lost: number
  /** Keys of which two leases were answered while both lasted. */
  twice: number
  /** From the last answer before the kill to the first after it, each round. */
  unavailableMs: number[]
  refused: Map<string, number>
}

interface Answered {
  leaseId: string
  keyId: string
  at: number
}

/** With `replicas` 1 an answer waits for the replica, with 0 it does not. */
export async function tryFailovers(rounds: number, replicas: 0 | 1): Promise<Trial> {
  await using cluster = await RedisCluster.start()
  const policy = { keyLifetimeMs: null, leaseTtlMs: 3_600_000 }
  await using server = await serveOn(cluster.urls, { replicas, policy })
  const trial: Trial = { answered: 0, lost: 0, twice: 0, unavailableMs: [], refused: new Map() }
  for (let round = 0; round < rounds; round++) await tryOne(cluster, server, trial)
  return trial
}

async function tryOne(cluster: RedisCluster, server: TestServer, trial: Trial): Promise<void> {
  await until(() => json(server, 'PUT', '/v1/pools/default', policyOf()), 200)
  await until(() => json(server, 'POST', `${POOL}/keys`, { count: KEYS_A_ROUND }), 201)
  const answered: Answered[] = []
  let isOver = false
  const work = async (): Promise<void> => {
    while (!isOver) {
      const { status, body } = await json(server, 'POST', `${POOL}/leases`, {})
      const { code, ...lease } = body as { code: string } & Omit<Answered, 'at'>
      if (status === 201) answered.push({ ...lease, at: performance.now() })
      else trial.refused.set(code, (trial.refused.get(code) ?? 0) + 1)
      await sleep(status === 201 ? 2 : 20)
    }
  }
  const workers = Array.from({ length: WORKERS }, work)
  const primary = cluster.primaryOf(poolKey(cluster))
  let killedAt = 0
  try {
    await sleep(BEFORE_MS)
    cutOff(cluster, primary)
    await sleep(CUT_MS)
    await primary.kill()
    killedAt = performance.now()
    // Without a replica of its own the successor answers nothing either, where answers wait for one.
    await cluster.replace(primary)
    await until(() => Promise.resolve({ status: answered.at(-1)!.at > killedAt ? 200 : 503 }), 200)
    await sleep(BEFORE_MS)
  } finally {
    isOver = true
    await Promise.all(workers)
  }
  trial.unavailableMs.push(answered.find(({ at }) => at > killedAt)!.at - killedAt)
  await judge(server, answered, trial)
  await until(() => json(server, 'DELETE', `${POOL}?force=true`), 204)
}

async function judge(server: TestServer, answered: Answered[], trial: Trial): Promise<void> {
  trial.answered += answered.length
  trial.twice += answered.length - new Set(answered.map(({ keyId }) => keyId)).size
  for (const { leaseId } of answered) {
    const { status } = await server.ask('GET', `${POOL}/leases/${leaseId}`)
    assert([200, 404, 410].includes(status), `${status}`)
    if (status !== 200) trial.lost++
  }
}

/** The replica loses its primary, which is not to know it from one that is well, and may not come back to it. */
export function cutOff(cluster: RedisCluster, primary: RedisServer): void {
  primary.cli('acl', 'setuser', 'default', '-psync', '-sync')
  const replica = cluster.replicaOf(primary)
  replica.cli('client', 'kill', 'type', 'master')
}

/** Of those that the default pool lies in. */
export function poolKey(cluster: RedisCluster): string {
  const keys = cluster.nodes.flatMap((node) => node.cli('keys', 'test:{*}:index').split('\n'))
  return keys.find((key) => key !== '')!
}

function policyOf(): object {
  return { keyLifetimeMs: null, leaseTtlMs: 3_600_000 }
}

export async function json(
  server: TestServer,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: unknown }> {
  if (body === undefined) return server.ask(method, path)
  const headers = { 'content-type': 'application/json' }
  return server.ask(method, path, { headers, body: JSON.stringify(body) })
}

export async function until(
  ask: () => Promise<{ status: number; body?: unknown }>,
  status: number,
): Promise<void> {
  const end = performance.now() + BACK_WITHIN_MS
  for (;;) {
    const answer = await ask()
    if (answer.status === status) return
    assert(performance.now() < end, `never a ${status}: ${JSON.stringify(answer)}`)
    await sleep(50)
  }
}
