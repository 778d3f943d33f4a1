/** A Redis that is down, full, new to the scripts, or not the right one: nobody waits for ever, and it heals. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoreFailure } from '../../src/store/store.ts'
import { RedisServer, serveOn } from '../support/redis.ts'
import { json, type TestServer } from '../support/server.ts'
import { assertProblem } from '../support/v1.ts'
import { countLost, countTwice, fill, LeaseLoad } from './lease-load.ts'

const HEALS_WITHIN_MS = 15_000
/** What a request may take that cannot be done. */
const PATIENCE_MS = 8000

const DURABLE = { appendonly: 'yes', appendfsync: 'always' }

/** Over one Sentinel. */
const SERVERS = 6

async function codeOf(server: TestServer, method: string, path: string): Promise<string> {
  const { body } = await server.ask(method, path)
  return (body as { code?: string }).code ?? 'done'
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + HEALS_WITHIN_MS
  while (!(await isSo())) {
    assert(performance.now() < end, `never: ${String(isSo)}`)
    await sleep(100)
  }
}

/** Waits for an answer with that status. */
function answers(server: TestServer, status: number, path: string): Promise<void> {
  return until(async () => (await server.ask('GET', path)).status === status)
}

/** How far it is in what primaries tell their replicas. */
function offsetOf(redis: RedisServer): number {
  return Number(/master_repl_offset:(\d+)/.exec(redis.cli('info', 'replication'))![1])
}

