/** Each thing that may go wrong in a history is found, and what may happen is allowed. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../support/seeded-random.ts'
import { AckLog } from './ack-log.ts'
import type { KnownLease, ShownKey } from './known.ts'
import type { Attempt, Request, Told } from './requests.ts'

const LIFETIME_MS = 3_600_000
const TTL_MS = 10_000
const START = 1_800_000_000_000

/** A history as it is told to the log: requests come 1 ms apart and take 10, and the server does them after 5. */
class History {
  readonly log = new AckLog()
  now = START
  #token = 0
  #keys = 0

  constructor() {
    this.log.terms = { keyLifetimeMs: LIFETIME_MS, leaseTtlMs: TTL_MS }
  }

  ask(request: Request, tell: (doneAt: number) => Told, quiet = false): void {
    const attempt = this.begin(request)
    this.log.answer(attempt, tell(this.now - 5), this.now, quiet)
  }

  /** Sent, and not answered yet. */
  begin(request: Request): Attempt {
    this.now++ // in the same ms it might have been sent before the last answer
    const attempt = this.log.send(request, this.now)
    this.now += 10
    return attempt
  }

  create(count = 1): string[] {
    const keyIds = Array.from({ length: count }, () => `key ${++this.#keys}`)
    this.ask({ op: 'create', count }, () => ({ keyIds }))
    return keyIds
  }

  draw(keyId: string, fencingToken = ++this.#token): KnownLease {
    const tell = (doneAt: number): Told => {
      const blockedUntil = doneAt + TTL_MS
      return { lease: { keyId, leaseId: `lease ${fencingToken}`, fencingToken, blockedUntil } }
    }
    this.ask({ op: 'draw' }, tell)
    return this.log.held.at(-1)!
  }

  release(lease: KnownLease, done = true): void {
    this.ask({ op: 'release', lease }, () => (done ? { done } : null))
  }

  name(op: 'keepAlive' | 'remove', keyId: string, done = true): void {
    this.ask({ op, keyId }, () => (done ? { done } : null))
  }

  /** A kill with these requests under way, and a restart. */
  crash(...underWay: Request[]): void {
    for (const request of underWay) this.begin(request)
    this.now += 5
    this.log.loseAll(this.now)
    this.now += 500
  }

  show(keyId: string, shown: Partial<ShownKey> | null): void {
    const { lease = null } = shown ?? {}
    const defaults = { state: lease === null ? 'available' : 'leased', lease }
    this.ask(
      { op: 'show', keyId },
      () => shown && { key: { ...born(START + 5), ...defaults, ...shown } },
      true,
    )
  }

  /** The check after a restart comes to its end. */
  count(counted: number): void {
    this.log.finishCheck(counted, this.now, this.now + 1)
    this.now += 10
  }

  assertFaults(faults: Partial<AckLog['faults']>): void {
    const none = { lost: 0, double: 0, token: 0, torn: 0, wrong: 0 }
    assert.deepEqual(this.log.faults, { ...none, ...faults }, this.log.details.join('\n'))
  }
}

/** The life of a key that nobody has kept alive. */
function born(at: number): Pick<ShownKey, 'createdAt' | 'keepAliveAt' | 'expiresAt'> {
  return { createdAt: at, keepAliveAt: at, expiresAt: at + LIFETIME_MS }
}

function shownLease({ blockedUntil }: KnownLease): ShownKey['lease'] {
  return { grantedAt: blockedUntil - TTL_MS, expiresAt: blockedUntil }
}

/** One key, and a crash while something is done to it. */
function crashed(during: (history: History, keyId: string) => void): {
  history: History
  keyId: string
} {
  const history = new History()
  const [keyId] = history.create()
  during(history, keyId!)
  return { history, keyId: keyId! }
}

