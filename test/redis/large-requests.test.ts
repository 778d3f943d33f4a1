/** What ten thousand keys in one request cost Redis, which does nothing else meanwhile. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { RedisServer, serveOn } from '../support/redis.ts'
import type { TestServer } from '../support/server.ts'
import { assertProblem, assertStatus, PoolClient } from '../support/v1.ts'

const KEYS = 10_000
const HOUR_MS = 3_600_000
/** Commands that put keys into sorted sets, which is what costs most in a large pool. */
const MAX_ADDING = 50

let redis: RedisServer
let server: TestServer
before(async () => {
  redis = await RedisServer.start()
  server = await serveOn([redis.url])
})
after(async () => {
  await server[Symbol.asyncDispose]()
  await redis[Symbol.asyncDispose]()
})

/** How often Redis has done it since `resetstat`. */
function timesDone(command: string): number {
  const found = new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(
    redis.cli('info', 'commandstats'),
  )
  return Number(found?.[1] ?? 0)
}

async function idsOf(pool: PoolClient): Promise<string[]> {
  const ids: string[] = []
  for (let cursor = ''; ;) {
    const { body } = assertStatus(await pool.ask('GET', `/keys?limit=1000${cursor}`), 200)
    const page = body as { keys: { keyId: string }[]; nextCursor?: string }
    ids.push(...page.keys.map(({ keyId }) => keyId))
    if (page.nextCursor === undefined) return ids
    cursor = `&cursor=${page.nextCursor}`
  }
}

test('keys that are made go into sorted sets many at a time', async () => {
  const pool = await PoolClient.make(server, {}, 'made')
  redis.cli('config', 'resetstat')
  const made = await pool.create(KEYS)
  const adding = timesDone('zadd')
  assert(adding > 0 && adding <= MAX_ADDING, `${String(adding)} times`)
  assert.equal(new Set(made).size, KEYS)
  assert.deepEqual(await idsOf(pool), made.toSorted())
  const { keyId } = await pool.acquire()
  assert(made.includes(keyId))
})

test('so do keys that are imported, each with its own end and in its place; or none of them', async () => {
  const pool = await PoolClient.make(server, {}, 'imported')
  const keys = Array.from({ length: KEYS }, (_, at) => ({
    value: `sk-${String(at)}`,
    ...(at % 2 === 0 && { lifetimeMs: HOUR_MS }),
  }))
  const refused = await pool.ask('POST', '/keys', { keys: [...keys.slice(1), keys[1]!] })
  assertProblem(refused, 'duplicate_value', { index: KEYS - 1, firstIndex: 0 })
  assert.deepEqual(await idsOf(pool), [])
  redis.cli('config', 'resetstat')
  const imported = await pool.importKeys(...keys)
  const adding = timesDone('zadd')
  assert(adding > 0 && adding <= MAX_ADDING, `${String(adding)} times`)
  assert.deepEqual(await idsOf(pool), imported.toSorted())
  for (const at of [0, 1, KEYS - 2, KEYS - 1]) {
    const { body } = assertStatus(await pool.ask('GET', `/keys/${imported[at]!}`), 200)
    const { createdAt, expiresAt } = body as { createdAt: string; expiresAt: string | null }
    const lifetimeMs = expiresAt === null ? null : Date.parse(expiresAt) - Date.parse(createdAt)
    assert.equal(lifetimeMs, keys[at]!.lifetimeMs ?? null)
    const { value } = await pool.acquire({ keyId: imported[at] })
    assert.equal(value, keys[at]!.value)
  }
})
