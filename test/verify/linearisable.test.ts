/** The check finds what is wrong with a history, and nothing where nothing is. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { check, type Finding } from './linearisable.ts'
import type { Act, Operation } from './model.ts'

const TTL_MS = 1000

function at(calledAt: number, returnedAt: number, act: Act): Operation {
  return { key: 'k', calledAt, returnedAt, until: returnedAt, act }
}

function acquired(leaseId: string, token: number): Act {
  return { op: 'acquire', ttlMs: TTL_MS, told: { leaseId, token } }
}

const refused: Act = { op: 'acquire', ttlMs: TTL_MS, told: false }
const lost: Act = { op: 'acquire', ttlMs: TTL_MS, told: null }
const released = (leaseId: string, told: boolean | null = true): Act => ({
  op: 'release',
  leaseId,
  told,
})
const renewed = (leaseId: string, told: boolean | null = true): Act => ({
  ...{ op: 'renew', leaseId, ttlMs: TTL_MS, told },
})
const revoked = (told: boolean | null): Act => ({ op: 'revoke', told })

const HISTORIES: [name: string, finding: Finding, ...operations: Operation[]][] = [
  [
    'one after another',
    'right',
    at(0, 10, acquired('a', 1)),
    at(20, 30, released('a')),
    at(40, 50, acquired('b', 2)),
  ],
  ['two holders', 'wrong', at(0, 10, acquired('a', 1)), at(20, 30, acquired('b', 2))],
  ['two holders at once', 'wrong', at(0, 30, acquired('a', 1)), at(10, 20, acquired('b', 2))],
  [
    'after the lease has ended',
    'right',
    at(0, 10, acquired('a', 1)),
    at(1001, 1010, acquired('b', 2)),
  ],
  [
    'before the lease has ended',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(900, 950, acquired('b', 2)),
  ],
  [
    'a renewal puts the end off',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(900, 910, renewed('a')),
    at(1200, 1210, acquired('b', 2)),
  ],
  ['a renewal after the end', 'wrong', at(0, 10, acquired('a', 1)), at(1100, 1110, renewed('a'))],
  [
    'an end that comes early',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(500, 510, renewed('a', false)),
  ],
  [
    'a token that falls',
    'wrong',
    at(0, 10, acquired('a', 2)),
    at(20, 30, released('a')),
    at(40, 50, acquired('b', 1)),
  ],
  [
    'a token that comes twice',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, released('a')),
    at(40, 50, acquired('b', 1)),
  ],
  ['a lease that was lost', 'wrong', at(0, 10, acquired('a', 1)), at(20, 30, released('a', false))],
  [
    'a release that was lost',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, released('a')),
    at(40, 50, refused),
  ],
  [
    'a release that came twice',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, released('a')),
    at(40, 50, released('a')),
  ],
  ['a refusal without a holder', 'wrong', at(0, 10, refused)],
  ['a refusal beside a holder', 'right', at(0, 30, refused), at(10, 20, acquired('a', 1))],
  [
    'a revocation that was lost',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, revoked(true)),
    at(40, 50, renewed('a')),
  ],
  ['a revocation of nothing', 'wrong', at(0, 10, revoked(true))],
  [
    'nothing to revoke, but there was',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, revoked(false)),
  ],
  [
    'a past holder who harms the next',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, 30, revoked(true)),
    at(40, 50, acquired('b', 2)),
    at(60, 70, released('a')),
    at(80, 90, renewed('b', false)),
  ],
  ['a grant that nobody heard of', 'right', at(0, Infinity, lost), at(20, 30, refused)],
  [
    'a grant that nobody heard of, or never was',
    'right',
    at(0, Infinity, lost),
    at(20, 30, acquired('b', 2)),
  ],
  [
    'a release that nobody heard of',
    'right',
    at(0, 10, acquired('a', 1)),
    at(20, Infinity, released('a', null)),
    at(40, 50, acquired('b', 2)),
  ],
  [
    'what nobody heard of is done once',
    'wrong',
    at(0, 10, acquired('a', 1)),
    at(20, Infinity, released('a', null)),
    at(40, 50, acquired('b', 2)),
    at(60, 70, acquired('c', 3)),
  ],
  [
    'what was lost with the server does not come later',
    'wrong',
    { ...at(0, Infinity, lost), until: 20 },
    at(30, 40, revoked(false)),
    at(50, 60, refused),
  ],
]

suite('histories', () => {
  for (const [name, finding, ...operations] of HISTORIES) {
    test(`${name}: ${finding}`, () => {
      assert.equal(check(operations), finding)
    })
  }

  test('of a right key are right, and each answer turned into its contrary is found', () => {
    const turns = fc.array(fc.nat(3), { minLength: 3, maxLength: 40 })
    fc.assert(
      fc.property(turns, fc.nat(), fc.nat(50), (turns, which, overlapMs) => {
        const history = rightHistory(turns, overlapMs)
        assert.equal(check(history), 'right')
        const apart = rightHistory(turns, 0)
        const index = which % apart.length
        const broken = apart.with(index, contrary(apart[index]!))
        assert.equal(check(broken), 'wrong', JSON.stringify(broken))
      }),
    )
  })
})

/** What a right key does, an operation each 2 ms, each of which may take longer than until the next. */
function rightHistory(turns: readonly number[], overlapMs: number): Operation[] {
  let holder: string | null = null
  return turns.map((turn, index) => {
    const id: string = holder ?? 'nobody'
    const isHeld = holder !== null
    let act: Act
    if (turn < 2) act = isHeld ? refused : acquired(`${index}`, index + 1)
    else act = turn === 2 ? released(id, isHeld) : revoked(isHeld)
    if (turn < 2) holder ??= `${index}`
    else holder = null
    return at(index * 2 - overlapMs * 0.01, index * 2 + 1 + overlapMs, act)
  })
}

function contrary(operation: Operation): Operation {
  const { act } = operation
  if (act.op !== 'acquire') return { ...operation, act: { ...act, told: act.told !== true } }
  return { ...operation, act: act.told === false ? acquired('another', 1e6) : refused }
}
