/** A wall clock that is set while the server runs, and while it is down. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { FakeWall } from '../support/fake-wall.ts'
import { Scratch, Served, type Shown, until } from './served.ts'

const HOUR_MS = 3_600_000
/** The wall clock in another process is off by no more than that from ours and its offset. */
const TOLERANCE_MS = 10_000
const LASTING = ['--key-lifetime', '4h', '--lease-ttl', '3h']

function assertNear(time: string | null, instant: number): void {
  const offMs = Date.parse(time!) - instant
  assert.ok(Math.abs(offMs) < TOLERANCE_MS, `${time!} is off by ${offMs} ms`)
}

async function showAll(served: Served, keyIds: string[]): Promise<Shown[]> {
  return Promise.all(keyIds.map((keyId) => served.show(keyId)))
}

async function exists(served: Served, keyId: string): Promise<boolean> {
  return (await served.status('GET', `/keys/${keyId}`)) === 200
}

suite('set while the server runs', { concurrency: true }, () => {
  test('it neither kills nor revives, nor does it move a deadline', async () => {
    using scratch = new Scratch()
    const wall = new FakeWall(join(scratch.path, 'wall-clock'))
    await using served = await Served.start(scratch.data, { args: LASTING, env: wall.env })
    const keyIds = await served.create(6)
    const leases = [await served.draw(), await served.draw()]
    const before = await showAll(served, keyIds)
    for (const offsetMs of [HOUR_MS, 5 * HOUR_MS, -HOUR_MS]) {
      wall.setBy(offsetMs)
      assert.deepEqual(await showAll(served, keyIds), before)
      const [keyId] = (await served.create()) as [string]
      const { createdAt, expiresAt } = await served.show(keyId)
      assertNear(createdAt, Date.now())
      assertNear(expiresAt, Date.now() + 4 * HOUR_MS)
      await served.do('DELETE', `/keys/${keyId}`)
    }
    const drawn = await Promise.all([served.draw(), served.draw(), served.draw(), served.draw()])
    assert.equal(await served.status('GET', '/keys'), 404)
    const all = [...leases, ...drawn].map(({ keyId }) => keyId)
    assert.deepEqual(all.sort(), keyIds.sort())
    // The log tells the time of the wall: the clock was set indeed.
    served.command.kill('SIGTERM')
    const [, time] = await served.command.says(
      /"time":"([^"]+)","level":"info","message":"stopped"/,
    )
    assertNear(time!, Date.now() - HOUR_MS)
  })

  for (const offsetMs of [HOUR_MS, -HOUR_MS]) {
    test(`by ${offsetMs / HOUR_MS} h: leases and keys end when they would have`, async () => {
      using scratch = new Scratch()
      const wall = new FakeWall(join(scratch.path, 'wall-clock'))
      const args = ['--key-lifetime', '2s', '--lease-ttl', '1s']
      await using served = await Served.start(scratch.data, { args, env: wall.env })
      const [keyId] = (await served.create()) as [string]
      const { blockedUntil } = await served.draw()
      const { expiresAt } = await served.show(keyId)
      wall.setBy(offsetMs)
      assert.equal((await served.show(keyId)).isBlocked, true)
      await until('the lease is over', async () => !(await served.show(keyId)).isBlocked, 5000)
      const leaseOverAt = Date.now()
      await until('the key is dead', async () => !(await exists(served, keyId)), 5000)
      const deadAt = Date.now()
      assertClose(leaseOverAt, blockedUntil)
      assertClose(deadAt, expiresAt!)
      wall.setBy(0)
      assert.ok(!(await exists(served, keyId)))
    })
  }
})

/** Seen to be over soon after its time, and not before. */
function assertClose(seenAt: number, deadline: string): void {
  const lateMs = seenAt - Date.parse(deadline)
  assert.ok(lateMs > -100 && lateMs < 2000, `${lateMs} ms after ${deadline}`)
}

