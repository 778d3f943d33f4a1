/** What callers see of a disk: answers wait for it, and say what is wrong with it. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SystemClock } from '../../src/clock.ts'
import { SystemRandom } from '../../src/random.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { StoreFailure } from '../../src/store/store.ts'
import { exchange, idRoutes, json, TestServer } from '../support/server.ts'
import { type Fate, SimulatedDisk } from '../support/simulated-disk.ts'

const HEAD = 'Host: localhost\r\nContent-Length: 0\r\n\r\n'

/** A server over a disk that commits when it is told to. */
async function start(disk: SimulatedDisk): Promise<TestServer> {
  const limits = { maxTotalKeys: 50_000, maxPools: 10 }
  return TestServer.start({
    openStore: (events) =>
      EmbeddedStore.open(limits, new SystemClock(), new SystemRandom(), events, (journalEvents) =>
        disk.open(journalEvents),
      ),
  })
}

/** From now on commits wait. Returns what waits until one has come, and decides on it. */
function holdCommits(disk: SimulatedDisk): { next: () => Promise<(fate: Fate) => void> } {
  const held: ((fate: Fate) => void)[] = []
  let arrived = (): void => undefined
  disk.decide = () =>
    new Promise((resolve) => {
      held.push(resolve)
      arrived()
    })
  const next = async (): Promise<(fate: Fate) => void> => {
    if (held.length === 0) await new Promise<void>((resolve) => (arrived = resolve))
    return held.shift()!
  }
  return { next }
}

function isOpen(promise: Promise<unknown>): Promise<boolean> {
  const turn = new Promise<true>((resolve) => setTimeout(resolve, 50, true))
  return Promise.race([promise.then(() => false), turn])
}

suite('answers wait for the disk', () => {
  test('of a change, and of a look at what is not saved yet', async () => {
    const disk = new SimulatedDisk()
    await using server = await start(disk)
    const keyId = await server.create()
    const { next } = holdCommits(disk)
    const drawn = server.draw()
    const commit = await next()
    const shown = server.show(keyId)
    const again = server.ask('GET', '/keys')
    assert(await isOpen(Promise.race([drawn, shown, again])))
    commit('committed')
    assert.equal((await drawn).keyId, keyId)
    assert.equal((await shown).isBlocked, true)
    assert.equal((await again).status, 404, 'a refusal may have seen it too')
  })

  test('and what is broken after them waits for their answers', async () => {
    const disk = new SimulatedDisk()
    await using server = await start(disk)
    const { next } = holdCommits(disk)
    const answers = exchange(server.port, `POST /keys HTTP/1.1\r\n${HEAD}`, 'garbage\r\n\r\n')
    const commit = await next()
    assert(await isOpen(answers))
    commit('committed')
    assert.match(await answers, /^HTTP\/1\.1 201 .*HTTP\/1\.1 400 /s)
  })

  test('but a body that never comes whole is answered at once', async () => {
    const disk = new SimulatedDisk()
    await using server = await start(disk)
    const chunked =
      'Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked'
    const answer = await exchange(server.port, `POST /keys HTTP/1.1\r\n${chunked}\r\n\r\nxyz\r\n`)
    assert.match(answer, /^HTTP\/1\.1 400 .*RFC 9112/s)
  })
})

suite('a full disk', () => {
  test('refuses what changes something, shows the rest, and goes on by itself', async () => {
    const disk = new SimulatedDisk()
    await using server = await start(disk)
    const keyId = await server.create()
    const state = await server.show(keyId)
    disk.setRoom(false)
    const writes: [string, string][] = [
      ['POST', '/keys'],
      ['GET', '/keys'],
      ...idRoutes(keyId).filter(([method]) => method !== 'GET'),
    ]
    for (const [method, path] of writes) {
      const { status, body } = await server.ask(method, path)
      assert.deepEqual([status, (body as { code: string }).code], [503, 'storage_full'], path)
    }
    assert.deepEqual(await server.show(keyId), state)
    assert.equal((await server.ask('GET', '/metrics')).status, 200)
    const { status, body } = await server.ask('GET', '/readyz')
    assert.deepEqual([status, body], [503, { status: 'storage_full' }])
    disk.setRoom(true)
    assert.equal((await server.draw()).keyId, keyId)
    assert.equal((await server.ask('GET', '/readyz')).status, 200)
  })

  test('a group that finds no room never was', async () => {
    const disk = new SimulatedDisk()
    await using server = await start(disk)
    const keyId = await server.create()
    const { next } = holdCommits(disk)
    const drawn = server.ask('GET', '/keys')
    const commit = await next()
    const created = server.ask('POST', '/keys', json({ count: 100 }))
    assert(await isOpen(created))
    commit('full')
    const after = await next() // of what comes after it nothing is kept either
    after('full')
    for (const { status, body } of await Promise.all([drawn, created])) {
      assert.deepEqual([status, (body as { code: string }).code], [503, 'storage_full'])
    }
    disk.decide = () => Promise.resolve('committed')
    assert.equal((await server.show(keyId)).state, 'available')
    assert.equal((await server.draw()).keyId, keyId)
    assert.equal((await server.ask('GET', '/keys')).status, 404, 'nothing was created')
  })
})

test('a disk that fails is the end of the server, and nobody is told otherwise', async () => {
  const disk = new SimulatedDisk()
  await using server = await start(disk)
  const keyId = await server.create()
  disk.decide = () => Promise.resolve('failed')
  for (const [method, path] of [
    ['GET', '/keys'],
    ['POST', '/keys'],
    ['GET', `/keys/${keyId}`],
  ] as const) {
    const { status, body } = await server.ask(method, path)
    assert.deepEqual([status, (body as { code: string }).code], [503, 'storage_failed'])
  }
  const failure = await server.orchestrator.failure
  assert(failure instanceof StoreFailure && failure.code === 'storage_failed')
})

test('what is in memory only cannot be backed up', async () => {
  await using server = await TestServer.start()
  const { status, body } = await server.ask('GET', '/v1/backup')
  assert.deepEqual([status, (body as { code: string }).code], [409, 'not_durable'])
})
