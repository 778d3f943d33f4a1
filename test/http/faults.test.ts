/** Faults that earlier servers of this kind had, each of them once here. Time is virtual. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { idRoutes, json, TestServer } from '../support/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const S = 1000
const LIFETIME_MS = 300 * S

let clock: VirtualClock
let server: TestServer

beforeEach(async () => {
  clock = new VirtualClock()
  server = await TestServer.start({ clock })
})
afterEach(() => server[Symbol.asyncDispose]())

async function advanceTo(start: number, ms: number): Promise<void> {
  await clock.advance(start + ms - clock.now())
}

suite('the lease of a next holder', () => {
  test('is not ended by the timer of the last: unblocked at 5 s, drawn at 30 s, held at 61 s', async () => {
    const keyId = await server.create()
    const start = clock.now()
    await server.draw()
    await advanceTo(start, 5 * S)
    assert.equal(await server.status('PUT', `/keys/${keyId}`), 200)
    await advanceTo(start, 30 * S)
    await server.draw()
    for (const second of [60, 61, 89]) {
      await advanceTo(start, second * S)
      assert.equal((await server.show(keyId)).isBlocked, true, String(second))
      assert.equal(await server.status('GET', '/keys'), 404)
    }
    await advanceTo(start, 90 * S - 1)
    assert.equal((await server.show(keyId)).isBlocked, true)
    await advanceTo(start, 90 * S)
    assert.equal((await server.show(keyId)).isBlocked, false)
  })

  test('is not ended by the last holder, who comes back late', async () => {
    const keyId = await server.create()
    const late = await server.draw()
    await clock.advance(60 * S)
    await server.draw()
    assert.equal(await server.status('PUT', `/keys/${keyId}?leaseId=${late.leaseId}`), 404)
    assert.equal((await server.show(keyId)).isBlocked, true)
  })
})

test('a key that expires while it is leased is gone, and the sweeper lives on', async () => {
  const keyId = await server.create()
  await clock.advance(LIFETIME_MS - 30 * S)
  await server.draw()
  await clock.advance(30 * S)
  assert.equal(await server.status('GET', `/keys/${keyId}`), 404)
  assert.equal(await server.status('PUT', `/keys/${keyId}`), 404)
  const next = await server.create()
  await server.draw()
  await clock.advance(60 * S)
  assert.equal((await server.show(next)).state, 'available')
  await clock.advance(LIFETIME_MS)
  const { text } = await server.ask('GET', '/metrics')
  assert.match(text, /^token_orchestrator_changes_total\{kind="key_expired"\} 2$/m)
})

suite('keep-alive of a leased key', () => {
  test('does not free it', async () => {
    const keyId = await server.create()
    await server.draw()
    await clock.advance(30 * S)
    await server.ask('PUT', `/keepalive/${keyId}`)
    assert.equal((await server.show(keyId)).isBlocked, true)
    await clock.advance(30 * S - 1)
    assert.equal(await server.status('GET', '/keys'), 404)
    await clock.advance(1)
    assert.equal(await server.status('GET', '/keys'), 200)
  })

  test('does not make it immortal', async () => {
    const keyId = await server.create()
    await server.draw()
    await server.ask('PUT', `/keepalive/${keyId}`)
    await clock.advance(LIFETIME_MS - 1)
    assert.equal(await server.status('GET', `/keys/${keyId}`), 200)
    await clock.advance(1)
    assert.equal(await server.status('GET', `/keys/${keyId}`), 404)
  })
})

test('60 s are 60 s, and 5 minutes are 5, however the deadlines fall together', async () => {
  const start = clock.now()
  const ids: string[] = []
  for (let offset = 0; offset < 100; offset += 10) {
    await advanceTo(start, offset * S)
    ids.push(await server.create())
  }
  for (const [index, keyId] of ids.entries()) {
    await advanceTo(start, index * 10 * S + LIFETIME_MS - 1)
    assert.equal(await server.status('GET', `/keys/${keyId}`), 200)
    await clock.advance(1)
    assert.equal(await server.status('GET', `/keys/${keyId}`), 404)
  }
})

test('a key that is unblocked twice is in the pool once', async () => {
  const keyId = await server.create()
  assert.equal(await server.status('PUT', `/keys/${keyId}`), 404)
  await server.draw()
  assert.equal(await server.status('PUT', `/keys/${keyId}`), 200)
  assert.equal(await server.status('PUT', `/keys/${keyId}`), 404)
  await server.draw()
  assert.equal(await server.status('GET', '/keys'), 404)
})

test('draws from an empty pool do not end the server', async () => {
  for (let draw = 0; draw < 10; draw++) assert.equal(await server.status('GET', '/keys'), 404)
  await server.create()
  await server.draw()
})

test('a deleted key is drawn by nobody, nor does its slot remember it', async () => {
  const deleted = await server.create()
  const { leaseId } = await server.draw()
  await server.ask('DELETE', `/keys/${deleted}`)
  assert.equal(await server.status('GET', '/keys'), 404)
  const successor = await server.create() // takes the slot
  await server.draw()
  assert.equal(await server.status('PUT', `/keys/${successor}?leaseId=${leaseId}`), 404)
  assert.equal(await server.status('PUT', `/keys/${deleted}`), 404)
  await clock.advance(60 * S - 1)
  assert.equal((await server.show(successor)).isBlocked, true)
})

test('DELETE /keys/constructor is a 404', async () => {
  for (const name of ['constructor', '__proto__', 'toString']) {
    assert.equal(await server.status('DELETE', `/keys/${name}`), 404, name)
  }
})

/** Calls nobody back: its sweeper never comes round. */
class UnsweptClock extends VirtualClock {
  override callAt(): () => void {
    return () => undefined
  }
}

for (const { title, stormClock } of [
  { title: 'swept in time', stormClock: new VirtualClock() },
  { title: 'never swept', stormClock: new UnsweptClock() },
]) {
  test(`a storm of deaths makes no answer wrong, ${title}`, async () => {
    await using server = await TestServer.start({ clock: stormClock })
    const { body } = await server.ask('POST', '/keys', json({ count: 10_000 }))
    await stormClock.advance(1)
    const survivor = await server.create()
    await stormClock.advance(LIFETIME_MS - 1)
    for (const [method, path] of idRoutes((body as { keyId: string }).keyId)) {
      assert.equal(await server.status(method, path), 404, method)
    }
    assert.equal((await server.draw()).keyId, survivor)
    const { headers } = await server.ask('GET', '/keys')
    assert.equal(headers['retry-after'], undefined) // The survivor dies before its lease would end.
    const { text } = await server.ask('GET', '/metrics')
    assert.match(text, /^token_orchestrator_keys\{pool="default",state="available"\} 0$/m)
    assert.match(text, /^token_orchestrator_keys\{pool="default",state="leased"\} 1$/m)
  })
}
