import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Holds } from '../../src/engine/holds.ts'
import { MAX_DURATION_MS } from '../../src/engine/policy.ts'
import { MAX_FAILURES, MAX_POOL_NUMBER, NEVER, Rows, State } from '../../src/engine/rows.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const WORDS = [0, 1, 0x80000000, 0xffffffff]
const INSTANTS = [0, 1, 2 ** 32 - 1, 2 ** 32, Date.UTC(2030, 0, 1), NEVER - 1, NEVER]
const TOKENS = [1, 2 ** 32, 1.8e15, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]
const STATES = Object.values(State)
const END_REASONS = [0, 1, 2, 3, 4, 5, 6, 7]

/** Values of one row or hold by field, how to write each, and how to read it back. */
type Fields = Record<
  string,
  { values: readonly number[]; set: (value: number) => void; get: () => number }
>

/** Writes fields at random, many times, and sees to it that the others stay as they were. */
function checkIndependence(records: Fields[], seed: number): void {
  const random = new SeededRandom(seed)
  const written = records.map((fields) => {
    for (const field of Object.values(fields)) field.set(field.values[0]!)
    return new Map(Object.entries(fields).map(([name, { values }]) => [name, values[0]!]))
  })
  for (let round = 0; round < 2000; round++) {
    const record = random.below(records.length)
    const [name, field] = random.pick(Object.entries(records[record]!))!
    const value = random.pick(field.values)!
    field.set(value)
    written[record]!.set(name, value)
    records.forEach((fields, place) => {
      for (const [other, { get }] of Object.entries(fields)) {
        assert.equal(get(), written[place]!.get(other), `${other} after ${name} = ${value}`)
      }
    })
  }
}

function rowFields(rows: Rows, slot: number, pool: number, own: boolean): Fields {
  rows.begin(slot, pool, INSTANTS[4]!, NEVER, own)
  return {
    // What never changes while a key lives is written once.
    pool: { values: [pool], set: () => undefined, get: () => rows.pool(slot) },
    own: {
      values: [Number(own)],
      set: () => undefined,
      get: () => Number(rows.hasOwnLifetime(slot)),
    },
    live: { values: [1], set: () => undefined, get: () => Number(rows.isLive(slot)) },
    createdAt: { values: [INSTANTS[4]!], set: () => undefined, get: () => rows.createdAt(slot) },
    id: {
      values: WORDS,
      set: (value) => {
        rows.setId(slot, Uint32Array.of(1, 2, 3, value))
      },
      get: () => rows.idWord(slot, 3),
    },
    keepAliveAt: {
      values: INSTANTS,
      set: (value) => {
        rows.setLife(slot, value, rows.expiresAt(slot))
      },
      get: () => rows.keepAliveAt(slot),
    },
    expiresAt: {
      values: INSTANTS,
      set: (value) => {
        rows.setLife(slot, rows.keepAliveAt(slot), value)
      },
      get: () => rows.expiresAt(slot),
    },
    until: {
      values: INSTANTS,
      set: (value) => {
        rows.setUntil(slot, value)
      },
      get: () => rows.until(slot),
    },
    token: {
      values: TOKENS,
      set: (value) => {
        rows.setToken(slot, value)
      },
      get: () => rows.token(slot),
    },
    failures: {
      values: [0, 1, 127, 128, MAX_FAILURES],
      set: (value) => {
        rows.setFailures(slot, value)
      },
      get: () => rows.failures(slot),
    },
    state: {
      values: STATES,
      set: (value) => {
        rows.setState(slot, value as State)
      },
      get: () => rows.state(slot),
    },
    disabled: {
      values: [0, 1],
      set: (value) => {
        rows.setDisabled(slot, value === 1)
      },
      get: () => Number(rows.isDisabled(slot)),
    },
    endReason: {
      values: END_REASONS,
      set: (value) => {
        rows.setEndReason(slot, value)
      },
      get: () => rows.endReason(slot),
    },
    hold: {
      values: WORDS,
      set: (value) => {
        rows.setHold(slot, value)
      },
      get: () => rows.hold(slot),
    },
  }
}

