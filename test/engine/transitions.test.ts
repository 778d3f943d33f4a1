/** The table of the specification: what each event does to a key in each state. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRefusal, type Operation } from '../../src/engine/operations.ts'
import { Fixture } from '../support/fixture.ts'

const POLICY = {
  keyLifetimeMs: null,
  leaseTtlMs: 60_000,
  cooldownMs: 100,
  expiredLeaseCooldownMs: 200,
  failureCooldownMs: 1000,
  maxFailureCooldownMs: 3000,
}

/** A pool with one key, which has failed once, and the lease it failed in or is under. */
class OneKey extends Fixture {
  readonly keyId: string
  leaseId: string

  constructor(restMs: number) {
    super(POLICY)
    this.keyId = this.create()[0]!
    this.leaseId = this.acquire()
    this.do({ op: 'release', leaseId: this.leaseId, outcome: 'error', retryAfterMs: restMs })
  }

  acquire(): string {
    this.leaseId = this.do({ op: 'acquire', count: 1 }).leases[0]!.leaseId
    return this.leaseId
  }

  disable(): void {
    this.do({ op: 'update', keyId: this.keyId, disabled: true, reason: 'old' })
  }

  /** State, failures, reason and what is left of a cooldown, in words. */
  look(): string {
    const { key } = this.do({ op: 'show', keyId: this.keyId })
    const { state, failures, disabled, disabledReason, coolingUntil } = key
    return [
      state,
      `f${failures}`,
      ...(disabled ? [disabledReason] : []),
      ...(coolingUntil === null ? [] : [`+${coolingUntil - this.now}`]),
    ].join(' ')
  }
}

const STATES: Record<string, (key: OneKey) => void> = {
  available: () => undefined,
  leased: (key) => {
    key.acquire()
  },
  'leased, disabled': (key) => {
    key.acquire()
    key.disable()
  },
  cooling: () => undefined,
  disabled: (key) => {
    key.disable()
  },
  'disabled, cooling': (key) => {
    key.disable()
  },
}

function inState(name: string): OneKey {
  const key = new OneKey(name.includes('cooling') ? 50 : 0)
  STATES[name]!(key)
  return key
}

type Event = ((key: OneKey) => Operation) | 'the lease expires'

const EVENTS: Record<string, Event> = {
  'release ok': ({ leaseId }) => ({ op: 'release', leaseId }),
  'release rate_limited': ({ leaseId }) => ({ op: 'release', leaseId, outcome: 'rate_limited' }),
  'release error': ({ leaseId }) => ({ op: 'release', leaseId, outcome: 'error' }),
  'release error, 7 ms': ({ leaseId }) => ({
    op: 'release',
    leaseId,
    outcome: 'error',
    retryAfterMs: 7,
  }),
  'release error, 0 ms': ({ leaseId }) => ({
    op: 'release',
    leaseId,
    outcome: 'error',
    retryAfterMs: 0,
  }),
  'release invalid': ({ leaseId }) => ({
    op: 'release',
    leaseId,
    outcome: 'invalid',
    reason: 'new',
  }),
  'a minute passes': 'the lease expires',
  revoke: ({ keyId }) => ({ op: 'revoke', keyId }),
  unblock: ({ keyId }) => ({ op: 'unblock', keyId }),
  disable: ({ keyId }) => ({ op: 'update', keyId, disabled: true, reason: 'new' }),
  enable: ({ keyId }) => ({ op: 'update', keyId, disabled: false }),
  'enable and end the rest': ({ keyId }) => ({
    op: 'update',
    keyId,
    disabled: false,
    coolingUntil: null,
  }),
  'end the rest': ({ keyId }) => ({ op: 'update', keyId, coolingUntil: null }),
  'keep alive': ({ keyId }) => ({ op: 'keepAlive', keyId }),
  renew: ({ leaseId }) => ({ op: 'renew', leaseId }),
  acquire: () => ({ op: 'acquire', count: 1 }),
  'acquire this key': ({ keyId }) => ({ op: 'acquire', count: 1, keyId }),
}

