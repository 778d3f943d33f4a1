/** Imports of more keys than one turn makes: whatever happens between the turns, all keys are there at once or none. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Run } from '../../src/engine/engine.ts'
import { REFUSED } from '../../src/engine/errors.ts'
import { type ImportOperation, isRefusal, type Result } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { Fixture } from '../support/fixture.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const FOREVER = { keyLifetimeMs: null }

function importOf(
  digests: readonly string[],
  onDuplicate: ImportOperation['onDuplicate'] = 'refuse',
): ImportOperation {
  const keys = digests.map((digest) => ({
    value: { sealed: `sealed ${digest}`, digest },
    name: null,
    metadata: null,
    lifetimeMs: null,
  }))
  return { op: 'import', keys, onDuplicate }
}

function digests(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, at) => `digest ${from + at}`)
}

/** Runs it, with `meanwhile` after each turn but the last. Returns the result and the number of turns. */
function runInTurns(
  fixture: Fixture,
  operation: ImportOperation,
  meanwhile: (turn: number, run: Run) => void = () => undefined,
): { result: Result; turns: number } {
  const run = new Run('pool', [operation])
  let turns = 1
  for (; !fixture.engine.run(run, fixture.now); turns++) {
    assert(turns < 10_000, 'it never ends')
    fixture.engine.settle(fixture.now, 64)
    meanwhile(turns, run)
  }
  return { result: run.results[0]!, turns }
}

/** Nothing is there but these keys. */
function assertHolds(fixture: Fixture, keys: number): void {
  const { rows, details } = fixture.engine.tables
  assert.equal(fixture.do({ op: 'describe' }).counts.available, keys)
  assert.deepEqual([rows.used, details.values], [keys, keys], 'slots and values')
}

