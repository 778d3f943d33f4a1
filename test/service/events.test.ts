/** Who is told what happens, when, and what becomes of those who do not keep up. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { REFUSED, type Refusal } from '../../src/engine/errors.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import type { Listening, Told } from '../../src/service/events.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { WaitingRoom } from '../support/waiting.ts'

interface Wanted {
  caller?: string
  pools?: string[] | null
  each?: boolean
  sees?: (pool: string) => boolean
}

/** Somebody who listens, and takes what he is told only while he is not slow. */
class Reader {
  told: Told[] = []
  lifeSigns = 0
  isSlow = false
  bar: Refusal | null = null
  ended: string | null = null
  listening!: Listening

  static listen(room: WaitingRoom, wanted: Wanted = {}): Reader {
    const reader = new Reader()
    const { caller = null, pools = null, each = false, sees = () => true } = wanted
    const listening = room.orchestrator.events.listen(
      { caller, pools, each, sees, bar: () => reader.bar },
      {
        send: (told) => {
          if (told.length === 0) reader.lifeSigns++
          reader.told.push(...told)
          return !reader.isSlow
        },
        end: ({ code }) => {
          reader.ended = code
        },
        drop: () => {
          reader.ended = 'dropped'
        },
      },
    )
    assert(!('code' in listening))
    reader.listening = listening
    return reader
  }

  /** What he was told since he was last asked, in words. */
  heard(): string[] {
    return this.told.splice(0).map((told) => {
      if (told.event === 'missed') return 'missed'
      if (told.event === 'change') return `${told.change.pool} ${told.change.kind}`
      if (told.event !== 'counts') return `${told.pool} ${told.event}`
      const { available, leased } = told.counts
      const changes = Object.entries(told.changes).map(([kind, times]) => `${kind} ${times}`)
      const waiting = told.waiters > 0 ? `, ${told.waiters} wait` : ''
      return `${told.pool}: ${available} + ${leased}${waiting} (${changes.join(', ')})`
    })
  }
}

async function pass(room: WaitingRoom, ms: number): Promise<void> {
  await room.turns()
  await room.clock.advance(ms)
  await room.turns()
}

async function putPool(room: WaitingRoom, name: string): Promise<void> {
  await room.orchestrator.putPool(name, { ...DEFAULT_POLICY, keyLifetimeMs: null })
}