function holdFields(holds: Holds, hold: number, slot: number): Fields {
  holds.begin(hold, slot)
  const durations = [0, 1, 2 ** 32 - 1, 2 ** 32, MAX_DURATION_MS, 2 ** 40 - 1]
  const terms = (grantedAt: number, ttlMs: number, lostCooldownMs: number): void => {
    holds.setTerms(hold, grantedAt, ttlMs, lostCooldownMs)
  }
  return {
    slot: { values: [slot], set: () => undefined, get: () => holds.slot(hold) },
    ...Object.fromEntries(
      [0, 1, 2].map((word) => [
        `secret${word}`,
        {
          values: WORDS,
          set: (value: number) => {
            holds.setSecretWord(hold, word, value)
          },
          get: () => holds.secretWord(hold, word),
        },
      ]),
    ),
    grantedAt: {
      values: INSTANTS,
      set: (value) => {
        terms(value, holds.ttlMs(hold), holds.lostCooldownMs(hold))
      },
      get: () => holds.grantedAt(hold),
    },
    ttlMs: {
      values: durations,
      set: (value) => {
        terms(holds.grantedAt(hold), value, holds.lostCooldownMs(hold))
      },
      get: () => holds.ttlMs(hold),
    },
    lostCooldownMs: {
      values: durations,
      set: (value) => {
        terms(holds.grantedAt(hold), holds.ttlMs(hold), value)
      },
      get: () => holds.lostCooldownMs(hold),
    },
  }
}

test('the fields of a row are independent of each other and of other rows', () => {
  const rows = new Rows(3)
  const slots = [rows.take(), rows.take(), rows.take()] as const
  checkIndependence(
    [
      rowFields(rows, slots[0], MAX_POOL_NUMBER, true),
      rowFields(rows, slots[1], 1, false),
      rowFields(rows, slots[2], 2 ** 19, false),
    ],
    1,
  )
})

test('the fields of a hold are independent of each other and of other holds', () => {
  const holds = new Holds(2)
  checkIndependence([holdFields(holds, holds.take(), 7), holdFields(holds, holds.take(), 8)], 2)
})

test('a new key in a used slot inherits the fencing token and nothing else', () => {
  const rows = new Rows(1)
  const slot = rows.take()
  rows.begin(slot, 1, 1000, 2000, true)
  rows.setToken(slot, 2 ** 52 + 1)
  rows.setFailures(slot, MAX_FAILURES)
  rows.setDisabled(slot, true)
  rows.setState(slot, State.leased)
  rows.setEndReason(slot, 6)
  rows.setUntil(slot, NEVER)
  rows.setHold(slot, 9)
  rows.end(slot)
  assert.equal(rows.isLive(slot), false)
  assert.equal(rows.pool(slot), 1)
  assert.equal(rows.endReason(slot), 6)
  assert.equal(rows.take(), slot)
  rows.begin(slot, 2, 3000, NEVER, false)
  assert.deepEqual(
    {
      pool: rows.pool(slot),
      live: rows.isLive(slot),
      state: rows.state(slot),
      createdAt: rows.createdAt(slot),
      keepAliveAt: rows.keepAliveAt(slot),
      expiresAt: rows.expiresAt(slot),
      until: rows.until(slot),
      token: rows.token(slot),
      failures: rows.failures(slot),
      disabled: rows.isDisabled(slot),
      own: rows.hasOwnLifetime(slot),
      endReason: rows.endReason(slot),
      hold: rows.hold(slot),
    },
    {
      pool: 2,
      live: true,
      state: State.available,
      createdAt: 3000,
      keepAliveAt: 3000,
      expiresAt: NEVER,
      until: 0,
      token: 2 ** 52 + 1,
      failures: 0,
      disabled: false,
      own: false,
      endReason: 0,
      hold: 0,
    },
  )
})
