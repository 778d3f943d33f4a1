import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { checkLengthsFast } from '../../src/http/lengths.ts'

const text = fc.string({ unit: fc.constantFrom('a', 'é', '🔑', '\ud83d', '\udd11'), maxLength: 12 })
const limit = fc.integer({ min: 0, max: 12 })

test('lengths are checked as Ajv does, with the same words', () => {
  const [own, usual] = [checkLengthsFast(new Ajv()), new Ajv()]
  fc.assert(
    fc.property(text, fc.constantFrom('minLength', 'maxLength'), limit, (text, keyword, limit) => {
      const schema = { type: 'string', [keyword]: limit }
      assert.equal(own.validate(schema, text), usual.validate(schema, text))
      assert.equal(own.errorsText(), usual.errorsText())
    }),
    { numRuns: 1000 },
  )
})
