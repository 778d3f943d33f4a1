/** What changes, stops or fails while callers wait for a key. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { statesOf, WaitingRoom } from '../support/waiting.ts'

suite('what changes while they wait', () => {
  test('a deleted pool is not there any more', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    room.draw()
    const callers = await room.crowd(300)
    assert.equal(await room.orchestrator.removePool('pool', true), null)
    await room.turns()
    assert.deepEqual(new Set(statesOf(callers)), new Set(['pool_not_found']))
    assert.equal(room.orchestrator.waiters('pool'), 0)
  })

  test('a pool that is not there is waited for by nobody', async () => {
    await using room = await WaitingRoom.open()
    await room.orchestrator.removePool('pool', true)
    const [caller] = await room.crowd(1)
    assert.equal(caller!.state, 'pool_not_found')
  })

  test('the default pool is emptied: they go on waiting', async () => {
    await using room = await WaitingRoom.open({}, { pool: 'default' })
    await room.create()
    room.draw()
    const callers = await room.crowd(2)
    assert.equal(await room.orchestrator.removePool('default', true), null)
    await room.turns()
    assert.deepEqual(statesOf(callers), ['waits', 'waits'])
    await room.create(2)
    await room.turns()
    assert.deepEqual(statesOf(callers), ['holds', 'holds'])
  })

  for (const [pool, states] of [
    ['default', ['waits', 'pool_empty']],
    ['pool', ['pool_not_found', 'pool_not_found']],
  ] as const) {
    test(`a pool is removed while a storm is worked off: ${pool}`, async () => {
      await using room = await WaitingRoom.open({ keyLifetimeMs: 1000 }, { pool })
      await room.create(1000)
      room.drawInBatch(1000)
      await room.turns()
      room.clock.startFrom(room.clock.now() + 1000) // nobody has been called back
      const draw = room.draw()
      const waiter = room.wait()
      await room.orchestrator.removePool(pool, true)
      await room.turns()
      assert.deepEqual(statesOf([waiter, draw]), states)
      if (pool !== 'default') return
      await room.create()
      await room.turns()
      assert.equal(waiter.state, 'holds')
    })
  }

  test('what an interrupted draw has got of the default pool is gone when that is emptied', async () => {
    await using room = await WaitingRoom.open({ keyLifetimeMs: 1000 }, { pool: 'default' })
    await room.run({ op: 'create', count: 200, lifetimeMs: null })
    await room.create(20_000)
    room.clock.startFrom(room.clock.now() + 1000)
    const draw = room.drawInBatch(200)
    await room.orchestrator.removePool('default', true)
    await room.turns()
    assert.equal(draw.state, 'pool_empty')
    const { changes } = await room.orchestrator.stats(1)
    assert(changes.leased > 0 && changes.leased < 200, 'it had got some, and not all')
  })

  test('the TTL is checked again at the grant', async () => {
    await using room = await WaitingRoom.open()
    const [long, short] = [room.wait({ ttlMs: 60_000 }), room.wait({ ttlMs: 1000 })]
    await room.turns()
    await room.orchestrator.patchPool('pool', { maxLeaseTtlMs: 1000, leaseTtlMs: 1000 })
    assert.deepEqual(statesOf([long, short]), ['waits', 'waits'])
    await room.create()
    await room.turns()
    assert.deepEqual(statesOf([long, short]), ['ttl_too_long', 'holds'])
  })

  test('a TTL that is too long is refused at once, however many wait before him', async () => {
    await using room = await WaitingRoom.open()
    await room.crowd(1000)
    const caller = room.wait({ ttlMs: 3_600_001 })
    const draw = room.draw({ ttlMs: 3_600_001 })
    await room.turns()
    assert.deepEqual(statesOf([caller, draw]), ['ttl_too_long', 'ttl_too_long'])
  })

  test('the server stops: all are told so, but who is being served gets his key', async () => {
    const disk = new SimulatedDisk()
    const room = await WaitingRoom.open({}, { disk })
    const callers = await room.crowd(3)
    room.holdCommits()
    const created = room.create()
    await room.turns()
    room.orchestrator.drain()
    const late = room.wait()
    const closed = room.orchestrator.close()
    await room.turns()
    room.letGo()
    await Promise.all([created, closed])
    assert.deepEqual(statesOf([...callers, late]), ['holds', 'draining', 'draining', 'draining'])
  })

  test('the server stops: only who is being served at that moment gets a key', async () => {
    const disk = new SimulatedDisk()
    const room = await WaitingRoom.open({}, { disk })
    const callers = await room.crowd(300)
    room.holdCommits()
    const created = room.create(300)
    await room.turns()
    room.orchestrator.drain()
    room.letGo()
    await created
    await room.orchestrator.close()
    assert.equal(statesOf(callers).filter((state) => state === 'holds').length, 256)
    assert.deepEqual(new Set(statesOf(callers).slice(256)), new Set(['draining']))
  })

  test('the server stops where nobody is served', async () => {
    const room = await WaitingRoom.open()
    const callers = await room.crowd(300)
    room.orchestrator.drain()
    await room.turns()
    assert.deepEqual(new Set(statesOf(callers)), new Set(['draining']))
    await room.orchestrator.close()
  })
})

suite('a store that fails', () => {
  test('fails those who were being served', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    const callers = await room.crowd(2)
    room.holdCommits()
    const created = room.create()
    await room.turns()
    room.letGo('failed')
    await assert.rejects(created, { code: 'storage_failed' })
    await room.turns()
    assert.deepEqual(statesOf(callers), ['storage_failed', 'storage_failed'])
  })

  test('for want of room: those who were being served are told so, the others are served', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    await room.create(300)
    await room.crowd(300, { ttlMs: 1000 })
    const callers = await room.crowd(300)
    room.holdCommits()
    await room.clock.advance(1000)
    await room.turns()
    room.letGo('full')
    await room.turns(600)
    const states = statesOf(callers)
    assert.deepEqual(new Set(states.slice(0, 256)), new Set(['storage_full']))
    assert.deepEqual(new Set(states.slice(256)), new Set(['holds']))
  })

  test('gives a key that nobody heard of to the next who waits', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    await room.create()
    room.holdCommits()
    const draw = room.draw()
    await room.turns()
    const first = room.wait() // is told that there is none for the same reason
    await room.turns()
    const second = room.wait()
    await room.turns()
    room.letGo('full')
    await room.turns(100)
    assert.deepEqual(statesOf([draw, first, second]), ['storage_full', 'storage_full', 'holds'])
  })

  test('and has no room says so as soon as there is a key', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    await room.create()
    room.draw({ ttlMs: 1000 })
    const callers = await room.crowd(2)
    disk.setRoom(false)
    const late = room.wait()
    await room.clock.advance(999)
    await room.turns()
    assert.deepEqual(statesOf([...callers, late]), ['waits', 'waits', 'storage_full'])
    await room.clock.advance(1)
    await room.turns()
    assert.deepEqual(statesOf(callers), ['storage_full', 'storage_full'])
    disk.setRoom(true)
    const [next] = await room.crowd(1)
    assert.equal(next!.state, 'holds')
  })

  test('and goes back to what is saved: a removal that was waiting for a storm finds its pool', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({ keyLifetimeMs: 1000 }, { disk })
    await room.create(1000)
    room.holdCommits()
    disk.seek = () => room.clock.yield()
    const created = room.create()
    await room.turns(1)
    room.clock.startFrom(room.clock.now() + 1000)
    const removed = room.orchestrator.removePool('pool', false)
    room.letGo('full')
    const [lost, gone] = await Promise.allSettled([created, removed])
    assert.equal(lost.status, 'rejected')
    assert.deepEqual(gone, { status: 'fulfilled', value: null })
  })
})
