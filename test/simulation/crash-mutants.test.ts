/**
 * That the crash simulation can fail: every third promise of the store is broken, and the breach is found. All of
 * them take minutes: `npm run simulate -- --bugs`.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { BUGS, findBug } from './crash-bugs.ts'
import { Copies } from './store-copies.ts'

let copies: Copies

before(async () => {
  copies = await Copies.open()
})

after(() => copies.remove())

for (const bug of BUGS.filter((_, at) => at % 3 === 0)) {
  test(`broken and found: ${bug.promise}`, async (t) => {
    const found = await findBug(copies, bug)
    assert(found !== null, 'nobody noticed')
    t.diagnostic(found)
  })
}