suite('what was acknowledged', () => {
  test('may be found as it was', () => {
    const { history, keyId } = crashed((history, keyId) => {
      history.name('keepAlive', keyId)
    })
    const keptAt = history.now - 5
    const lease = history.draw(keyId)
    const [gone] = history.create()
    history.name('remove', gone!)
    history.crash()
    const life = { keepAliveAt: keptAt, expiresAt: keptAt + LIFETIME_MS }
    history.show(keyId, { ...life, lease: shownLease(lease) })
    history.show(gone!, null)
    history.count(1)
    history.release(lease)
    history.now += TTL_MS
    history.draw(keyId)
    history.assertFaults({})
  })

  test('is missed: a key', () => {
    const { history, keyId } = crashed((history) => {
      history.crash()
    })
    history.show(keyId, null)
    history.count(0)
    history.assertFaults({ lost: 1 })
  })

  test('is missed: keys that nobody has looked at', () => {
    const { history, keyId } = crashed((history) => {
      history.create(100)
      history.crash()
    })
    history.show(keyId, {})
    history.count(100)
    history.assertFaults({ lost: 1 })
  })

  test('is missed: a deletion, a keep-alive, a lease, its deadline, a release', () => {
    const deleted = crashed((history, keyId) => {
      history.name('remove', keyId)
      history.crash()
    })
    deleted.history.show(deleted.keyId, {})
    deleted.history.assertFaults({ lost: 1 })

    const kept = crashed((history, keyId) => {
      history.now += 1000
      history.name('keepAlive', keyId)
      history.crash()
    })
    kept.history.show(kept.keyId, {})
    kept.history.assertFaults({ lost: 1 })

    const leased = crashed((history, keyId) => {
      history.draw(keyId)
      history.crash()
    })
    leased.history.show(leased.keyId, {})
    leased.history.assertFaults({ lost: 1 })

    const shortened = crashed((history, keyId) => {
      const { grantedAt, expiresAt } = shownLease(history.draw(keyId))!
      history.crash()
      history.show(keyId, { lease: { grantedAt, expiresAt: expiresAt - 1 } })
    })
    assert(shortened.history.log.faults.lost > 0)

    const released = crashed((history, keyId) => {
      const lease = history.draw(keyId)
      history.release(lease)
      history.crash()
      history.show(keyId, { lease: shownLease(lease) })
    })
    released.history.assertFaults({ lost: 1 })
  })

  test('is missed while others work: a key, a lease', () => {
    const history = new History()
    const [first, second, third] = history.create(3)
    history.name('keepAlive', first!, false)
    history.release(history.draw(second!), false)
    const { log } = history
    history.draw(third!)
    const shown = { key: { ...born(START + 5), state: 'available', lease: null } }
    log.answer(history.begin({ op: 'show', keyId: third! }), shown, history.now)
    history.assertFaults({ lost: 3 })
  })
})

suite('one holder at a time', () => {
  test('a look in the millisecond in which a grant was heard may have come before it', () => {
    const lookAfter = (laterMs: number): History => {
      const { history, keyId } = crashed(() => undefined)
      const draw = history.begin({ op: 'draw' })
      const look = history.log.send({ op: 'show', keyId }, history.now + laterMs)
      const blockedUntil = history.now - 1 + TTL_MS
      const lease = { keyId, leaseId: 'lease 1', fencingToken: 1, blockedUntil }
      history.log.answer(draw, { lease }, history.now)
      const key = { ...born(START + 5), state: 'available', lease: null }
      history.log.answer(look, { key }, history.now + laterMs + 1)
      return history
    }
    lookAfter(0).assertFaults({})
    lookAfter(1).assertFaults({ lost: 1 })
  })

  test('a key may be drawn again once it is let go', () => {
    const { history, keyId } = crashed(() => undefined)
    history.release(history.draw(keyId))
    history.draw(keyId)
    history.now += TTL_MS
    history.draw(keyId)
    history.assertFaults({})
  })

  test('two holders are found, over a restart too', () => {
    const { history, keyId } = crashed((history, keyId) => {
      history.draw(keyId)
      history.draw(keyId)
    })
    history.assertFaults({ double: 1 })
    history.crash()
    history.draw(keyId)
    history.assertFaults({ double: 2 })
  })

  test('a draw beside a keep-alive of a key that was to die sooner may come before it', () => {
    const history = new History()
    const [keyId] = history.create() as [string]
    history.now += LIFETIME_MS - TTL_MS / 2
    const draw = history.begin({ op: 'draw' })
    history.name('keepAlive', keyId)
    const blockedUntil = START + 6 + LIFETIME_MS // with the key, as it was to die when it was drawn
    const lease = { keyId, leaseId: 'lease', fencingToken: 1, blockedUntil }
    history.log.answer(draw, { lease }, history.now)
    assert.equal(history.log.faultCount, 0, history.log.details.join())
  })

  test('a holder whose release was not answered may have lost the lease, or not', () => {
    const { history, keyId } = crashed((history, keyId) => {
      const lease = history.draw(keyId)
      history.crash({ op: 'release', lease })
      history.show(keyId, { lease: shownLease(lease) })
      history.count(1)
    })
    history.assertFaults({})
    history.draw(keyId)
    history.assertFaults({ double: 1 })

    const other = crashed((history, keyId) => {
      history.crash({ op: 'release', lease: history.draw(keyId) })
      history.show(keyId, {})
      history.draw(keyId)
    })
    other.history.assertFaults({})
  })

  test('a fencing token that falls or comes again is found', () => {
    const history = new History()
    const [first, second, third] = history.create(3)
    history.draw(first!, 10)
    history.draw(second!, 10)
    history.draw(third!, 9)
    history.assertFaults({ token: 3 }) // the repeated one has not risen either
  })

  test('tokens of draws at one time may come in any order, but differ', () => {
    const history = new History()
    const keyIds = history.create(3)
    const attempts = keyIds.map(() => history.begin({ op: 'draw' }))
    ;[7, 6, 6].forEach((fencingToken, at) => {
      const blockedUntil = history.now + TTL_MS
      const lease = { keyId: keyIds[at]!, leaseId: `lease ${at}`, fencingToken, blockedUntil }
      history.log.answer(attempts[at]!, { lease }, history.now)
    })
    history.assertFaults({ token: 1 })
  })
})

