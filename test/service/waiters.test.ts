/** Callers who wait for a key: who gets it, when, and what they are told where none comes. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Refusal } from '../../src/engine/errors.ts'
import { isRefusal } from '../../src/engine/operations.ts'
import type { Acquired } from '../../src/service/waiters.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { type Caller, statesOf, WaitingRoom } from '../support/waiting.ts'

function refusalOf(caller: Caller): Refusal {
  assert(caller.acquired !== null && isRefusal(caller.acquired), caller.state)
  return caller.acquired
}

suite('first come, first served', () => {
  test('each key goes to the oldest', async () => {
    await using room = await WaitingRoom.open()
    const callers = await room.crowd(5)
    for (let served = 1; served <= 5; served++) {
      const [keyId] = await room.create()
      await room.turns()
      const states = callers.map((_, at) => (at < served ? 'holds' : 'waits'))
      assert.deepEqual(statesOf(callers), states)
      assert.equal(callers[served - 1]!.lease.keyId, keyId)
      assert.equal(room.orchestrator.waiters('pool'), 5 - served)
    }
  })

  test('10 000 are served in their order', async () => {
    await using room = await WaitingRoom.open()
    const callers = await room.crowd(10_000)
    assert.equal(room.orchestrator.waiters('pool'), 10_000)
    const order: Caller[] = []
    for (const caller of callers) void caller.told.then(() => order.push(caller))
    for (const count of [1, 256, 257, 3000, 6486]) {
      await room.create(count)
      await room.turns(100)
    }
    assert.ok(order.every((caller, at) => caller === callers[at]))
    assert.equal(order.length, 10_000)
    const tokens = order.map(({ lease }) => lease.fencingToken)
    assert.ok(tokens.every((token, at) => at === 0 || token > tokens[at - 1]!))
    assert.equal(new Set(order.map(({ lease }) => lease.keyId)).size, 10_000)
  })

  test('the next one over 10 000 is refused, and draws are told why there is nothing', async () => {
    await using room = await WaitingRoom.open()
    const callers = await room.crowd(10_000)
    const [late, draw] = [room.wait(), room.draw()]
    await room.turns()
    assert.deepEqual(statesOf([late, draw]), ['too_many_waiters', 'pool_empty'])
    callers[5000]!.hangUp()
    const next = room.wait()
    await room.turns()
    assert.equal(next.state, 'waits')
  })

  for (const durable of [false, true]) {
    const where = durable ? 'on a slow disk' : 'in memory'

    test(`no draw overtakes, ${where}`, async () => {
      const disk = durable ? new SimulatedDisk() : undefined
      await using room = await WaitingRoom.open({}, { disk })
      await room.create()
      const holder = room.draw()
      await room.turns()
      const decide = disk === undefined ? null : room.holdCommits()
      const waiter = room.wait()
      const released = room.run({ op: 'release', leaseId: holder.lease.leaseId })
      const draws = [room.draw(), room.drawInBatch(), room.wait({ waitMs: 0 })]
      await room.turns()
      draws.push(room.draw(), room.drawInBatch(), room.wait({ waitMs: 0 }))
      for (let commit = 0; decide !== null && waiter.state === 'waits'; commit++) {
        assert.ok(commit < 4)
        decide('committed')
        await room.turns()
      }
      await released
      await room.turns()
      assert.equal(waiter.state, 'holds')
      assert.deepEqual(statesOf(draws), Array(6).fill('pool_exhausted'))
    })

    test(`no draw goes without a key that is left once those before it are served, ${where}`, async () => {
      const disk = durable ? new SimulatedDisk() : undefined
      await using room = await WaitingRoom.open({}, { disk })
      const waiters = await room.crowd(300)
      const decide = disk === undefined ? null : room.holdCommits()
      const created = room.create(304)
      const draws = [room.draw(), room.drawInBatch(2), room.wait(), room.draw()]
      for (let commit = 0; decide !== null && commit < 4; commit++) {
        await room.turns()
        const behind = draws.every(({ state }) => state === 'waits')
        assert.ok(behind || waiters.every(({ state }) => state === 'holds'))
        if (disk!.underWay.length > 0) decide('committed')
      }
      await created
      await room.turns()
      assert.ok(waiters.every(({ state }) => state === 'holds'))
      // The batch may take two, so that one of the others comes too late.
      const states = statesOf(draws)
      assert.ok(states.filter((state) => state === 'holds').length >= 3, states.join())
      assert.equal(await room.available(), 0)
    })
  }

  test('one whose commit is under way lets nobody in before him, nor is he in the way for ever', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    await room.create(10_000)
    const decide = room.holdCommits()
    room.wait()
    await room.turns()
    const draw = room.draw()
    // There is always somebody who waits, but nobody whom the draw would overtake.
    for (let round = 0; round < 3; round++) {
      room.wait()
      assert.ok(room.orchestrator.waiters('pool') > 0)
      decide('committed')
      await room.turns()
    }
    assert.equal(draw.state, 'holds')
    room.letGo()
  })

  test('a waiter is served after what makes the key available, not in its midst', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    const holder = room.draw()
    const [waiter] = await room.crowd(1)
    const { leaseId, keyId } = holder.lease
    await room.orchestrator.run('pool', [
      { op: 'release', leaseId },
      { op: 'update', keyId, disabled: true },
    ])
    await room.turns()
    assert.equal(waiter!.state, 'waits')
  })

  test('with keyId it is that key or a refusal, never in front of one who waits', async () => {
    await using room = await WaitingRoom.open()
    const [keyId] = await room.create()
    const holder = room.draw()
    const [waiter] = await room.crowd(1)
    const released = room.run({ op: 'release', leaseId: holder.lease.leaseId })
    const asked = { keyId: keyId! }
    const callers = [room.draw(asked), room.wait(asked), room.draw({ keyId: 'nobody' })]
    await released
    await room.turns()
    assert.equal(waiter!.lease.keyId, keyId)
    assert.deepEqual(statesOf(callers), ['key_unavailable', 'key_unavailable', 'key_not_found'])
  })
})

suite('a batch behind those who wait', () => {
  for (const [where, disk] of [
    ['in memory', () => undefined],
    ['on a slow disk', () => new SimulatedDisk()],
  ] as const) {
    for (const [released, acquired, given] of [
      [5, 3, 3],
      [5, 5, 3],
      [3, 1, 1],
      [2, 2, 0],
      [1, 1, 0],
    ] as const) {
      test(`releases ${released}, acquires ${acquired} and gets ${given}, ${where}`, async () => {
        await using room = await WaitingRoom.open({}, { disk: disk() })
        await room.create(released)
        const held = room.drawInBatch(released)
        const waiters = await room.crowd(2)
        const results = await room.orchestrator.runBatch(
          'pool',
          [
            ...held.leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const),
            { op: 'acquire', count: acquired },
          ],
          null,
        )
        await room.turns()
        assert(Array.isArray(results))
        const last = results.at(-1) as Acquired
        assert.equal(isRefusal(last) ? 0 : last.leases.length, given)
        if (isRefusal(last)) assert.equal(last.code, 'pool_exhausted')
        const served = waiters.filter(({ state }) => state === 'holds')
        assert.equal(served.length, Math.min(2, released))
        assert.equal(await room.available(), released - served.length - given)
      })
    }
  }

  test('gets the key that it names only where another is left for who waits', async () => {
    for (const released of [1, 2]) {
      await using room = await WaitingRoom.open()
      await room.create(released)
      const held = room.drawInBatch(released)
      const [waiter] = await room.crowd(1)
      const { keyId } = held.leases[0]!
      const results = await room.orchestrator.runBatch(
        'pool',
        [
          ...held.leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const),
          { op: 'acquire', count: 1, keyId },
        ],
        null,
      )
      await room.turns()
      assert(Array.isArray(results))
      const last = results.at(-1) as Acquired
      assert.equal(
        isRefusal(last) ? last.code : 'given',
        ['key_unavailable', 'given'][released - 1],
      )
      assert.equal(waiter!.state, 'holds')
    }
  })
})

suite('the time is over', () => {
  test('after waitMs, not before, and says when to come again', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    room.draw()
    const [caller] = await room.crowd(1, { waitMs: 1500 })
    await room.clock.advance(1499)
    await room.turns()
    assert.equal(caller!.state, 'waits')
    await room.clock.advance(1)
    await room.turns()
    assert.deepEqual(refusalOf(caller!), {
      code: 'pool_exhausted',
      counts: { leased: 1, cooling: 0, disabled: 0 },
      retryAfterMs: 58_500,
    })
    assert.equal(room.orchestrator.waiters('pool'), 0)
  })

  test('in an empty pool it was worth waiting, but in vain', async () => {
    await using room = await WaitingRoom.open()
    const [caller] = await room.crowd(1, { waitMs: 10 })
    assert.equal(caller!.state, 'waits')
    await room.clock.advance(10)
    await room.turns()
    assert.equal(caller!.state, 'pool_empty')
  })

  test('at once with a waitMs of 0, even where others wait', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    const first = room.wait({ waitMs: 0 })
    const second = room.wait({ waitMs: 0 })
    await room.crowd(2)
    const third = room.wait({ waitMs: 0 })
    await room.turns()
    assert.deepEqual(statesOf([first, second, third]), [
      'holds',
      'pool_exhausted',
      'pool_exhausted',
    ])
  })

  test('but what is being given to him is his', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    const [first, second, third] = await room.crowd(3, { waitMs: 100 })
    const decide = room.holdCommits()
    const created = room.create(2)
    await room.turns()
    const advanced = room.clock.advance(100)
    await room.turns()
    assert.deepEqual(statesOf([first!, second!, third!]), ['waits', 'waits', 'waits'])
    decide('committed')
    await Promise.all([created, advanced])
    await room.turns()
    if (disk.underWay.length > 0) decide('committed')
    await room.turns()
    assert.deepEqual(statesOf([first!, second!, third!]), ['holds', 'holds', 'pool_exhausted'])
  })
})

suite('a key comes from', () => {
  const HOLD = { ttlMs: 1000 }
  for (const [name, free] of [
    ['create', (room) => room.create()],
    ['release', (room, { lease }) => room.run({ op: 'release', leaseId: lease.leaseId })],
    ['unblock', (room, { lease }) => room.run({ op: 'unblock', keyId: lease.keyId })],
    ['revocation', (room, { lease }) => room.run({ op: 'revoke', keyId: lease.keyId })],
    ['the expiry of a lease', (room) => room.clock.advance(1000)],
    [
      'the end of a cooldown',
      async (room, { lease: { leaseId } }) => {
        await room.run({ op: 'release', leaseId, outcome: 'error', retryAfterMs: 300 })
        await room.clock.advance(300)
      },
    ],
    [
      'coolingUntil null',
      async (room, { lease: { leaseId, keyId } }) => {
        await room.run({ op: 'release', leaseId, outcome: 'error' })
        await room.run({ op: 'update', keyId, coolingUntil: null })
      },
    ],
    [
      'enable',
      async (room, { lease: { leaseId, keyId } }) => {
        await room.run({ op: 'release', leaseId, outcome: 'invalid' })
        await room.run({ op: 'update', keyId, disabled: false })
      },
    ],
    [
      'the release of a batch',
      (room, { lease: { leaseId } }) =>
        room.orchestrator.runBatch(
          'pool',
          [
            { op: 'release', leaseId },
            { op: 'acquire', count: 1 },
          ],
          null,
        ),
    ],
  ] as [string, (room: WaitingRoom, holder: Caller) => Promise<unknown>][]) {
    test(name, async () => {
      await using room = await WaitingRoom.open()
      await room.create()
      const holder = room.draw(HOLD)
      const [waiter, next] = await room.crowd(2)
      await free(room, holder)
      await room.turns()
      assert.deepEqual(statesOf([waiter!, next!]), ['holds', 'waits'])
      assert.notEqual(waiter!.lease.leaseId, holder.lease.leaseId)
    })
  }

  test('a lease that ends in the very millisecond, and its waiter is not told otherwise', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    room.draw({ ttlMs: 1000 })
    const [waiter] = await room.crowd(1, { waitMs: 1001 })
    await room.clock.advance(1000)
    await room.turns()
    assert.equal(waiter!.state, 'holds')
  })
})