suite('counts', () => {
  test('of the pools that are named come at once, then once a second where something has changed', async () => {
    await using room = await WaitingRoom.open()
    await putPool(room, 'other')
    await room.create(3)
    const reader = Reader.listen(room, { pools: ['pool', 'nowhere'] })
    await pass(room, 0)
    assert.deepEqual(reader.heard(), ['pool: 3 + 0 ()'])
    const draw = room.draw()
    await room.turns()
    await room.orchestrator.run('pool', [{ op: 'release', leaseId: draw.lease.leaseId }])
    await room.orchestrator.run('other', [{ op: 'create', count: 1 }])
    await pass(room, 999)
    assert.deepEqual(reader.heard(), [])
    await pass(room, 1)
    assert.deepEqual(reader.heard(), ['pool: 3 + 0 (leased 1, released 1)'])
    await pass(room, 5000)
    assert.deepEqual(reader.heard(), [])
  })

  test('of all pools that somebody sees, and no others', async () => {
    await using room = await WaitingRoom.open()
    for (const name of ['other', 'third']) await putPool(room, name)
    const all = Reader.listen(room)
    const some = Reader.listen(room, { sees: (pool) => pool === 'other' })
    const none = Reader.listen(room, { pools: ['third'], sees: (pool) => pool === 'other' })
    await pass(room, 0)
    for (const pool of ['pool', 'other', 'third']) {
      await room.orchestrator.run(pool, [{ op: 'create', count: 2 }])
    }
    await pass(room, 1000)
    const counts = ['pool', 'other', 'third'].map((pool) => `${pool}: 2 + 0 (created 2)`)
    assert.deepEqual(all.heard(), counts)
    assert.deepEqual(some.heard(), [counts[1]])
    await putPool(room, 'third')
    await room.orchestrator.removePool('third', true)
    await pass(room, 1000)
    assert.deepEqual(all.heard(), ['third policy', 'third gone'])
    assert.deepEqual([some.heard(), none.heard()], [[], []])
  })

  test('of what others have done, that is too much to be told one by one', async () => {
    await using room = await WaitingRoom.open()
    const { events } = room.orchestrator
    const all = Reader.listen(room)
    const each = Reader.listen(room, { pools: ['pool'], each: true })
    await pass(room, 0)
    for (const reader of [all, each]) reader.heard()
    events.tallied('pool', { leased: 3 })
    events.tallied('pool', { leased: 4, released: 2 })
    events.tallied('nowhere', { leased: 1 })
    await pass(room, 100)
    assert.deepEqual(each.heard(), ['missed'])
    await pass(room, 900)
    assert.deepEqual(all.heard(), ['pool: 0 + 0 (leased 7, released 2)'])
    assert.deepEqual(each.heard(), ['pool: 0 + 0 (leased 7, released 2)'])
  })

  test('come again where something that others did was not heard of', async () => {
    await using room = await WaitingRoom.open()
    const all = Reader.listen(room)
    const some = Reader.listen(room, { pools: ['pool'] })
    await pass(room, 0)
    for (const reader of [all, some]) reader.heard()
    room.orchestrator.events.missed()
    await pass(room, 1000)
    assert.deepEqual(
      [all.heard(), some.heard()],
      [
        ['missed', 'pool: 0 + 0 ()'],
        ['missed', 'pool: 0 + 0 ()'],
      ],
    )
  })

  test('say who waits', async () => {
    await using room = await WaitingRoom.open()
    const reader = Reader.listen(room, { pools: ['pool'] })
    await pass(room, 0)
    reader.heard()
    room.wait()
    await pass(room, 1000)
    assert.deepEqual(reader.heard(), ['pool: 0 + 0, 1 wait ()'])
    await room.create()
    await pass(room, 1000)
    assert.deepEqual(reader.heard(), ['pool: 0 + 1 (created 1, leased 1)'])
  })

  test('show what time has done by itself', async () => {
    await using room = await WaitingRoom.open({ leaseTtlMs: 10_000 })
    await room.create()
    room.draw()
    await room.turns()
    const reader = Reader.listen(room)
    await pass(room, 11_000)
    assert.deepEqual(reader.heard(), ['pool: 1 + 0 (lease_expired 1)'])
  })

  test("show that a rest is over, which is nobody's change", async () => {
    await using room = await WaitingRoom.open({ cooldownMs: 10_000 })
    await room.create()
    const draw = room.draw()
    await room.turns()
    await room.orchestrator.run('pool', [{ op: 'release', leaseId: draw.lease.leaseId }])
    const reader = Reader.listen(room, { pools: ['pool'] })
    await pass(room, 9000)
    assert.deepEqual(reader.heard(), ['pool: 0 + 0 ()'])
    await pass(room, 2000)
    assert.deepEqual(reader.heard(), ['pool: 1 + 0 ()'])
  })

  test('a thousand pools are counted in one look, the others in the next', async () => {
    await using room = await WaitingRoom.open({}, { maxPools: 2000 })
    const reader = Reader.listen(room)
    await pass(room, 0)
    for (let number = 0; number < 1500; number++) await putPool(room, `p${number}`)
    reader.heard()
    await pass(room, 1000)
    assert.equal(reader.heard().length, 1000)
    await pass(room, 1000)
    assert.equal(reader.heard().length, 500)
  })
})

suite('changes', () => {
  test('of one pool come one by one and in order, when they are saved', async () => {
    const disk = new SimulatedDisk()
    await using room = await WaitingRoom.open({}, { disk })
    const reader = Reader.listen(room, { pools: ['pool'], each: true })
    const other = Reader.listen(room, { pools: ['default'], each: true })
    await pass(room, 0)
    reader.heard()
    other.heard()
    await room.create()
    const draw = room.draw()
    await pass(room, 0)
    await room.orchestrator.run('pool', [{ op: 'release', leaseId: draw.lease.leaseId }])
    await pass(room, 100)
    assert.deepEqual(reader.heard(), ['pool created', 'pool leased', 'pool released'])
    assert.deepEqual(other.heard(), [])
  })

  test('beyond a thousand at a time he is told to look for himself', async () => {
    await using room = await WaitingRoom.open()
    const reader = Reader.listen(room, { pools: ['pool'], each: true })
    await pass(room, 0)
    reader.heard()
    await room.create(1001)
    await pass(room, 100)
    const heard = reader.heard()
    assert.deepEqual([heard.length, heard.at(-1)], [1001, 'missed'])
    await room.create(1000)
    await pass(room, 100)
    assert.ok(!reader.heard().includes('missed'))
  })

  test('who lists the default pool hears when it is emptied', async () => {
    await using room = await WaitingRoom.open()
    await room.orchestrator.run('default', [{ op: 'create', count: 1 }])
    const reader = Reader.listen(room, { pools: ['default'], each: true })
    await pass(room, 0)
    reader.heard()
    await room.orchestrator.removePool('default', true)
    await pass(room, 1000)
    assert.deepEqual(reader.heard(), ['missed', 'default: 0 + 0 ()'])
  })
})

