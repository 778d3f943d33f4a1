/** Whoever hangs up, and whenever: no key is held by nobody, and nobody waits beside a free key. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { BusyClock } from '../store/harness.ts'
import { type Fate, SimulatedDisk } from '../support/simulated-disk.ts'
import { Caller, statesOf, WaitingRoom } from '../support/waiting.ts'

/** More than any grant takes: the last positions are after it. */
const MICROTASKS = 40
const TURNS = 12

/** A disk that takes some turns for each commit. */
function slowDisk(turns: number): SimulatedDisk {
  const disk = new SimulatedDisk()
  disk.decide = async (): Promise<Fate> => {
    for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
    return 'committed'
  }
  return disk
}

async function microtasks(count: number): Promise<void> {
  for (let done = 0; done < count; done++) await Promise.resolve()
}

/** Every moment of that many turns. */
function* moments(turns: number): Generator<[turn: number, position: number]> {
  for (let turn = 0; turn < turns; turn++) {
    for (let position = 0; position < MICROTASKS / 2; position++) yield [turn, position]
  }
}

/** As the HTTP route does it: who is answered too late has the lease given back. */
async function giveBackUnread(room: WaitingRoom, caller: Caller): Promise<boolean> {
  if (caller.state !== 'holds' || !caller.isGone) return false
  await room.run({ op: 'release', leaseId: caller.lease.leaseId })
  return true
}