suite('Redis', () => {
  test('that is killed and comes back: 503 until then, and all that was answered is there', async () => {
    await using redis = await RedisServer.start(DURABLE)
    await using server = await serveOn([redis.url])
    const keyId = await server.create()
    const drawn = await server.draw()
    await redis.kill()
    const begun = performance.now()
    const codes = await Promise.all([
      codeOf(server, 'GET', '/keys'),
      codeOf(server, 'POST', '/keys'),
      codeOf(server, 'GET', `/keys/${keyId}`),
    ])
    assert(performance.now() - begun < PATIENCE_MS)
    assert.deepEqual(new Set(codes), new Set(['store_unavailable']))
    await answers(server, 503, '/readyz')
    assert.equal((await server.ask('GET', '/healthz')).status, 200)
    await using again = await redis.again()
    assert.equal(again.port, redis.port)
    await answers(server, 200, '/readyz')
    const { body } = await server.ask('GET', `/keys/${keyId}`)
    assert.equal((body as { isBlocked: boolean }).isBlocked, true)
    const path = `/v1/pools/default/leases/${(drawn as unknown as { leaseId: string }).leaseId}`
    assert.equal((await server.ask('GET', path)).status, 200)
  })

  test('that does not answer: what is wrong with a request is wrong all the same', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    redis.stop()
    const answer = await server.ask('POST', '/v1/pools/default/keys', json({}))
    assertProblem(answer, 'invalid_request')
    redis.wake()
  })

  test('that does not answer: nobody waits for ever', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    const keyId = await server.create()
    process.kill(redis.pid, 'SIGSTOP')
    const begun = performance.now()
    const codes = await Promise.all([
      codeOf(server, 'GET', '/keys'),
      codeOf(server, 'GET', `/keys/${keyId}`),
    ])
    assert(performance.now() - begun < PATIENCE_MS)
    assert(
      codes.every((code) => ['storage_failed', 'store_unavailable'].includes(code)),
      codes.join(),
    )
    process.kill(redis.pid, 'SIGCONT')
    await answers(server, 200, `/keys/${keyId}`)
  })

  test('that is full: what would change something is refused, until there is room', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    await server.create()
    redis.cli('config', 'set', 'maxmemory', '1')
    assert.equal(await codeOf(server, 'POST', '/keys'), 'storage_full')
    await answers(server, 503, '/readyz')
    assert.deepEqual((await server.ask('GET', '/readyz')).body, { status: 'storage_full' })
    redis.cli('config', 'set', 'maxmemory', '0')
    await answers(server, 200, '/readyz')
    assert.equal(await codeOf(server, 'POST', '/keys'), 'done')
  })

  test('whose primary is killed, and for which a Sentinel names another', async () => {
    await using primary = await RedisServer.start({ 'repl-diskless-sync-delay': 0 })
    await using replica = await RedisServer.start({ replicaof: `127.0.0.1 ${primary.port}` })
    await using sentinel = await RedisServer.sentinel(primary)
    const url = `redis+sentinel://127.0.0.1:${sentinel.port}/main`
    await until(() => replica.cli('info', 'replication').includes('master_link_status:up'))
    await using stack = new AsyncDisposableStack()
    const servers: TestServer[] = []
    for (let number = 0; number < SERVERS; number++) {
      servers.push(stack.use(await serveOn([url], { replicas: 0 })))
    }
    const keyId = await servers[0]!.create()
    await until(() => offsetOf(replica) === offsetOf(primary))
    // A Sentinel learns of replicas from the primary now and then.
    await until(() => sentinel.cli('sentinel', 'replicas', 'main') !== '')
    await primary.kill()
    // It may never say 503: where another is named soon, calls wait for it, and find it.
    await until(() => replica.cli('info', 'replication').includes('role:master'))
    // Some learn of it while they connect, others before.
    for (const server of servers) {
      await answers(server, 200, '/readyz')
      assert.equal((await server.ask('GET', `/keys/${keyId}`)).status, 200)
    }
    assert.equal((await servers[0]!.draw()).keyId, keyId)
  })

  test('whose replica is away, where answers wait for it: 503, and the outcome is unknown', async () => {
    await using primary = await RedisServer.start({ 'repl-diskless-sync-delay': 0 })
    const follows = { replicaof: `127.0.0.1 ${primary.port}` }
    await using replica = await RedisServer.start(follows)
    await until(() => replica.cli('info', 'replication').includes('master_link_status:up'))
    await using server = await serveOn([primary.url], { replicas: 1 })
    assert.equal(await codeOf(server, 'POST', '/keys'), 'done')
    await replica.kill()
    assert.equal(await codeOf(server, 'POST', '/keys'), 'storage_failed')
    await answers(server, 503, '/readyz')
    await using again = await replica.again()
    await answers(server, 200, '/readyz')
    assert.equal(again.port, replica.port)
    assert.equal(await codeOf(server, 'POST', '/keys'), 'done')
  })

  test('that is not there for a crowd: all hear so at about the same time', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    await server.create()
    await redis.kill()
    const begun = performance.now()
    const create = { op: 'create', count: 150 } as const
    const crowd = Array.from({ length: 50 }, () =>
      server.orchestrator
        .run('default', [create])
        .catch((error: unknown) => (error as StoreFailure).code),
    )
    assert.deepEqual(new Set(await Promise.all(crowd)), new Set(['store_unavailable']))
    assert(performance.now() - begun < PATIENCE_MS)
  })

  test('that has forgotten the scripts is told them again', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    for (let round = 0; round < 5; round++) {
      redis.cli('script', 'flush')
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => codeOf(server, 'POST', '/keys')),
      )
      assert.deepEqual(new Set(answers), new Set(['done']))
    }
  })

  test('that forgets them again and again under load: nobody notices', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    await fill(server, 40_000)
    const load = new LeaseLoad(server)
    for (let times = 0; times < 50; times++) {
      redis.cli('script', 'flush')
      await sleep(20) // the load is in this process
    }
    await load.end()
    assert.deepEqual(load.refused, new Map())
    assert.equal(countTwice(load.granted), 0)
    assert.equal(await countLost(server, load.granted), 0)
    assert(load.granted.length > 100, `${load.granted.length} were granted`)
  })

  test('whose clock is set back goes on from where it was', async () => {
    await using redis = await RedisServer.start()
    await using server = await serveOn([redis.url])
    await server.create()
    const { fencingToken } = (await server.draw()) as unknown as { fencingToken: number }
    // As if another primary, whose clock is behind, had taken over.
    const key = redis
      .cli('keys', 'test:{*}:meta')
      .split('\n')
      .find((name) => !name.includes('{all}'))!
    const ahead = String(fencingToken + 3_600_000_000)
    redis.cli('hset', key, 'token', ahead)
    await server.create()
    const next = (await server.draw()) as unknown as { fencingToken: number }
    assert(next.fencingToken > Number(ahead))
  })

  test('with a password lets in who has it', async () => {
    await using redis = await RedisServer.start({ requirepass: 'pass-word' })
    const url = (password: string): string => redis.url.replace('//', `//:${password}@`)
    await using server = await serveOn([url('pass-word')])
    assert.equal((await server.ask('POST', '/keys')).status, 201)
    for (const wrong of [redis.url, url('wrong')]) {
      await assert.rejects(serveOn([wrong]), (error: Error & { code: string }) => {
        assert.equal(error.code, 'store_unavailable')
        assert.match(error.message, /NOAUTH|WRONGPASS/)
        assert(!error.message.includes('pass-word'))
        return true
      })
    }
  })

  test('with the data of a newer version is left alone', async () => {
    await using redis = await RedisServer.start()
    redis.cli('hset', 'test:{all}:meta', 'format', '4')
    await assert.rejects(serveOn([redis.url]), /format 4, and this version reads 1 to 3/)
    assert.equal(redis.cli('dbsize'), '1')
  })

  test('that is not there is said to be so', async () => {
    await assert.rejects(serveOn(['redis://127.0.0.1:1']), /ECONNREFUSED/)
  })
})
