import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { iso } from '../../src/http/instants.ts'

test('an instant reads as everywhere else, in whatever order they come', () => {
  const instant = fc.integer({ min: 0, max: Date.UTC(9999, 11, 31, 23, 59, 59, 999) })
  fc.assert(
    fc.property(fc.array(instant, { minLength: 1 }), (instants) => {
      for (const at of instants) assert.equal(iso(at), new Date(at).toISOString())
    }),
  )
})
