import assert from 'node:assert/strict'
import { test } from 'node:test'
import { STATE_NAMES, type StateName } from '../../src/engine/rows.ts'
import { Fixture } from '../support/fixture.ts'
import { SeededRandom } from '../support/seeded-random.ts'

/** Ids on all pages, in order; `meanwhile` is called between two of them. */
function walk(
  fixture: Fixture,
  options: { limit: number; state?: StateName },
  meanwhile = (): void => undefined,
): string[] {
  const ids: string[] = []
  let cursor: string | undefined
  do {
    const page = fixture.do({ op: 'list', ...options, cursor })
    assert(page.keys.length <= options.limit)
    ids.push(...page.keys.map(({ keyId }) => keyId))
    cursor = page.nextCursor ?? undefined
    meanwhile()
  } while (cursor !== undefined)
  return ids
}

// A pool of up to 4 096 keys is read from its own set, a larger one from the index.
for (const [size, limit] of [
  [150, 7],
  [6000, 250],
] as const) {
  test(`of ${size} keys, each that is there throughout is listed exactly once`, () => {
    const fixture = new Fixture({}, 20_000)
    const random = new SeededRandom(2)
    fixture.engine.putPool('other', fixture.engine.policy('pool')!)
    fixture.do({ op: 'create', count: 1000 }, 'other')
    const constant = fixture.create(size)
    const passing = fixture.create(size / 2)
    const removed = new Set<string>()
    const listed = walk(fixture, { limit }, () => {
      passing.push(...fixture.create(size / 50))
      for (let removal = 0; removal < size / 30; removal++) {
        const keyId = random.pick(passing)!
        if (removed.has(keyId)) continue
        removed.add(keyId)
        fixture.do({ op: 'remove', keyId })
      }
    })
    assert.deepEqual(listed, listed.toSorted(), 'in the order of their ids')
    assert.equal(new Set(listed).size, listed.length, 'none twice')
    assert.deepEqual(new Set(constant).difference(new Set(listed)), new Set(), 'all of them')
    const known = new Set([...constant, ...passing])
    assert.deepEqual(new Set(listed).difference(known), new Set(), 'no others')
  })

  test(`of ${size} keys, those in one state are listed`, () => {
    const fixture = new Fixture({ cooldownMs: 10 }, 20_000)
    const keyIds = fixture.create(size)
    const { leases } = fixture.do({ op: 'acquire', count: size / 2 })
    for (const { leaseId } of leases.slice(size / 4)) fixture.do({ op: 'release', leaseId })
    for (const { keyId } of leases.slice(size / 3)) {
      fixture.do({ op: 'update', keyId, disabled: true })
    }
    const listed = STATE_NAMES.map((state) => walk(fixture, { limit, state }))
    assert.deepEqual(listed.flat().sort(), keyIds.toSorted())
    for (const [place, ids] of listed.entries()) {
      assert(ids.length > 0)
      for (const keyId of ids) {
        assert.equal(fixture.do({ op: 'show', keyId }).key.state, STATE_NAMES[place])
      }
    }
  })

  test(`of ${size} keys, those whose time is over are not listed`, () => {
    const fixture = new Fixture({ keyLifetimeMs: 1000 }, 20_000)
    fixture.create(size)
    fixture.now += 999
    const young = fixture.create(10)
    fixture.now += 1
    assert.deepEqual(walk(fixture, { limit }), young.toSorted())
  })
}

// Leases of one holder, and keys in one state, are read from lists of their own where there are few.
for (const [held, limit] of [
  [300, 7],
  [5000, 450],
] as const) {
  test(`of ${held} leases of a holder, each that lasts is listed exactly once`, () => {
    const fixture = new Fixture({ keyLifetimeMs: null }, 20_000)
    const random = new SeededRandom(3)
    fixture.create(12_000)
    const grant = (holder: string, count: number): string[] =>
      fixture.do({ op: 'acquire', count, holder }).leases.map(({ keyId }) => keyId)
    const constant = grant('w', held)
    const passing = grant('w', held / 2)
    grant('other', 3000)
    const revoked = new Set<string>()
    const listed: string[] = []
    let cursor: string | undefined
    do {
      const page = fixture.do({ op: 'listLeases', holder: 'w', limit, cursor })
      assert(page.heldLeases.length <= limit)
      listed.push(...page.heldLeases.map(({ keyId }) => keyId))
      cursor = page.nextCursor ?? undefined
      passing.push(...grant('w', 2))
      for (let at = 0; at < 3; at++) {
        const keyId = random.pick(passing)!
        if (!revoked.has(keyId)) fixture.do({ op: 'revoke', keyId })
        revoked.add(keyId)
      }
    } while (cursor !== undefined)
    assert.deepEqual(listed, listed.toSorted(), 'in the order of their keys')
    assert.equal(new Set(listed).size, listed.length, 'none twice')
    assert.deepEqual(new Set(constant).difference(new Set(listed)), new Set(), 'all of them')
    const theirs = new Set([...constant, ...passing])
    assert.deepEqual(new Set(listed).difference(theirs), new Set(), 'nobody else’s')
  })

  test(`of ${held} keys in a state, each that stays in it is listed exactly once`, () => {
    const fixture = new Fixture({ keyLifetimeMs: null }, 20_000)
    const [constant, passing] = [fixture.create(held), fixture.create(held / 2)]
    fixture.create(12_000 - held)
    const disable = (keyId: string, disabled: boolean): void => {
      fixture.do({ op: 'update', keyId, disabled })
    }
    for (const keyId of [...constant, ...passing]) disable(keyId, true)
    const listed = walk(fixture, { limit, state: 'disabled' }, () => {
      const keyId = passing.shift()
      if (keyId !== undefined) disable(keyId, false)
    })
    assert.equal(new Set(listed).size, listed.length, 'none twice')
    assert.deepEqual(new Set(constant).difference(new Set(listed)), new Set(), 'all of them')
  })
}

test('a cursor is good after its key is gone, and in either case of its letters', () => {
  const fixture = new Fixture()
  const [first, second, third] = fixture.create(3).sort()
  const { keys, nextCursor } = fixture.do({ op: 'list', limit: 2 })
  assert.deepEqual(
    keys.map(({ keyId }) => keyId),
    [first, second],
  )
  fixture.do({ op: 'remove', keyId: second! })
  for (const cursor of [nextCursor!, nextCursor!.toUpperCase()]) {
    const rest = fixture.do({ op: 'list', limit: 2, cursor })
    assert.deepEqual(
      rest.keys.map(({ keyId }) => keyId),
      [third],
    )
    assert.equal(rest.nextCursor, null)
  }
})

test('what this server has not given is no cursor', () => {
  const fixture = new Fixture()
  fixture.create()
  for (const cursor of ['', 'constructor', '\0', 'x'.repeat(36), 'x'.repeat(3000)]) {
    assert.deepEqual(fixture.ask({ op: 'list', limit: 1, cursor }), { code: 'invalid_cursor' })
  }
})

test('an empty pool has an empty page', () => {
  assert.deepEqual(new Fixture().do({ op: 'list', limit: 1 }), { keys: [], nextCursor: null })
})