suite('an import in turns', () => {
  test('nobody sees a key of it before all are there', () => {
    const fixture = new Fixture(FOREVER, 20_000)
    const all = digests(10_000)
    const { result, turns } = runInTurns(fixture, importOf(all), () => {
      assert.partialDeepStrictEqual(fixture.ask({ op: 'acquire' }), { code: 'pool_empty' })
      assert.equal(fixture.do({ op: 'list', limit: 1 }).keys.length, 0)
      assert.deepEqual(fixture.engine.find('digest 0', '', fixture.now), [])
    })
    assert(turns > 10, `${turns} turns`)
    assert(!isRefusal(result) && 'keyIds' in result)
    assert.equal(new Set(result.keyIds).size, all.length)
    assertHolds(fixture, all.length)
    const { leases } = fixture.do({ op: 'acquire', count: all.length })
    const sealed = new Map(leases.map(({ keyId, sealed }) => [keyId, sealed]))
    for (const [at, keyId] of result.keyIds.entries()) {
      assert.equal(sealed.get(keyId), `sealed ${all[at]!}`, 'each key has its own value')
    }
  })

  test('of two at a time with the same values, one is refused', () => {
    const fixture = new Fixture(FOREVER, 20_000)
    const other = new Run('pool', [importOf(digests(1500, 2000))])
    const { result } = runInTurns(fixture, importOf(digests(3000)), () => {
      assert.equal(fixture.engine.run(other, fixture.now), false, 'it waits')
    })
    assert(!isRefusal(result))
    while (!fixture.engine.run(other, fixture.now));
    assert.partialDeepStrictEqual(other.results, [
      { code: 'duplicate_value', duplicate: { index: 0 } },
    ])
    assertHolds(fixture, 3000)
  })

  test('a value whose key is gone before the end is not passed over', () => {
    const fixture = new Fixture(FOREVER, 20_000)
    const [first] = fixture.do(importOf(digests(5))).keyIds
    const { result } = runInTurns(fixture, importOf(digests(3000), 'skip'), (turn) => {
      if (turn === 2) fixture.do({ op: 'remove', keyId: first! })
    })
    assert(!isRefusal(result) && 'skipped' in result)
    assert.deepEqual(
      result.skipped.map(({ index }) => index),
      [1, 2, 3, 4],
    )
    assert.equal(result.keyIds.length, 2996)
    assertHolds(fixture, 3000)
  })

  const troubles: Record<string, [(fixture: Fixture) => void, string]> = {
    'a pool that others have filled': [
      (fixture) => {
        fixture.engine.putPool('pool', { ...DEFAULT_POLICY, ...FOREVER, maxKeys: 100 })
      },
      'pool_full',
    ],
    'a pool that is gone': [
      (fixture) => {
        fixture.engine.removePool('pool', {}, fixture.now)
        fixture.engine.putPool('pool', { ...DEFAULT_POLICY, ...FOREVER })
      },
      'pool_not_found',
    ],
    'storage that is full': [
      (fixture) => {
        fixture.engine.frozen = REFUSED.storage_full
      },
      'storage_full',
    ],
  }
  for (const [name, [happen, code]] of Object.entries(troubles)) {
    test(`${name} refuses it whole`, () => {
      for (const turnOfTrouble of [1, 2, 4]) {
        const fixture = new Fixture(FOREVER, 20_000)
        const { result } = runInTurns(fixture, importOf(digests(3000)), (turn) => {
          if (turn === turnOfTrouble) happen(fixture)
        })
        assert.partialDeepStrictEqual(result, { code })
        fixture.engine.frozen = null
        fixture.engine.putPool('pool', { ...DEFAULT_POLICY, ...FOREVER })
        assertHolds(fixture, 0)
        fixture.do(importOf(digests(3000)))
        assertHolds(fixture, 3000)
      }
    })
  }

  test('one into a pool that is emptied goes into the empty one', () => {
    const fixture = new Fixture(FOREVER, 20_000)
    const { keyIds } = fixture.do(importOf(digests(10)))
    const { result } = runInTurns(fixture, importOf(digests(3000), 'skip'), (turn) => {
      if (turn === 4) fixture.engine.removePool('pool', { force: true, again: true }, fixture.now)
    })
    assert(!isRefusal(result) && 'skipped' in result)
    assert.deepEqual([result.keyIds.length, result.skipped], [3000, []])
    assert.deepEqual(fixture.ask({ op: 'show', keyId: keyIds[0]! }), REFUSED.key_not_found)
    fixture.engine.settle(fixture.now, 100)
    assertHolds(fixture, 3000)
  })

  test('whatever happens meanwhile, nothing is lost or left over', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new SeededRandom(seed)
      const fixture = new Fixture({ ...FOREVER, maxKeys: 6000 }, 7000)
      const alive = new Set(fixture.do(importOf(digests(random.below(900)))).keyIds)
      const asked = digests(500 + random.below(4500), random.below(1000))
      const onDuplicate = random.chance(0.8) ? 'skip' : 'refuse'
      const { result } = runInTurns(fixture, importOf(asked, onDuplicate), () => {
        const [some] = alive
        if (some !== undefined && random.chance(0.3)) {
          fixture.do({ op: 'remove', keyId: some })
          alive.delete(some)
        }
        if (random.chance(0.1)) {
          for (const keyId of fixture.create(random.below(300) + 1)) alive.add(keyId)
        }
      })
      if (!isRefusal(result) && 'skipped' in result) {
        for (const { keyId } of result.skipped)
          assert(alive.has(keyId), 'a live key has that value')
        for (const keyId of result.keyIds) alive.add(keyId)
        assert.equal(result.keyIds.length + result.skipped.length, asked.length)
      }
      const { counts } = fixture.do({ op: 'describe' })
      const { rows, details } = fixture.engine.tables
      assert.deepEqual([counts.available, rows.used], [alive.size, alive.size], `seed ${seed}`)
      const values = fixture.do({ op: 'list', limit: 10_000 }).keys.filter((key) => key.hasValue)
      assert.equal(details.values, values.length, `seed ${seed}`)
    }
  })
})