suite('set while it is down', { concurrency: true }, () => {
  test('back by an hour: time goes on where it was', async () => {
    using scratch = new Scratch()
    const wall = new FakeWall(join(scratch.path, 'wall-clock'))
    const env = wall.env
    let dead: string
    {
      await using served = await Served.start(scratch.data, { args: ['--key-lifetime', '1s'], env })
      ;[dead] = (await served.create()) as [string]
      await until('it is dead', async () => !(await exists(served, dead)), 5000)
      await served.kill()
    }
    let keyIds: string[]
    let lease
    let shown
    {
      const args = ['--key-lifetime', '4h', '--lease-ttl', '4s']
      await using served = await Served.start(scratch.data, { args, env })
      keyIds = await served.create(3)
      lease = await served.draw()
      shown = await showAll(served, keyIds)
      await served.kill()
    }
    wall.setBy(-HOUR_MS)
    await using served = await Served.start(scratch.data, { env })
    assert.ok(!(await exists(served, dead)), 'a dead key is back')
    assert.deepEqual(await showAll(served, keyIds), shown)
    const [keyId] = (await served.create()) as [string]
    const { createdAt } = await served.show(keyId)
    assert.ok(createdAt >= shown[0]!.createdAt, 'time went back')
    await served.do('DELETE', `/keys/${keyId}`)
    const others = [await served.draw(), await served.draw()]
    for (const other of others) assert.ok(other.fencingToken > lease.fencingToken)
    assert.equal(await served.status('GET', '/keys'), 404, 'a key has two holders')
    const isOver = async (): Promise<boolean> => !(await served.show(lease.keyId)).isBlocked
    await until('the lease is over', isOver, 6000)
    const next = await served.draw()
    const { isBlocked } = await served.show(next.keyId)
    assert.ok(isBlocked)
    assert.ok(next.blockedUntil > lease.blockedUntil)
    assert.ok(next.fencingToken > lease.fencingToken)
  })

  test('back, once more and on: no lease lives longer for it', async () => {
    using scratch = new Scratch()
    const wall = new FakeWall(join(scratch.path, 'wall-clock'))
    const env = wall.env
    const keyIds: string[] = []
    for (const offsetMs of [0, -HOUR_MS, -2 * HOUR_MS, 0]) {
      wall.setBy(offsetMs)
      await using served = await Served.start(scratch.data, { args: LASTING, env })
      for (const keyId of keyIds) assert.ok((await served.show(keyId)).isBlocked)
      await served.create()
      const { keyId, blockedUntil } = await served.draw()
      assertNear(blockedUntil, Date.now() + 3 * HOUR_MS)
      keyIds.push(keyId)
      await served.kill()
    }
    assert.equal(new Set(keyIds).size, keyIds.length)
  })

  test('forward by an hour: the downtime counts', async () => {
    using scratch = new Scratch()
    const wall = new FakeWall(join(scratch.path, 'wall-clock'))
    const env = wall.env
    let short: string[]
    let long: string[]
    const tokens: number[] = []
    {
      const args = ['--key-lifetime', '50m', '--lease-ttl', '10m']
      await using served = await Served.start(scratch.data, { args, env })
      short = await served.create(5)
      tokens.push((await served.draw()).fencingToken)
      await served.kill()
    }
    {
      await using served = await Served.start(scratch.data, { args: LASTING.slice(0, 2), env })
      long = await served.create(3)
      for (let draw = 0; draw < 7; draw++) tokens.push((await served.draw()).fencingToken)
      await served.kill()
    }
    wall.setBy(HOUR_MS)
    await using served = await Served.start(scratch.data, { env })
    for (const keyId of short) assert.ok(!(await exists(served, keyId)), 'a key outlived its time')
    for (const shown of await showAll(served, long)) assert.equal(shown.state, 'available')
    assert.equal(await served.keyCount(), 3)
    const { fencingToken, blockedUntil } = await served.draw()
    assert.ok(fencingToken > Math.max(...tokens))
    assertNear(blockedUntil, Date.now() + HOUR_MS + HOUR_MS / 6)
  })
})
