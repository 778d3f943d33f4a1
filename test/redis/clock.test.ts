/** The clock of a Redis is set while it runs: what is promised of leases then, as their holders see it. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { FakeWall } from '../support/fake-wall.ts'
import { HERE } from '../support/network.ts'
import { RedisServer, serveOn } from '../support/redis.ts'
import type { Drawn, TestServer } from '../support/server.ts'
import { nowMs, until } from './lease-load.ts'

const HOUR_MS = 3_600_000
const TTL_MS = 1500
/** Clocks count whole milliseconds. */
const ROUNDED_MS = 2

interface Stepped extends AsyncDisposable {
  wall: FakeWall
  server: TestServer
}

async function start(): Promise<Stepped> {
  const stack = new AsyncDisposableStack()
  const directory = mkdtempSync(join(tmpdir(), 'clock-'))
  stack.defer(() => {
    rmSync(directory, { recursive: true })
  })
  const wall = new FakeWall(join(directory, 'wall-clock'))
  // The allocator of Redis asks for the time before there is a false one: it is given that of the C library.
  const env = { ...wall.env, LD_PRELOAD: `${wall.env.LD_PRELOAD!}:libc.so.6` }
  const redis = stack.use(await RedisServer.start({}, { ...HERE, env }))
  const policy = { keyLifetimeMs: null, leaseTtlMs: TTL_MS }
  const server = stack.use(await serveOn([redis.url], { policy }))
  return { wall, server, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

/** A lease, and a moment before its grant. */
async function draw(server: TestServer): Promise<Drawn & { from: number }> {
  const from = nowMs()
  return { ...(await server.draw()), from }
}

async function isHeld(server: TestServer, { keyId, leaseId }: Drawn): Promise<boolean> {
  assert.equal((await server.ask('GET', `/keys/${keyId}`)).status, 200)
  return (await server.ask('GET', `/v1/pools/default/leases/${leaseId}`)).status === 200
}

/** Waits for its end. @returns how long it lasted at least. */
async function lasts(server: TestServer, lease: Drawn & { from: number }): Promise<number> {
  await until(async () => !(await isHeld(server, lease)))
  return nowMs() - lease.from
}

suite('the clock of Redis', { timeout: 60_000 }, () => {
  test('set back: time waits for it, no lease ends early, tokens go on rising', async () => {
    await using stepped = await start()
    const { wall, server } = stepped
    for (let key = 0; key < 3; key++) await server.create()
    const leases = [await draw(server)]
    for (const offsetMs of [-HOUR_MS, -2 * HOUR_MS]) {
      wall.setBy(offsetMs)
      const next = await draw(server)
      const last = leases.at(-1)!
      assert(next.fencingToken > last.fencingToken)
      assert(next.blockedUntil >= last.blockedUntil, 'time went back')
      leases.push(next)
    }
    // For as long as they would have lasted nobody else gets one, and longer: their time stands still.
    const end = leases.at(-1)!.from + 2 * TTL_MS
    while (nowMs() < end) assert.equal((await server.ask('GET', '/keys')).status, 404)
    for (const lease of leases) assert(await isHeld(server, lease))
    wall.setBy(0)
    for (const lease of leases) assert((await lasts(server, lease)) >= TTL_MS - ROUNDED_MS)
    const { fencingToken } = await server.draw()
    assert(fencingToken > leases.at(-1)!.fencingToken)
  })

  test('set forward: what is due by it ends, and nothing that was over comes back with it', async () => {
    await using stepped = await start()
    const { wall, server } = stepped
    await server.create()
    const first = await draw(server)
    wall.setBy(HOUR_MS)
    assert(!(await isHeld(server, first)))
    const second = await draw(server)
    assert(second.fencingToken > first.fencingToken)
    wall.setBy(0)
    assert(!(await isHeld(server, first)))
    assert(await isHeld(server, second))
    const end = second.from + 2 * TTL_MS
    while (nowMs() < end) assert.equal((await server.ask('GET', '/keys')).status, 404)
    // Its holder can always give it back.
    const release = `/v1/pools/default/leases/${second.leaseId}/release`
    assert.equal((await server.ask('POST', release)).status, 200)
    const third = await draw(server)
    assert(third.fencingToken > second.fencingToken)
  })
})
