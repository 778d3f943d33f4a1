/** Workers that lease what they are given and keep it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { HistoryLimits } from '../../src/engine/history.ts'
import { json, type TestServer } from '../support/server.ts'

export const POOL = '/v1/pools/default'
const WORKERS = 8
const PATIENCE_MS = 30_000
/** That one request may ask for. */
const MOST_AT_A_TIME = 10_000

/** More than any trial does. */
export const KEPT: HistoryLimits = { keptMs: 3_600_000, records: 1_000_000 }

export interface Granted {
  leaseId: string
  keyId: string
  fencingToken: number
  /** When it was asked for, and when the answer came: `nowMs`. */
  askedAt: number
  at: number
}

export interface Loaded {
  granted: Granted[]
  /** How often each error was the answer. */
  refused: Map<string, number>
}

/** One clock for all processes of this machine. */
export function nowMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}

export class LeaseLoad implements Loaded {
  readonly granted: Granted[] = []
  readonly refused = new Map<string, number>()
  readonly #workers: Promise<void>[]
  #isOver = false

  constructor(server: TestServer, pool = POOL) {
    this.#workers = Array.from({ length: WORKERS }, () => this.#work(server, pool))
  }

  get lastAt(): number {
    return this.granted.at(-1)?.at ?? 0
  }

  async end(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#workers)
  }

  async #work(server: TestServer, pool: string): Promise<void> {
    while (!this.#isOver) {
      const askedAt = nowMs()
      const { status, body } = await server.ask('POST', `${pool}/leases`, json({}))
      if (status === 201) {
        const { leaseId, keyId, fencingToken } = body as Granted
        this.granted.push({ leaseId, keyId, fencingToken, askedAt, at: nowMs() })
      } else {
        const { code } = body as { code: string }
        if (code === 'pool_exhausted')
          throw new Error('the load holds all keys: there must be more')
        this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
      }
      await sleep(status === 201 ? 2 : 20)
    }
  }
}

/** Gives the pool keys that live for ever. Returns their ids. */
export async function fill(
  server: TestServer,
  count: number,
  leaseTtlMs = 3_600_000,
  { pool = POOL, shards = 1 } = {},
): Promise<string[]> {
  const policy = json({ keyLifetimeMs: null, leaseTtlMs, shards })
  await until(async () => (await server.ask('PUT', pool, policy)).status < 300)
  const keyIds: string[] = []
  while (keyIds.length < count) {
    const create = json({ count: Math.min(count - keyIds.length, MOST_AT_A_TIME) })
    await until(async () => {
      const { status, body } = await server.ask('POST', `${pool}/keys`, create)
      if (status === 201) keyIds.push(...(body as { keyIds: string[] }).keyIds)
      return status === 201
    })
  }
  return keyIds
}

/** One that is gone already is so too. */
export async function empty(server: TestServer, pool = POOL): Promise<void> {
  await until(async () => [204, 404].includes(await server.status('DELETE', `${pool}?force=true`)))
}

/** Of the leases how many the server does not know any more. */
export async function countLost(
  server: TestServer,
  granted: readonly Granted[],
  pool = POOL,
): Promise<number> {
  let lost = 0
  for (const { leaseId } of granted) {
    await until(async () => {
      const { status } = await server.ask('GET', `${pool}/leases/${leaseId}`)
      if (status !== 200 && status !== 404 && status !== 410) return false
      if (status !== 200) lost++
      return true
    })
  }
  return lost
}

/** Of the grants how many the history does not tell of; none has more than one page. */
export async function countUntold(
  server: TestServer,
  granted: readonly Granted[],
  pool = POOL,
): Promise<number> {
  let untold = 0
  for (const { keyId, fencingToken } of granted) {
    await until(async () => {
      const { status, body } = await server.ask('GET', `${pool}/keys/${keyId}/history`)
      if (status !== 200 && status !== 404) return false
      const { entries = [] } = body as { entries?: { change: string; fencingToken: number }[] }
      const isTold = entries.some(
        (entry) => entry.change === 'leased' && entry.fencingToken === fencingToken,
      )
      if (!isTold) untold++
      return true
    })
  }
  return untold
}

/** The longest time without a grant, from then to the last one. */
export function longestSilenceMs(granted: readonly Granted[], from: number): number {
  const times = [from, ...granted.map(({ at }) => at).filter((at) => at > from)]
  return Math.max(...times.slice(1).map((at, place) => at - times[place]!))
}

/** Keys of which two leases were answered, where none has ended. */
export function countTwice(granted: readonly Granted[]): number {
  return granted.length - new Set(granted.map(({ keyId }) => keyId)).size
}

/** Leases whose token is not above that of each which was answered before they were asked for. */
export function countFallen(granted: readonly Granted[]): number {
  const byAnswer = granted.toSorted((a, b) => a.at - b.at)
  let highest = 0
  let answered = 0
  let fallen = 0
  for (const { askedAt, fencingToken } of granted.toSorted((a, b) => a.askedAt - b.askedAt)) {
    for (; byAnswer[answered]!.at < askedAt; answered++) {
      highest = Math.max(highest, byAnswer[answered]!.fencingToken)
    }
    if (fencingToken <= highest) fallen++
  }
  return fallen
}

export async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`never: ${String(isSo)}`)
    await sleep(50)
  }
}
