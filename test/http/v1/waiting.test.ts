/** Callers who wait for a key over HTTP, and those who hang up; `waiters.test.ts` has the order. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Socket } from 'node:net'
import { startServe } from '../../support/command.ts'
import { dial, exchange, json, received, TestServer } from '../../support/server.ts'
import { assertProblem, assertStatus, type Lease, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const WAITERS = 1000

function acquireText(pool: PoolClient, body: object, ...headers: string[]): string {
  const text = JSON.stringify(body)
  const head = [`POST ${pool.path}/leases HTTP/1.1`, 'Host: localhost', ...headers]
  const typed = ['Content-Type: application/json', `Content-Length: ${String(text.length)}`]
  return `${[...head, ...typed].join('\r\n')}\r\n\r\n${text}`
}

/** Resolves when that many wait. */
async function waiting({ server, path }: PoolClient, count: number): Promise<void> {
  const name = path.split('/').at(-1)!
  while (server.orchestrator.waiters(name) !== count) await new Promise(setImmediate)
}

/** A bare connection on which somebody waits. */
async function waiterOn(pool: PoolClient, ...headers: string[]): Promise<Socket> {
  const before = pool.server.orchestrator.waiters('pool')
  const socket = await dial(pool.server.port)
  socket.write(acquireText(pool, { waitMs: 60_000 }, ...headers))
  await waiting(pool, before + 1)
  return socket
}

suite('who waits', () => {
  test('is given the key that comes', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const answer = pool.ask('POST', '/leases', { waitMs: 60_000, ttlMs: 5000 })
    await waiting(pool, 1)
    const { waiters, unavailable } = await pool.show()
    assert.deepEqual([waiters, unavailable], [1, 'pool_empty'])
    const [keyId] = await pool.create()
    const { headers, body } = assertStatus(await answer, 201)
    const lease = body as Lease
    assert.equal(lease.keyId, keyId)
    assert.equal(headers.location, `${pool.path}/leases/${lease.leaseId}`)
    const { leaseId } = await pool.lease(lease.leaseId)
    assert.equal(leaseId, lease.leaseId)
    assert.equal((await pool.show()).waiters, 0)
  })

  test('is told after waitMs what others are told at once', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock })
    const pool = await PoolClient.make(server)
    await pool.create()
    await pool.acquire({ ttlMs: 4000 })
    const answer = pool.ask('POST', '/leases', { waitMs: 1500 })
    await waiting(pool, 1)
    const counts = { leased: 1, cooling: 0, disabled: 0 }
    assertProblem(await pool.ask('POST', '/leases'), 'pool_exhausted', {
      ...counts,
      retryAfterMs: 4000,
    })
    assert.equal((await server.ask('GET', '/keys')).status, 404)
    await clock.advance(1500)
    const told = await answer
    assertProblem(told, 'pool_exhausted', { ...counts, retryAfterMs: 2500 })
    assert.equal(told.headers['retry-after'], '3')
  })

  test('is told that the pool is gone', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const answer = pool.ask('POST', '/leases', { waitMs: 60_000 })
    await waiting(pool, 1)
    await pool.ask('DELETE', '')
    assertProblem(await answer, 'pool_not_found')
  })

  test('is overtaken by nobody, on any route', async () => {
    await using server = await TestServer.start()
    const pool = new PoolClient(server, 'default')
    await pool.create()
    const { leaseId } = await pool.acquire()
    const answer = pool.ask('POST', '/leases', { waitMs: 60_000 })
    await waiting(pool, 1)
    const release = { op: 'release', leaseId }
    const acquire = { op: 'acquire' }
    const [released, refused] = await pool.batch(release, acquire)
    assert.deepEqual([released!.status, refused!.status], [200, 429])
    assertStatus(await answer, 201)
    assert.equal((await server.ask('GET', '/keys')).status, 404)
  })
})