suite('who is slow', () => {
  test('is told that he has missed something, and nothing is kept for him', async () => {
    await using room = await WaitingRoom.open()
    const reader = Reader.listen(room, { pools: ['pool'], each: true })
    const quick = Reader.listen(room, { pools: ['pool'], each: true })
    await pass(room, 0)
    reader.isSlow = true
    await room.create()
    await pass(room, 100)
    assert.deepEqual(reader.heard().slice(1), ['pool created'])
    for (let time = 0; time < 10; time++) {
      await room.create(100)
      await pass(room, 1000)
    }
    assert.deepEqual(reader.heard(), [])
    assert.equal(quick.heard().filter((one) => one === 'pool created').length, 1001)
    reader.isSlow = false
    reader.listening.ready()
    assert.deepEqual(reader.heard(), ['missed'])
    await pass(room, 1000)
    assert.deepEqual(reader.heard(), ['pool: 1001 + 0 ()'])
  })

  test('is dropped when he has taken nothing for half a minute', async () => {
    await using room = await WaitingRoom.open()
    const reader = Reader.listen(room)
    await pass(room, 0)
    reader.isSlow = true
    await room.create()
    await pass(room, 1000)
    await pass(room, 29_999)
    assert.equal(reader.ended, null)
    await pass(room, 1000)
    assert.equal(reader.ended, 'dropped')
    assert.equal(room.orchestrator.events.isHeard, false)
  })
})

suite('a stream ends', () => {
  test('when its access token does, and nothing is told after that', async () => {
    await using room = await WaitingRoom.open()
    const [busy, idle] = [Reader.listen(room, { pools: ['pool'], each: true }), Reader.listen(room)]
    await pass(room, 0)
    for (const reader of [busy, idle]) reader.heard()
    await room.create()
    for (const reader of [busy, idle]) reader.bar = REFUSED.access_token_invalid
    await pass(room, 100)
    assert.deepEqual([busy.heard(), busy.ended], [[], 'access_token_invalid'])
    await pass(room, 1000)
    assert.deepEqual([idle.heard(), idle.ended], [[], 'access_token_invalid'])
  })

  test('when the server drains, which lets nobody else in', async () => {
    await using room = await WaitingRoom.open()
    const reader = Reader.listen(room)
    room.orchestrator.drain()
    assert.equal(reader.ended, 'draining')
    assert.throws(() => Reader.listen(room))
  })
})

test('the 257th is refused until somebody leaves', async () => {
  await using room = await WaitingRoom.open()
  const readers = Array.from({ length: 256 }, () => Reader.listen(room))
  const { events } = room.orchestrator
  const interest = { caller: null, pools: null, each: false, sees: () => true, bar: () => null }
  const sink = { send: () => true, end: () => undefined, drop: () => undefined }
  assert.deepEqual(events.listen(interest, sink), REFUSED.too_many_streams)
  readers[7]!.listening.leave()
  readers[7]!.listening.leave()
  Reader.listen(room)
  assert.deepEqual(events.listen(interest, sink), REFUSED.too_many_streams)
})

test('nobody has more than 64 places, so that some are left for others', async () => {
  await using room = await WaitingRoom.open()
  for (let place = 0; place < 64; place++) Reader.listen(room, { caller: 'greedy' })
  assert.throws(() => Reader.listen(room, { caller: 'greedy' }))
  Reader.listen(room, { caller: 'modest' })
})

test('a quiet stream shows signs of life', async () => {
  await using room = await WaitingRoom.open()
  const reader = Reader.listen(room)
  await pass(room, 14_999)
  assert.equal(reader.lifeSigns, 0)
  await pass(room, 46_000)
  assert.equal(reader.lifeSigns, 4)
})

test('while nobody listens no change is described and no timer is set', async () => {
  const told: number[] = []
  let alarms = 0
  await using room = await WaitingRoom.open({}, { changed: (changes) => told.push(changes.length) })
  const callAt = room.clock.callAt.bind(room.clock)
  room.clock.callAt = (instant, callback) => {
    alarms++
    return callAt(instant, callback)
  }
  await room.create(10)
  await room.turns()
  assert.deepEqual([told, alarms], [[], 0])
  const reader = Reader.listen(room)
  await room.create(10)
  await room.turns()
  assert.deepEqual(told, [10])
  assert.ok(alarms > 0)
  reader.listening.leave()
  await pass(room, 100)
  alarms = 0
  await room.create(10)
  await pass(room, 10_000)
  assert.deepEqual([told, alarms], [[10], 0])
})
