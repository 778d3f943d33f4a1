/** A history that several servers keep in one Redis. What it tells is judged by test/store/history.ts. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import type { HistoryLimits } from '../../src/engine/history.ts'
import type { Answers, Operation, Result } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { parseAddress } from '../../src/store/redis/address.ts'
import { openRedis } from '../../src/store/redis/open.ts'
import type { RedisStore } from '../../src/store/redis/redis-store.ts'
import { RedisServer, serveOn } from '../support/redis.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { assertProblem, PoolClient } from '../support/v1.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const HOUR_MS = 3_600_000
const KEPT: HistoryLimits = { keptMs: HOUR_MS, records: 1000 }
const POLICY = { ...DEFAULT_POLICY, keyLifetimeMs: null }

let redis: RedisServer
before(async () => {
  redis = await RedisServer.start()
})
after(() => redis[Symbol.asyncDispose]())

/** Servers over data of their own, at a virtual time. */
class World implements AsyncDisposable {
  static #worlds = 0
  readonly clock = new VirtualClock()
  readonly prefix = `world${String(++World.#worlds)}`
  readonly #random = new SeededRandom(1)
  readonly #stores: RedisStore[] = []

  async open(history?: HistoryLimits | null): Promise<RedisStore> {
    const { clock, prefix } = this
    const address = parseAddress([redis.url])
    const setting = { address, prefix, replicas: 0, maxPools: 10, clock, random: this.#random }
    const store = await openRedis(
      { ...setting, follow: null, history },
      { wakeAt: () => undefined },
      () => undefined,
    )
    this.#stores.push(store)
    return store
  }

  /** Names of keys in Redis, without the prefix. */
  names(part: string): string[] {
    const names = redis.cli('KEYS', `${this.prefix}:*:${part}`).split('\n')
    return names.filter((name) => name !== '')
  }

  format(): string {
    return redis.cli('HGET', `${this.prefix}:{all}:meta`, 'format').trim()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store.close()
  }
}

async function ask(store: RedisStore, operation: Operation): Promise<Result> {
  return (await store.run('pool', [operation]))[0]
}

async function create(store: RedisStore): Promise<string> {
  const { keyIds } = (await ask(store, { op: 'create', count: 1 })) as Answers['create']
  return keyIds[0]!
}

async function told(store: RedisStore, keyId: string): Promise<string[]> {
  const page = await ask(store, { op: 'history', keyId, limit: 100 })
  assert('entries' in page, JSON.stringify(page))
  return page.entries.map(({ change }) => change)
}

suite('a history in Redis', () => {
  test('is kept by all servers from when one is started with it, in pools that others make too', async () => {
    await using world = new World()
    const first = await world.open()
    await first.putPool('pool', POLICY)
    const early = await create(first)
    assert.deepEqual(await ask(first, { op: 'history', keyId: early, limit: 1 }), {
      code: 'history_off',
    })
    assert.deepEqual(world.names('history*'), [])
    assert.equal(world.format(), '1')
    await world.clock.advance(5)
    const second = await world.open(KEPT)
    await ask(first, { op: 'keepAlive', keyId: early })
    const page = await ask(second, { op: 'history', keyId: early, limit: 10 })
    assert('entries' in page)
    assert.deepEqual(
      page.entries.map(({ change }) => change),
      ['kept_alive'],
    )
    assert.equal(page.since, world.clock.now())
    assert.equal(world.format(), '2')
    await first.putPool('late', POLICY)
    const [made] = await first.run('late', [{ op: 'create', count: 1 }])
    const [keyId] = (made as Answers['create']).keyIds
    const [late] = await second.run('late', [{ op: 'history', keyId: keyId!, limit: 10 }])
    assert('entries' in late && late.entries[0]!.change === 'created')
  })

  test('is as the last start has it that says so', async () => {
    await using world = new World()
    const first = await world.open({ keptMs: 10 * HOUR_MS, records: 1000 })
    await first.putPool('pool', POLICY)
    const start = world.clock.now()
    const keyId = await create(first)
    await world.clock.advance(2 * HOUR_MS)
    await world.open()
    const since = async (): Promise<number> => {
      const page = await ask(first, { op: 'history', keyId, limit: 10 })
      assert('since' in page)
      return page.since
    }
    assert.equal(await since(), start)
    await world.open(KEPT)
    assert.equal(await since(), start + HOUR_MS)
    await world.open(null)
    assert.deepEqual(await ask(first, { op: 'history', keyId, limit: 1 }), { code: 'history_off' })
    assert.deepEqual(world.names('history*'), [])
    await ask(first, { op: 'keepAlive', keyId })
    await world.clock.advance(1)
    await world.open(KEPT)
    assert.equal(await since(), start + 2 * HOUR_MS + 1)
    assert.deepEqual(await told(first, keyId), [])
  })

  test('goes with the changes that follow, a few at a time, and with the settling', async () => {
    await using world = new World()
    const store = await world.open(KEPT)
    await store.putPool('pool', POLICY)
    await ask(store, { op: 'create', count: 500 })
    await world.clock.advance(HOUR_MS + 1)
    const [records] = world.names('history')
    const size = (): number => Number(redis.cli('HLEN', records!))
    const keyId = await create(store)
    assert.equal(size(), 499)
    await ask(store, { op: 'acquire', ttlMs: 1, keyId })
    assert.equal(size(), 498)
    await world.clock.advance(1)
    await store.settle()
    assert.equal(size(), 298)
    assert.equal(Number(redis.cli('HLEN', world.names('history-last')[0]!)), 297)
  })

  test('of a pool that was emptied is there for as long as a record is kept, of a deleted one it is gone', async () => {
    await using world = new World()
    const store = await world.open(KEPT)
    await store.putPool('pool', POLICY)
    const first = await create(store)
    await store.removePool('pool', { force: true, again: true })
    const second = await create(store)
    await ask(store, { op: 'remove', keyId: second })
    await store.removePool('pool', { force: true, again: true })
    const third = await create(store)
    await store.removePool('pool', { force: true, again: true })
    for (const keyId of [first, second, third]) {
      assert.deepEqual(await told(store, keyId), ['deleted', 'created'])
    }
    const page = await ask(store, { op: 'history', keyId: first, limit: 1 })
    assert('nextCursor' in page && page.nextCursor !== null)
    const rest = await ask(store, {
      ...{ op: 'history', keyId: first, limit: 1, cursor: page.nextCursor },
    })
    assert('entries' in rest && rest.entries[0]!.change === 'created' && rest.nextCursor === null)
    const unknown = await ask(store, { op: 'history', keyId: crypto.randomUUID(), limit: 1 })
    assert.deepEqual(unknown, { code: 'key_not_found' })
    for (const name of world.names('history*')) {
      const leftMs = Number(redis.cli('PTTL', name))
      assert(leftMs > 0 && leftMs <= HOUR_MS, name)
    }
    await create(store)
    await store.removePool('pool', { force: true })
    const lasting = world.names('*').filter((name) => Number(redis.cli('PTTL', name)) < 0)
    assert(
      lasting.every((name) => name.includes('{all}')),
      lasting.join(' '),
    )
  })

  test('is told by whichever server is asked', async () => {
    const keyed = { masterKeys: [] }
    await using first = await serveOn([redis.url], { ...keyed, history: KEPT })
    await using second = await serveOn([redis.url], keyed)
    const pool = await PoolClient.make(first)
    const other = new PoolClient(second, 'pool')
    const [keyId] = await pool.create()
    const { leaseId } = await other.acquire({ holder: 'w' })
    await pool.release(leaseId, { outcome: 'error' })
    const { body } = await other.ask('GET', `/keys/${keyId!}/history`)
    const { entries } = body as { entries: { change: string; holder: string; outcome: string }[] }
    assert.deepEqual(
      entries.map(({ change, holder, outcome }) => [change, holder, outcome]),
      [
        ['released', 'w', 'error'],
        ['leased', 'w', null],
        ['created', null, null],
      ],
    )
    assertProblem(await other.ask('GET', `/keys/${keyId!}/history?cursor=9-9-9`), 'invalid_cursor')
  })
})
