/** Histories that cannot be are found out, and those that can be are not. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { type Asking, type Held, History } from './history.ts'
import { judge } from './judge.ts'

const TTL_MS = 100

function asking(sentAt: number, more: Partial<Asking> = {}): Asking {
  return { pool: 'pool', sentAt, count: 1, ttlMs: TTL_MS, totalMs: Infinity, ...more }
}

/** A history of one key, whose leases get their ids from their tokens. */
class OneKey extends History {
  /** Asked for and received at those times. */
  lease(sentAt: number, receivedAt: number, token: number, more: Partial<Asking> = {}): Held {
    const lease = { leaseId: `lease ${token}`, keyId: 'key', fencingToken: token }
    return this.received(asking(sentAt, more), lease, receivedAt)
  }

  get kinds(): string[] {
    return judge(this).faults.map(({ kind }) => kind)
  }
}

/** What is done after a first lease, received at 10 of what was sent at 0. The second is received at 50. */
const HISTORIES: [string, (history: OneKey, first: Held) => void, string[]][] = [
  ['a second holder while the first has it', () => undefined, ['two holders']],
  [
    'after it was given back',
    (history, first) => {
      history.givingBack(first, 45)
    },
    [],
  ],
  [
    'before it was given back',
    (history, first) => {
      history.givingBack(first, 51)
    },
    ['two holders'],
  ],
  [
    'a renewal made it shorter',
    (history, first) => {
      history.renewing(first, 10, 20)()
    },
    [],
  ],
  [
    'a renewal that nobody answered may have made it shorter',
    (history, first) => {
      history.renewing(first, 10, 20)
    },
    [],
  ],
  [
    'a renewal whose time was not over',
    (history, first) => {
      history.renewing(first, 100, 20)()
    },
    ['two holders'],
  ],
  [
    'somebody ended whatever lease there was',
    (history) => {
      history.ending('key', 40).answeredAt = 60
    },
    [],
  ],
  [
    'somebody may have ended it',
    (history) => {
      history.ending('key', 5)
    },
    [],
  ],
  [
    'somebody tried to end it in vain',
    (history) => {
      Object.assign(history.ending('key', 40), { answeredAt: 60, inVain: true })
    },
    ['two holders'],
  ],
  [
    'somebody ended the lease before',
    (history) => {
      history.ending('key', -20).answeredAt = -10
    },
    ['two holders'],
  ],
  [
    'somebody ended the lease of another key',
    (history) => {
      history.ending('other', 40)
    },
    ['two holders'],
  ],
  [
    'the key may have died',
    (history) => {
      history.livesOn('key', -30, 60)
    },
    [],
  ],
  [
    'the key was kept alive',
    (history) => {
      history.livesOn('key', -30, 60)
      history.livesOn('key', -10, 100)
      history.livesOn('key', -20, 60)
    },
    ['two holders'],
  ],
]

suite('two holders of one key', () => {
  for (const [name, happen, faults] of HISTORIES) {
    test(name, () => {
      const history = new OneKey()
      const first = history.lease(0, 10, 1)
      happen(history, first)
      history.lease(40, 50, 2)
      assert.deepEqual(history.kinds, faults)
    })
  }

  test('by its TTL a lease is over from the millisecond on in which it was sent', () => {
    for (const [receivedAt, faults] of [
      [TTL_MS - 2, ['two holders']],
      [TTL_MS, []],
    ] as const) {
      const history = new OneKey()
      history.lease(0, 10, 1)
      history.lease(20, receivedAt, 2)
      assert.deepEqual(history.kinds, faults)
    }
  })

  test('a renewal puts the end off, but not beyond the longest a lease may last', () => {
    for (const [totalMs, faults] of [
      [300, ['two holders']],
      [150, []],
    ] as const) {
      const history = new OneKey()
      const first = history.lease(0, 10, 1, { totalMs })
      history.renewing(first, TTL_MS, 90)()
      history.lease(150, 160, 2)
      assert.deepEqual(history.kinds, faults)
    }
  })

  test('a renewal is worth nothing after one that nobody answered', () => {
    const history = new OneKey()
    const first = history.lease(0, 10, 1)
    history.renewing(first, 20, 20) // it may be done after the next one
    history.renewing(first, TTL_MS, 30)()
    history.lease(40, 50, 2)
    assert.deepEqual(history.kinds, [])
  })

  test('the longest is remembered, not the last', () => {
    const history = new OneKey()
    history.lease(0, 10, 1)
    history.lease(11, 20, 2, { ttlMs: 20 })
    history.lease(40, 50, 3)
    assert.deepEqual(history.kinds, ['two holders', 'two holders'])
  })

  test('a lease that was received too late was held by nobody for sure', () => {
    const history = new OneKey()
    history.lease(0, 200, 1)
    history.lease(110, 120, 2)
    assert.deepEqual([history.kinds, judge(history).certain], [[], 1])
  })
})

