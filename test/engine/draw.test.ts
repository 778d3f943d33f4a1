import assert from 'node:assert/strict'
import { test } from 'node:test'
import { below } from '../../src/engine/random.ts'
import { Fixture } from '../support/fixture.ts'
import { SeededRandom } from '../support/seeded-random.ts'

/**
 * How far counts are from equal ones, in standard deviations of the chi-square statistic, which for so
 * many degrees of freedom is close to normal. A fair draw goes beyond 4 once in 30 000 times.
 */
function deviation(counts: number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length
  const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  const freedom = counts.length - 1
  return (statistic - freedom) / Math.sqrt(2 * freedom)
}

/** How often each key is drawn when it is always given back at once. */
function drawCounts(fixture: Fixture, keyIds: string[], draws: number): number[] {
  const counts = new Map(keyIds.map((keyId) => [keyId, 0]))
  for (let draw = 0; draw < draws; draw++) {
    const { keyId, leaseId } = fixture.do({ op: 'acquire', count: 1 }).leases[0]!
    counts.set(keyId, counts.get(keyId)! + 1)
    fixture.do({ op: 'release', leaseId })
  }
  assert.equal(counts.size, keyIds.length, 'a key that is not in the pool')
  return [...counts.values()]
}

test('a draw is uniform over the available keys', () => {
  const fixture = new Fixture()
  const keyIds = fixture.create(200)
  assert(Math.abs(deviation(drawCounts(fixture, keyIds, 40_000))) < 4)
})

test('a draw is uniform after keys have come, gone, rested and been disabled', () => {
  const fixture = new Fixture({ cooldownMs: 5 })
  const random = new SeededRandom(3)
  const keyIds = fixture.create(200)
  for (let round = 0; round < 3000; round++) {
    const place = random.below(keyIds.length)
    fixture.do({ op: 'remove', keyId: keyIds[place]! })
    keyIds[place] = fixture.create()[0]!
    const { leases } = fixture.do({ op: 'acquire', count: 3 })
    for (const { leaseId } of leases) {
      const outcome = random.chance(0.2) ? 'invalid' : 'ok'
      fixture.do({ op: 'release', leaseId, outcome })
    }
    fixture.now += 1
    const keyId = random.pick(keyIds)!
    fixture.do({ op: 'update', keyId, disabled: false })
  }
  for (const keyId of keyIds) fixture.do({ op: 'update', keyId, disabled: false })
  fixture.engine.putPool('pool', { ...fixture.engine.policy('pool')!, cooldownMs: 0 })
  fixture.now += 5
  assert(Math.abs(deviation(drawCounts(fixture, keyIds, 40_000))) < 4)
})

test('which keys a batch gets, and in which order, is uniform too', () => {
  const fixture = new Fixture()
  const keyIds = fixture.create(30)
  const counts = new Map<string, number>()
  for (let round = 0; round < 4000; round++) {
    const { leases } = fixture.do({ op: 'acquire', count: 5 })
    leases.forEach(({ keyId, leaseId }, place) => {
      const cell = `${keyId} ${place}`
      counts.set(cell, (counts.get(cell) ?? 0) + 1)
      fixture.do({ op: 'release', leaseId })
    })
  }
  assert.equal(counts.size, keyIds.length * 5)
  assert(Math.abs(deviation([...counts.values()])) < 4)
})

test('a number below a bound is uniform, whatever the bound', () => {
  const random = new SeededRandom(4)
  for (const bound of [1, 2, 3, 7, 64, 65, 100, 1000]) {
    const counts = new Array<number>(bound).fill(0)
    for (let draw = 0; draw < 100 * bound + 10_000; draw++) counts[below(random, bound)]!++
    if (bound > 1) assert(deviation(counts) < 5, String(bound))
    assert.equal(counts.length, bound)
  }
})

test('a bound far from a power of two does not favour low numbers', () => {
  const random = new SeededRandom(5)
  const bound = 3 * 2 ** 29 // a bare modulo of 32 bits would give the lower two thirds more
  const thirds = [0, 0, 0]
  for (let draw = 0; draw < 30_000; draw++) thirds[Math.floor(below(random, bound) / 2 ** 29)]!++
  assert(deviation(thirds) < 5)
})