suite('what was not answered', () => {
  test('was done or not, and stays so', () => {
    for (const done of [true, false]) {
      const { history, keyId } = crashed((history, keyId) => {
        history.crash({ op: 'remove', keyId })
      })
      history.show(keyId, done ? null : {})
      history.count(done ? 0 : 1)
      history.assertFaults({})
      history.crash()
      history.show(keyId, done ? {} : null)
      history.assertFaults({ lost: 1 })
    }
  })

  test('a keep-alive counts from its time or the one before', () => {
    for (const keptAt of [START + 5, START + 2000]) {
      const { history, keyId } = crashed((history, keyId) => {
        history.now = START + 1995
        history.crash({ op: 'keepAlive', keyId })
      })
      history.show(keyId, { keepAliveAt: keptAt, expiresAt: keptAt + LIFETIME_MS })
      history.assertFaults({})
      history.show(keyId, { keepAliveAt: keptAt + 1, expiresAt: keptAt + 1 + LIFETIME_MS })
      history.assertFaults({ lost: 1 })
    }
  })

  test('a create has made all of its keys or none', () => {
    for (const [counted, faults] of [
      [1, {}],
      [101, {}],
      [51, { torn: 1 }],
      [102, { torn: 1 }],
    ] as const) {
      const { history, keyId } = crashed((history) => {
        history.crash({ op: 'create', count: 100 })
      })
      history.show(keyId, {})
      history.count(counted)
      history.assertFaults(faults)
      history.crash()
      history.show(keyId, {})
      history.count(counted)
      history.assertFaults(faults)
    }
  })

  test('keys of such a create are met later, no more than there are', () => {
    const history = new History()
    history.crash({ op: 'create', count: 2 })
    const at = START + 5
    history.count(2)
    for (const keyId of ['stranger 1', 'stranger 2', 'stranger 3']) {
      history.draw(keyId)
      history.show(keyId, { ...born(at), lease: shownLease(history.log.held.at(-1)!) })
    }
    history.count(3)
    history.assertFaults({ wrong: 1 })
  })

  test('a key of no create is found', () => {
    const history = new History()
    history.crash({ op: 'create', count: 1 })
    history.count(1)
    const lease = history.draw('stranger')
    history.show('stranger', { ...born(START + 400), lease: shownLease(lease) })
    history.count(2)
    history.assertFaults({ wrong: 1 })
  })

  test('a draw explains one lease that nobody has', () => {
    const history = new History()
    const [first, second] = history.create(2)
    history.crash({ op: 'draw' })
    const lease = { grantedAt: START + 20, expiresAt: START + 20 + TTL_MS }
    history.show(first!, { lease })
    history.show(second!, {})
    history.count(2)
    history.assertFaults({})
    history.crash({ op: 'draw' })
    history.show(first!, { lease })
    history.show(second!, { lease: { grantedAt: START + 21, expiresAt: START + 21 + TTL_MS } })
    history.count(2)
    history.assertFaults({ wrong: 1 }) // granted before it was asked for
    history.draw(first!)
    history.assertFaults({ wrong: 1, double: 1 })
  })
})

test('a draw beside a create of many keys may find nothing, but not one that is sent after it', () => {
  const history = new History()
  const beside = history.begin({ op: 'draw' })
  const keyIds = history.create(200)
  history.log.answer(beside, null, history.now)
  assert.equal(history.log.faultCount, 0)
  const leases = keyIds.map((keyId) => history.draw(keyId))
  const besideReleases = history.begin({ op: 'draw' })
  for (const lease of leases) history.release(lease)
  history.log.answer(besideReleases, null, history.now)
  assert.equal(history.log.faultCount, 0)
  history.now += 100
  history.ask({ op: 'draw' }, () => null)
  assert.equal(history.log.faults.wrong, 1)
})

test('what is checked: all that may be there, and what went lately', () => {
  const history = new History()
  const keyIds = history.create(3)
  history.name('remove', keyIds[0]!)
  const toCheck = history.log.keysToCheck(new SeededRandom(1), history.now)
  assert.deepEqual(toCheck.sort(), keyIds)
})