suite('a lease that ended early', () => {
  test('its holder was told so while it was his', () => {
    const history = new OneKey()
    const lease = history.lease(0, 10, 1)
    history.toldEnded(lease, 98)
    assert.deepEqual(history.kinds, ['ended early'])
  })

  test('its holder came too late, or somebody had ended it', () => {
    const history = new OneKey()
    history.toldEnded(history.lease(0, 10, 1), 99)
    history.ending('key', 250).answeredAt = 255
    history.toldEnded(history.lease(200, 210, 2), 260)
    assert.deepEqual(history.kinds, [])
  })
})

suite('tokens', () => {
  test('of a later holder a lower one', () => {
    const history = new OneKey()
    history.givingBack(history.lease(0, 10, 2), 11)
    history.lease(5, 12, 1)
    assert.deepEqual(history.kinds, ['token fell'])
  })

  test('of another key a lower one, asked for when the higher one was known', () => {
    for (const [sentAt, faults] of [
      [11, ['token fell']],
      [9, []],
    ] as const) {
      const history = new OneKey()
      history.lease(0, 10, 2)
      const lease = { leaseId: 'other', keyId: 'other', fencingToken: 1 }
      history.received(asking(sentAt), lease, 20)
      assert.deepEqual(history.kinds, faults)
    }
  })

  test('the same twice, or one of an earlier history', () => {
    const history = new OneKey(5)
    history.lease(0, 10, 6)
    history.received(asking(1), { leaseId: 'other', keyId: 'other', fencingToken: 6 }, 10)
    history.received(asking(2), { leaseId: 'third', keyId: 'third', fencingToken: 5 }, 10)
    assert.deepEqual(history.kinds, ['token repeated', 'token repeated'])
  })
})

suite('requests', () => {
  const LEASE = { leaseId: 'lease', keyId: 'key', fencingToken: 1 }

  test('a repeat may be given the same lease, and it counts once, from the first sending', () => {
    const history = new OneKey()
    const request = asking(0)
    assert.equal(history.received(request, LEASE, 10), history.received(request, LEASE, 95))
    history.lease(100, 101, 2)
    assert.deepEqual(history.kinds, [])
  })

  test('a repeat may not be given another', () => {
    const history = new OneKey()
    const request = asking(0)
    history.received(request, LEASE, 10)
    history.received(request, { leaseId: 'other', keyId: 'other', fencingToken: 2 }, 20)
    assert.deepEqual(history.kinds, ['request given too much'])
  })

  test('another request may not be given the same', () => {
    const history = new OneKey()
    history.received(asking(0), LEASE, 10)
    history.received(asking(11), LEASE, 20)
    assert(history.kinds.includes('lease given to two requests'))
  })
})

interface Turn {
  gap: number
  asking: number
  receiving: number
  holding: number
  renewed: boolean
  end: 'given back' | 'expired' | 'ended'
}

/** One true holder after the other, as a right server has them, seen by callers who hear of it late. */
test('no fault is found where there is none, and a thief is found anywhere', () => {
  const turn: fc.Arbitrary<Turn> = fc.record({
    gap: fc.nat({ max: 20 }),
    asking: fc.nat({ max: 30 }),
    receiving: fc.nat({ max: 150 }),
    holding: fc.integer({ min: 1, max: TTL_MS }),
    renewed: fc.boolean(),
    end: fc.constantFrom('given back', 'expired', 'ended'),
  })
  let thefts = 0
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 20 }), fc.nat(), (turns, which) => {
      const history = new OneKey()
      let now = 1000
      const held = turns.map((turn, at) => {
        const granted = now + turn.gap
        const lease = history.lease(granted - turn.asking, granted + turn.receiving, 10 * (at + 1))
        now = granted + turn.holding
        if (turn.renewed && turn.receiving < TTL_MS) {
          history.renewing(lease, TTL_MS, granted + turn.receiving)()
          now = Math.max(now, granted + turn.receiving)
        }
        if (turn.end === 'given back') history.givingBack(lease, now)
        else if (turn.end === 'ended') history.ending('key', now - 1).answeredAt = now + 1
        else now += TTL_MS
        return lease
      })
      assert.deepEqual(history.kinds, [])
      const victim = held[which % held.length]!
      const end = Math.min(victim.deadline, victim.givenBackAt)
      const endings = history.endings.get('key') ?? []
      if (endings.length > 0 || victim.receivedAt >= end - 1) return
      history.lease(victim.receivedAt, victim.receivedAt, victim.token + 1, { ttlMs: 10 })
      assert.deepEqual(history.kinds, ['two holders'])
      thefts++
    }),
  )
  assert(thefts > 0)
})
