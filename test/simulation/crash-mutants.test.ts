/** That the crash simulation can fail: each promise of the store is broken once, and the breach is found. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { BUGS, findBug } from './crash-bugs.ts'
import { Copies } from './store-copies.ts'

let copies: Copies

before(async () => {
  copies = await Copies.open()
})

after(() => copies.remove())

for (const bug of BUGS) {
  test(`broken and found: ${bug.promise}`, async (t) => {
    const found = await findBug(copies, bug)
    assert(found !== null, 'nobody noticed')
    t.diagnostic(found)
  })
}
