import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pages } from '../../src/engine/pages.ts'
import { Rows, State } from '../../src/engine/rows.ts'
import { StateSets } from '../../src/engine/state-sets.ts'

const SLOTS = 300
const STATES = Object.values(State)

function slotsOf(sets: StateSets, state: State): number[] {
  return Array.from({ length: sets.count(state) }, (_, place) => sets.at(state, place))
}

test('each slot is in the set of its state, and in no other', () => {
  const slot = fc.integer({ min: 1, max: SLOTS })
  const state = fc.option(fc.constantFrom(...STATES), { freq: 4 })
  fc.assert(
    fc.property(fc.array(fc.tuple(slot, state), { maxLength: 600, size: 'max' }), (changes) => {
      const rows = new Rows(SLOTS)
      const pages = new Pages(SLOTS, 2)
      const totals = [0, 0, 0, 0]
      // Odd and even slots belong to two pools, which share pages and totals.
      const both = [new StateSets(rows, pages, totals), new StateSets(rows, pages, totals)]
      const expected = new Map<number, State>()
      for (const [slot, after] of changes) {
        const sets = both[slot % 2]!
        const before = expected.get(slot)
        if (after === null) {
          if (before !== undefined) sets.remove(slot, before)
          expected.delete(slot)
        } else {
          if (before === undefined) sets.add(slot, after)
          else sets.move(slot, before, after)
          expected.set(slot, after)
        }
      }
      for (const state of STATES) {
        const inState = [...expected].filter(([, its]) => its === state).map(([slot]) => slot)
        for (const [parity, sets] of both.entries()) {
          assert.deepEqual(
            slotsOf(sets, state).sort((a, b) => a - b),
            inState.filter((slot) => slot % 2 === parity).sort((a, b) => a - b),
          )
        }
        assert.equal(totals[state], inState.length)
      }
      for (const sets of both) {
        const byRank = Array.from({ length: sets.size }, (_, rank) => sets.atRank(rank))
        assert.deepEqual(
          byRank,
          STATES.flatMap((state) => slotsOf(sets, state)),
        )
      }
    }),
    { numRuns: 300 },
  )
})
