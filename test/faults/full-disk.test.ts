/** A disk without room: nothing is changed, everything is shown, and it goes on when there is room again. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { cannotMount, Filler, Mounted } from './disks.ts'
import { Load, UNHURRIED } from './load.ts'
import { refusalOf, Scratch, Served, until } from './served.ts'

const DISK_MIB = 64
/** How soon it goes on by itself. */
const PROMPT_MS = 5000
const BUSY_MS = 700

async function isFull(served: Served): Promise<boolean> {
  const ready = (await served.ask('GET', '/readyz'))!
  if (ready.status === 200) return false
  assert.deepEqual([ready.status, ready.body], [503, { status: 'storage_full' }])
  return true
}

/** What a write answers while there is no room. */
async function assertRefusesWrites(served: Served, keyId: string): Promise<void> {
  for (const [method, path] of [
    ['POST', '/keys'],
    ['GET', '/keys'],
    ['PUT', `/keys/${keyId}`],
    ['PUT', `/keepalive/${keyId}`],
    ['DELETE', `/keys/${keyId}`],
  ] as const) {
    const { status, code } = (await served.ask(method, path))!
    assert.deepEqual([status, code], [503, 'storage_full'], `${method} ${path}`)
  }
}

async function assertShows(served: Served, keyId: string): Promise<void> {
  assert.equal(await served.status('GET', `/keys/${keyId}`), 200)
  assert.equal(await served.status('GET', '/metrics'), 200)
  assert.equal(await served.status('GET', '/healthz'), 200)
}

suite('a full disk', { concurrency: 2, skip: cannotMount }, () => {
  test('under load: refused writes change nothing, and it recovers by itself', async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const filler = new Filler(disk.path)
    const load = new Load(2)
    {
      await using served = await Served.start(disk.path, { args: UNHURRIED })
      const [keyId] = (await served.create()) as [string]
      load.begin(served)
      await until('much was acknowledged', () => load.acknowledged > 300)
      filler.fill()
      await until('it is full', () => isFull(served))
      await assertRefusesWrites(served, keyId)
      await assertShows(served, keyId)
      const before = load.acknowledged
      await delay(BUSY_MS)
      assert.equal(load.acknowledged, before, 'nothing is acknowledged while it is full')
      assert.ok(await isFull(served))
      await assertShows(served, keyId)

      filler.remove()
      await until('it goes on', async () => !(await isFull(served)), PROMPT_MS)
      await until('much is acknowledged again', () => load.acknowledged > before + 300)
      await load.end()
      assert.equal(load.count(/ 500|broke/), 0)
      assert.equal(load.count(/ 503(?! storage_full)/), 0)
      assert.ok(load.count(/503 storage_full/) > 0)
      // All is answered, so that nothing is uncertain.
      assert.equal(await served.keyCount(), load.keys.size + 1)
      await served.kill()
    }
    await using served = await Served.start(disk.path)
    await load.audit(served, 1)
  })

  test('filled again and again: no answer is a lie, and it recovers all the same', async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const filler = new Filler(disk.path)
    // Keys and leases end all the time, which has to be saved before it is shown.
    const args = ['--key-lifetime', '2s', '--lease-ttl', '200ms']
    const created: string[] = []
    let lasting: string
    {
      await using served = await Served.start(disk.path, { args })
      created.push(...(await served.create(50)))
      filler.fill()
      await until('all keys are dead', async () => {
        filler.fill()
        for (const [method, path] of [
          ['GET', '/keys'],
          ['GET', `/keys/${created[0]!}`],
          ['GET', '/metrics'],
          ['POST', '/keys'],
        ] as const) {
          const { status, code, body } = (await served.ask(method, path))!
          if (status === 201) created.push(body.keyId as string)
          const said = `${status} ${code}`.trimEnd()
          assert.match(said, /^(200|201|404|503 storage_full)$/, `${method} ${path}`)
        }
        return (await served.status('GET', `/keys/${created[0]!}`)) === 404
      })
      filler.remove()
      await until('it goes on', async () => !(await isFull(served)), PROMPT_MS)
      await served.kill()
    }
    {
      await using served = await Served.start(disk.path, { args: UNHURRIED })
      for (const keyId of created.slice(0, 50)) {
        assert.equal(await served.status('GET', `/keys/${keyId}`), 404, 'a dead key is back')
      }
      ;[lasting] = (await served.create()) as [string]
      await served.kill()
    }
    await using served = await Served.start(disk.path)
    assert.equal((await served.show(lasting)).state, 'available')
  })
})

suite('a start on a full disk', { concurrency: 2, skip: cannotMount }, () => {
  test('shows what is there, and goes on when there is room', async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const filler = new Filler(disk.path)
    let keyIds: string[]
    let drawn
    {
      await using served = await Served.start(disk.path, { args: UNHURRIED })
      keyIds = await served.create(10)
      const [keyId] = keyIds as [string]
      drawn = await served.draw()
      filler.fill()
      await until('it is full', async () => {
        await served.ask('PUT', `/keepalive/${keyId}`)
        return isFull(served)
      })
      filler.fill()
      await served.kill()
    }
    // The settings are those that are saved: there is nothing to change.
    await using served = await Served.start(disk.path, { args: UNHURRIED })
    assert.ok(await isFull(served))
    const { blockedUntil } = await served.show(drawn.keyId)
    assert.equal(blockedUntil, drawn.blockedUntil)
    for (const keyId of keyIds) await assertShows(served, keyId)
    await assertRefusesWrites(served, keyIds[0]!)
    await served.command.says(/"level":"error","message":"[^"]*disk is full/)
    filler.remove()
    await until('it goes on', async () => !(await isFull(served)), PROMPT_MS)
    const others = new Set(keyIds)
    for (let draw = 0; draw < 9; draw++) others.delete((await served.draw()).keyId)
    assert.deepEqual([...others], [drawn.keyId])
  })

  test('has room while the reserve is there', async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const filler = new Filler(disk.path)
    {
      await using served = await Served.start(disk.path, { args: UNHURRIED })
      await served.create(10)
      await served.kill()
    }
    filler.fill()
    let more = 10
    {
      await using served = await Served.start(disk.path)
      await until('it is full', async () => {
        const { status, code } = (await served.ask('POST', '/keys'))!
        if (status === 201) more++
        else assert.equal(code, 'storage_full')
        return status !== 201 && isFull(served)
      })
      await served.kill()
    }
    await using served = await Served.start(disk.path)
    assert.equal(await served.keyCount(), more)
  })

  test('cannot change settings', async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const filler = new Filler(disk.path)
    {
      await using served = await Served.start(disk.path, { args: UNHURRIED })
      const [keyId] = (await served.create(10)) as [string]
      filler.fill()
      await until('it is full', async () => {
        await served.ask('PUT', `/keepalive/${keyId}`)
        return isFull(served)
      })
      await served.kill()
    }
    filler.fill()
    assert.match(await refusalOf(disk.path, { args: ['--lease-ttl', '7s'] }), /disk is full/)
    filler.remove()
    await using served = await Served.start(disk.path)
    assert.equal(await served.keyCount(), 10)
  })

  for (const freeMib of [0, 1, 20]) {
    test(`with ${freeMib} MiB free cannot begin anew`, async () => {
      using scratch = new Scratch()
      using disk = Mounted.small(scratch.data, DISK_MIB)
      const filler = new Filler(disk.path)
      filler.fill()
      filler.shrink(freeMib * 2 ** 20)
      assert.match(await refusalOf(disk.path), /disk is full|no room on the disk/)
      filler.remove()
      await using served = await Served.start(disk.path)
      await served.create()
    })
  }
})
