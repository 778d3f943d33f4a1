/** The client against the server as it is shipped: cut connections, slow and lost answers, restarts. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { LeaseLostError, TokenOrchestrator } from '../../src/client/client.ts'
import { type Command, listeningPort, startCli, startServe } from '../support/command.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'

const KEYS = 5

async function makePool(client: TokenOrchestrator, policy: object = {}): Promise<void> {
  const { transport } = client
  await transport.request('PUT', '/v1/pools/real', { body: { keyLifetimeMs: null, ...policy } })
  await transport.request('POST', '/v1/pools/real/keys', {
    body: { count: KEYS },
    repeatable: true,
  })
}

interface Counts {
  available: number
  leased: number
}

async function countsOf(client: TokenOrchestrator): Promise<Counts> {
  const { body } = await client.transport.request('GET', '/v1/pools/real')
  return (body as { counts: Counts }).counts
}

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

suite('against a real server', () => {
  test('while answers are cut short, no key has two holders and none stays leased', async () => {
    await using served = await startServe()
    await using proxy = await CuttingProxy.start(served.port)
    const direct = new TokenOrchestrator({ url: `http://127.0.0.1:${served.port}` })
    await makePool(direct)
    const client = new TokenOrchestrator({ url: `http://127.0.0.1:${proxy.port}` })
    const holders = new Map<string, number>()
    let done = 0
    let answers = 0
    proxy.cutAfter = () => (answers++ % 3 === 0 ? (answers * 37) % 900 : null)
    const worker = async (): Promise<void> => {
      for (let turn = 0; turn < 15; turn++) {
        await client.withKey('real', async ({ keyId, fencingToken }) => {
          assert(!holders.has(keyId), 'two holders')
          holders.set(keyId, fencingToken)
          await passed(1)
          holders.delete(keyId)
          done++
        })
      }
    }
    await Promise.all(Array.from({ length: 10 }, worker))
    assert.equal(done, 150)
    const { available, leased } = await countsOf(direct)
    assert.deepEqual({ available, leased }, { available: KEYS, leased: 0 })
  })

  test('a lease outlives a restart of the server, and what is asked for meanwhile comes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
    try {
      const serve = (): Command => startCli(['serve', '--data-dir', folder, '--port', '0'])
      await using first = serve()
      await using proxy = await CuttingProxy.start(await listeningPort(first))
      const client = new TokenOrchestrator({ url: `http://127.0.0.1:${proxy.port}` })
      await makePool(client)
      const held = await client.lease('real', { ttlMs: 60_000 })
      first.kill('SIGKILL')
      await first.code
      const asked = client.lease('real')
      await using second = serve()
      proxy.target = await listeningPort(second)
      const other = await asked
      assert.notEqual(other.keyId, held.keyId)
      assert(other.fencingToken > held.fencingToken)
      assert.equal((await countsOf(client)).leased, 2)
      assert.equal(await held.release(), true)
      assert.equal(await other.release(), true)
      assert.equal((await countsOf(client)).leased, 0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('with the server out of reach the signal comes before the key is free for others', async () => {
    await using served = await startServe()
    await using proxy = await CuttingProxy.start(served.port)
    const direct = new TokenOrchestrator({ url: `http://127.0.0.1:${served.port}` })
    await makePool(direct)
    const client = new TokenOrchestrator({ url: `http://127.0.0.1:${proxy.port}`, retryForMs: 0 })
    const lease = await client.lease('real', { ttlMs: 1500 })
    proxy.closed = true
    proxy.cut()
    // Asked before the abort, by the server's own clock: the one holds for as long as the other has not come.
    let stillLeased = true
    while (!lease.signal.aborted) {
      const { leased } = await countsOf(direct)
      stillLeased = leased === 1 || lease.remainingMs === 0
      if (!stillLeased) break
      await passed(5)
    }
    assert(stillLeased)
    assert(lease.signal.reason instanceof LeaseLostError)
    await assert.rejects(lease.release(), { code: 'unreachable' })
  })

  test("after a blocked event loop the work hears at once that the key may be another's", async () => {
    await using served = await startServe()
    const client = new TokenOrchestrator({ url: `http://127.0.0.1:${served.port}` })
    await makePool(client)
    const lease = await client.lease('real', { ttlMs: 500 })
    const asked = await client.lease('real', { ttlMs: 500 })
    const handedOn = asked.signal
    const told: unknown[] = []
    handedOn.addEventListener('abort', () => told.push(handedOn.reason))
    const aMoment = new Int32Array(new SharedArrayBuffer(4))
    Atomics.wait(aMoment, 0, 0, 1000)
    // Nothing else has had a turn.
    assert(lease.signal.reason instanceof LeaseLostError)
    assert.equal(lease.remainingMs, 0)
    assert.throws(() => {
      lease.throwIfLost()
    }, LeaseLostError)
    // Who only has the signal is told by the first timer, before any answer can come.
    const others = Array.from({ length: KEYS }, () => client.lease('real', { waitMs: 0 }))
    await Promise.race(others)
    assert(told[0] instanceof LeaseLostError)
    assert.equal(new Set((await Promise.all(others)).map(({ keyId }) => keyId)).size, KEYS)
    assert.deepEqual([await lease.release(), await asked.release()], [false, false])
  })

  test('a server without the lease any more ends it at the next renewal', async () => {
    const first = await startServe()
    await using proxy = await CuttingProxy.start(first.port)
    const client = new TokenOrchestrator({ url: `http://127.0.0.1:${proxy.port}` })
    await makePool(client)
    const lease = await client.lease('real', { ttlMs: 1500 })
    first.command.kill('SIGKILL')
    await first.command.code
    await using second = await startServe()
    proxy.target = second.port
    if (!lease.signal.aborted) {
      await new Promise((resolve) => {
        lease.signal.addEventListener('abort', resolve)
      })
    }
    assert.equal(await lease.release(), false)
  })
})