// prettier-ignore
const TABLE = `
event                  |available     |leased         |leased, disabled |cooling        |disabled      |disabled, cooling
release ok             |late          |cooling f0 +100|disabled f0 old +100|late        |late          |late
release rate_limited   |late          |cooling f2 +2000|disabled f2 old +2000|late      |late          |late
release error          |late          |cooling f2 +2000|disabled f2 old +2000|late      |late          |late
release error, 7 ms    |late          |cooling f2 +7  |disabled f2 old +7|late          |late          |late
release error, 0 ms    |late          |available f2   |disabled f2 old  |late           |late          |late
release invalid        |late          |disabled f1 new|disabled f1 new  |late           |late          |late
a minute passes        |available f1  |cooling f1 +200|disabled f1 old +200|available f1|disabled f1 old|disabled f1 old
revoke                 |key_not_leased|cooling f1 +200|disabled f1 old +200|key_not_leased|key_not_leased|key_not_leased
unblock                |key_not_leased|cooling f1 +100|disabled f1 old +100|key_not_leased|key_not_leased|key_not_leased
disable                |disabled f1 new|leased f1 new |leased f1 new    |disabled f1 new +50|disabled f1 new|disabled f1 new +50
enable                 |available f0  |leased f0      |leased f0        |cooling f0 +50 |available f0  |cooling f0 +50
enable and end the rest|available f0  |leased f0      |leased f0        |available f0   |available f0  |available f0
end the rest           |available f1  |leased f1      |leased f1 old    |available f1   |disabled f1 old|disabled f1 old
keep alive             |available f1  |leased f1      |leased f1 old    |cooling f1 +50 |disabled f1 old|disabled f1 old +50
renew                  |lease_ended   |leased f1      |leased f1 old    |lease_ended    |lease_ended   |lease_ended
acquire                |leased f1     |pool_exhausted |pool_exhausted   |pool_exhausted |pool_empty    |pool_empty
acquire this key       |leased f1     |key_unavailable|key_unavailable  |key_unavailable|key_unavailable|key_unavailable
`

const [head, ...lines] = TABLE.trim()
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))

test('the table has each event and each state', () => {
  assert.deepEqual(head!.slice(1), Object.keys(STATES))
  assert.deepEqual(
    lines.map(([event]) => event),
    Object.keys(EVENTS),
  )
})

for (const [event, ...cells] of lines) {
  test(event, () => {
    const outcomes = Object.keys(STATES).map((state) => outcomeOf(event!, inState(state)))
    assert.deepEqual(outcomes, cells)
  })
}

function outcomeOf(event: string, key: OneKey): string {
  const operation = EVENTS[event]!
  const before = key.look()
  if (operation === 'the lease expires') {
    key.now += POLICY.leaseTtlMs
    return key.look()
  }
  const result = key.ask(operation(key))
  const late = 'released' in result && !result.released
  if (!isRefusal(result) && !late) return key.look()
  assert.equal(key.look(), before, 'what is refused changes nothing')
  return late ? 'late' : (result as { code: string }).code
}

test('the rest after failures in a row doubles up to its limit, and begins anew after a success', () => {
  const key = new OneKey(0)
  const rests = (['error', 'rate_limited', 'error', 'ok', 'error'] as const).map((outcome) => {
    key.do({ op: 'release', leaseId: key.acquire(), outcome })
    const before = key.now
    key.now = key.do({ op: 'show', keyId: key.keyId }).key.coolingUntil!
    return key.now - before
  })
  assert.deepEqual(rests, [2000, 3000, 3000, 100, 1000])
})

test('the count of failures stops at 255', () => {
  const key = new OneKey(0)
  for (let failure = 0; failure < 300; failure++) {
    const leaseId = key.acquire()
    key.do({ op: 'release', leaseId, outcome: 'error', retryAfterMs: 0 })
  }
  assert.equal(key.look(), 'available f255')
  key.do({ op: 'release', leaseId: key.acquire(), outcome: 'error' })
  assert.equal(key.look(), 'cooling f255 +3000')
})

test('what a lost lease costs was settled at its grant', () => {
  const key = new OneKey(0)
  key.acquire()
  key.engine.putPool('pool', { ...key.engine.policy('pool')!, expiredLeaseCooldownMs: 5000 })
  key.now += POLICY.leaseTtlMs
  assert.equal(key.look(), 'cooling f1 +200')
})
