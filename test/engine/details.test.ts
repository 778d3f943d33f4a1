/** Values, names and metadata by slot, and the way back from a value. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { type Detail, Details, NO_DETAIL } from '../../src/engine/details.ts'

const DIGESTS = ['aaaa', 'aaab', 'baaa', '____']
/** Of different chunks, and neighbours. */
const SLOTS = [1, 2, 1023, 1024, 1025, 5000, 2_000_000]

function detail(digest: string | null, name: string | null = null): Detail {
  const value = digest === null ? null : { sealed: `sealed ${digest}`, digest }
  return { value, name, metadata: null }
}

interface Step {
  slot: number
  /** Undefined: the key is gone. */
  detail: Detail | undefined
}

const step: fc.Arbitrary<Step> = fc.record({
  slot: fc.constantFrom(...SLOTS),
  detail: fc.option(
    fc
      .tuple(fc.option(fc.constantFrom(...DIGESTS)), fc.option(fc.constantFrom('a', 'b')))
      .map(([digest, name]) => detail(digest, name)),
    { nil: undefined },
  ),
})

suite('details', () => {
  test('whatever is set and forgotten, they are as a plain map would have them', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const saved = new Map<string, string | null>()
        const details = new Details((name, text) => saved.set(name, text))
        const model = new Map<number, Detail>()
        for (const { slot, detail } of steps) {
          if (detail === undefined) {
            assert.equal(details.forget(slot), model.delete(slot))
          } else {
            const isNone = detail.value === null && detail.name === null
            details.set(slot, detail)
            if (isNone) model.delete(slot)
            else model.set(slot, detail)
            assert.equal(saved.get(`key/${slot}`), isNone ? null : JSON.stringify(detail))
          }
          for (const slot of SLOTS)
            assert.deepEqual(details.get(slot), model.get(slot) ?? NO_DETAIL)
          for (const digest of DIGESTS) {
            const holding = [...model].filter(([, { value }]) => value?.digest === digest)
            const slots = holding.map(([slot]) => slot).sort((a, b) => a - b)
            assert.deepEqual(
              [...details.find(digest)].sort((a, b) => a - b),
              slots,
            )
          }
          assert.deepEqual(
            [...details.slots()],
            [...model.keys()].sort((a, b) => a - b),
          )
          const values = [...model.values()].filter(({ value }) => value !== null)
          assert.equal(details.values, values.length)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('what is restored is not saved again', () => {
    const details = new Details(() => {
      assert.fail('it is saved already')
    })
    details.put(7, detail('aaaa'))
    details.put(7, detail('baaa')) // what was read later is what counts
    assert.deepEqual([details.find('aaaa'), details.find('baaa')], [[], [7]])
    assert.equal(details.forget(7), true)
    assert.equal(details.values, 0)
  })
})