suite('who hangs up', () => {
  for (const how of ['destroy', 'resetAndDestroy', 'end'] as const) {
    test(`holds no key: ${how}`, async () => {
      await using server = await TestServer.start()
      const pool = await PoolClient.make(server)
      const socket = await waiterOn(pool)
      socket[how]()
      await waiting(pool, 0)
      const [keyId] = await pool.create()
      assert.equal(await pool.state(keyId!), 'available')
      socket.destroy()
    })
  }

  test('unseen before the grant gives the key back as soon as it is seen', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const first = await waiterOn(pool)
    const next = await waiterOn(pool)
    const answer = received(next)
    first.resetAndDestroy()
    // In the same turn, so that the server has not had the time to see it.
    await server.orchestrator.run('pool', [{ op: 'create', count: 1 }])
    next.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    assert.match(await answer, /^HTTP\/1\.1 201 .*HTTP\/1\.1 200 /s)
    assert.equal((await pool.show()).counts.leased, 1)
  })

  test('but sent an Idempotency-Key can fetch his lease', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const socket = await waiterOn(pool, 'Idempotency-Key: "once"')
    socket.resetAndDestroy()
    await server.orchestrator.run('pool', [{ op: 'create', count: 1 }])
    await waiting(pool, 0)
    const again = acquireText(pool, { waitMs: 60_000 }, 'Idempotency-Key: "once"')
    const answer = await exchange(server.port, again.replace('\r\n', '\r\nConnection: close\r\n'))
    assert.match(answer, /^HTTP\/1\.1 201 /)
    const { available, leased } = (await pool.show()).counts
    assert.deepEqual([available, leased], [0, 1])
  })

  test('one of many at random: what is left goes to the others', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const sockets: Socket[] = []
    for (let count = 0; count < 60; count++) sockets.push(await waiterOn(pool))
    const staying = sockets.filter((_, at) => at % 3 !== 0)
    const answers = staying.map(async (socket) => {
      const text = await new Promise<string>((resolve) => {
        socket.once('data', (data) => {
          resolve(String(data))
        })
      })
      socket.destroy()
      return /"keyId":"([^"]+)"/.exec(text)![1]!
    })
    for (const [at, socket] of sockets.entries()) {
      if (at % 3 === 0) socket.resetAndDestroy()
      if (at % 2 === 0) await pool.create()
    }
    const short = staying.length - sockets.length / 2
    await pool.create(short)
    assert.equal(new Set(await Promise.all(answers)).size, staying.length)
    await waiting(pool, 0)
    const { available, leased } = (await pool.show()).counts
    assert.deepEqual([available, leased], [0, staying.length])
  })
})

test(`${String(WAITERS)} wait on an empty pool, and each gets one of as many keys`, async (t) => {
  await using server = await TestServer.start({ maxSockets: WAITERS + 1 })
  const pool = await PoolClient.make(server, { keyLifetimeMs: null })
  const served = new Map<string, number>()
  const answers = Array.from({ length: WAITERS }, async () => {
    const answer = await server.ask('POST', `${pool.path}/leases`, json({ waitMs: 60_000 }))
    const { keyId } = assertStatus(answer, 201).body as Lease
    served.set(keyId, performance.now())
  })
  await waiting(pool, WAITERS)
  const latencies: number[] = []
  for (let count = 0; count < WAITERS; count++) {
    const start = performance.now()
    const [keyId] = await pool.create()
    while (!served.has(keyId!)) await new Promise(setImmediate)
    latencies.push(served.get(keyId!)! - start)
  }
  await Promise.all(answers)
  assert.equal(served.size, WAITERS)
  assert.equal((await pool.show()).counts.available, 0)
  const median = latencies.sort((a, b) => a - b)[WAITERS / 2]!
  t.diagnostic(`from the request that makes a key to its waiter: ${median.toFixed(2)} ms (median)`)
})

test('a server that is asked to stop tells those who wait, and ends with 0', async () => {
  await using served = await startServe()
  const path = '/v1/pools/default/leases'
  const body = '{"waitMs":60000}'
  const sockets = await Promise.all(Array.from({ length: 20 }, () => dial(served.port)))
  for (const socket of sockets) {
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${String(body.length)}\r\n\r\n${body}`,
    )
  }
  const show = 'GET /v1/pools/default HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  while (!(await exchange(served.port, show)).includes('"waiters":20')); // until all have come
  served.command.kill('SIGTERM')
  for (const answer of await Promise.all(sockets.map(received))) {
    assert.match(answer, /^HTTP\/1\.1 503 .*problem\+json.*"code":"draining"/s)
  }
  assert.equal(await served.command.code, 0)
  assert.equal(served.command.stderr, '')
})