suite('who hangs up holds no key', () => {
  for (const [where, disk, turns] of [
    ['in memory', () => undefined, 3],
    ['on a slow disk', () => slowDisk(3), TURNS],
  ] as const) {
    for (const [when, free] of [
      ['with a key there', true],
      ['with a key to come', false],
    ] as const) {
      test(`at any moment, ${where}, ${when}`, async () => {
        const seen = new Set<string>()
        for (let turn = 0; turn < turns; turn++) {
          for (let position = 0; position < MICROTASKS; position++) {
            await using room = await WaitingRoom.open({}, { disk: disk() })
            if (free) await room.create()
            const caller = room.wait()
            const created = free ? null : room.create()
            await room.turns(turn)
            await microtasks(position)
            const before = caller.state
            caller.hangUp()
            await created
            await room.turns()
            seen.add(before)
            if (before === 'holds') continue
            await giveBackUnread(room, caller)
            await room.turns()
            const place = `turn ${String(turn)}, position ${String(position)}`
            assert.equal(await room.available(), 1, place)
            assert.equal(room.orchestrator.waiters('pool'), 0, place)
            const next = room.wait()
            await room.turns()
            assert.equal(next.state, 'holds', place)
          }
        }
        assert.deepEqual(seen, new Set(['waits', 'holds']), 'before the grant and after it')
      })
    }
  }

  for (const [where, disk, turns] of [
    ['in memory', () => undefined, 3],
    ['on a slow disk', () => slowDisk(2), 8],
  ] as const) {
    for (const [source, free] of [
      ['a release', (room, { lease }) => room.run({ op: 'release', leaseId: lease.leaseId })],
      ['the end of a lease', (room) => room.clock.advance(1000)],
      [
        'the end of a lease among many keys that die',
        async (room) => {
          room.clock.startFrom(room.clock.now() + 1000)
          return room.run({ op: 'describe' })
        },
      ],
    ] as [string, (room: WaitingRoom, holder: Caller) => Promise<unknown>][]) {
      test(`at any moment, ${where}: the key goes to the next, by ${source}`, async () => {
        const seen = new Set<string>()
        for (const [turn, position] of moments(turns)) {
          await using room = await WaitingRoom.open({ leaseTtlMs: 1000 }, { disk: disk() })
          await room.create()
          const holder = room.draw()
          await room.turns(turns)
          if (source.includes('many')) {
            await room.run({ op: 'create', count: 300, lifetimeMs: 1000 })
            await room.turns(turns)
            room.drawInBatch(300)
            await room.turns(turns)
          }
          const [caller, next] = await room.crowd(2, { ttlMs: 60_000 })
          const freed = free(room, holder)
          await room.turns(turn)
          await microtasks(position)
          const before = caller!.state
          seen.add(before)
          caller!.hangUp()
          await freed
          await room.turns()
          if (before === 'holds') continue
          await giveBackUnread(room, caller!)
          await room.turns()
          const place = `turn ${String(turn)}, position ${String(position)}`
          assert.equal(next!.state, 'holds', place)
          assert.equal(next!.lease.keyId, holder.lease.keyId, place)
        }
        assert.deepEqual(seen, new Set(['waits', 'holds']), 'before the grant and after it')
      })
    }

    test(`at any moment, ${where}, with an Idempotency-Key: whoever repeats it has the key`, async () => {
      const once = { key: 'once', body: 'the same' }
      const acquire = { op: 'acquire', count: 1 } as const
      const granted = new Set<boolean>()
      for (const [turn, position] of moments(turns)) {
        await using room = await WaitingRoom.open({}, { disk: disk() })
        const ask = (): Caller =>
          new Caller((gone) => {
            const patience = { waitMs: 60_000, gone, bar: () => null }
            return room.orchestrator.acquireLease('pool', acquire, patience, once)
          })
        const caller = ask()
        const created = room.create()
        if (turn > 0) await room.turns(turn)
        if (position > 0) await microtasks(position)
        caller.hangUp()
        const [keyId] = await created
        await room.turns()
        granted.add((await room.available()) === 0)
        const again = ask()
        await room.turns()
        const place = `turn ${String(turn)}, position ${String(position)}`
        assert.equal(again.state, 'holds', place)
        const shown = await room.run({ op: 'show', keyId: keyId! })
        assert('key' in shown, place)
        assert.equal(shown.key.lease?.fencingToken, again.lease.fencingToken, place)
        assert.equal(room.orchestrator.waiters('pool'), 0, place)
      }
      assert.deepEqual(granted, new Set([true, false]), 'before the grant and after it')
    })
  }

  test('before he is even heard', async () => {
    await using room = await WaitingRoom.open()
    await room.create()
    const { orchestrator } = room
    const acquire = { op: 'acquire', count: 1 } as const
    const patience = { waitMs: 60_000, gone: AbortSignal.abort(), bar: () => null }
    await orchestrator.acquireLease('pool', acquire, patience, null)
    await room.turns()
    assert.equal(await room.available(), 1)
    assert.equal(orchestrator.waiters('pool'), 0)
  })

  test('while others wait: his key goes to the next, and nobody loses his place', async () => {
    const disk = slowDisk(2)
    await using room = await WaitingRoom.open({}, { disk })
    const callers = await room.crowd(10)
    const created = room.create(5)
    for (const at of [0, 2, 4]) callers[at]!.hangUp()
    await room.turns(1)
    for (const at of [1, 6]) callers[at]!.hangUp()
    await created
    await room.turns(60)
    const states = statesOf(callers)
    assert.deepEqual(
      [3, 5, 7, 8, 9].map((at) => states[at]),
      Array(5).fill('holds'),
    )
    for (const at of [0, 1, 2, 4, 6]) assert.notEqual(states[at], 'holds')
  })

  test('in a storm, with an Idempotency-Key: if he asks again, both have one lease', async () => {
    const clock = new BusyClock()
    await using room = await WaitingRoom.open({}, { clock })
    await room.run({ op: 'create', count: 2 })
    await room.run({ op: 'create', count: 9000, lifetimeMs: 1000 })
    await room.orchestrator.acquire('pool', { op: 'acquire', count: 9002, ttlMs: 1000 })
    const ask = (): Caller =>
      new Caller((gone) => {
        const operation = { op: 'acquire', count: 1 } as const
        const patience = { waitMs: 60_000, gone, bar: () => null }
        const repeatable = { key: 'key', body: 'body' }
        return room.orchestrator.acquireLease('pool', operation, patience, repeatable)
      })
    const advanced = clock.advance(1000)
    const first = ask() // before he is given anything the dead keys have to be settled
    await room.turns(3)
    first.hangUp()
    await microtasks(MICROTASKS)
    const meanwhile = ask()
    await advanced
    await room.turns(200)
    const later = ask()
    await room.turns()
    assert.deepEqual(statesOf([meanwhile, later]), ['request_in_progress', 'holds'])
    assert.equal(await room.available(), 1)
  })

  test('nor does he leave anything behind: 10 000 come and go', async () => {
    await using room = await WaitingRoom.open()
    const callers = await room.crowd(10_000)
    for (const caller of callers) caller.hangUp()
    await room.turns()
    assert.equal(room.orchestrator.waiters('pool'), 0)
    await room.create()
    const draw = room.draw()
    await room.turns()
    assert.equal(draw.state, 'holds')
  })
})
