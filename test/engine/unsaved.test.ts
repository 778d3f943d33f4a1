import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { Rows } from '../../src/engine/rows.ts'
import { Unsaved } from '../../src/engine/unsaved.ts'

const SLOTS = 5000

let unsaved: Unsaved

beforeEach(() => {
  const rows = new Rows(SLOTS)
  rows.takeAllUpTo(SLOTS)
  unsaved = new Unsaved(rows)
})

/** What the next group holds. */
function taken(): { slots: number[]; entries: Record<string, string | null> } {
  const { slots, entries } = unsaved.take()
  return { slots: [...slots], entries: Object.fromEntries(entries) }
}

test('what has changed is saved once', () => {
  unsaved.add(7)
  unsaved.add(7)
  unsaved.set('pool/1', 'old')
  unsaved.set('pool/1', 'new')
  assert(unsaved.hasNews)
  assert.deepEqual(taken(), { slots: [7], entries: { 'pool/1': 'new' } })
  assert(!unsaved.hasNews)
  assert.deepEqual(taken(), { slots: [], entries: {} })
  unsaved.add(7)
  assert.deepEqual(taken(), { slots: [7], entries: {} })
})

test('of many entries at once, each goes before what had its name', () => {
  unsaved.set('key/1', 'old')
  unsaved.set('key/2', null)
  unsaved.setAll(
    new Map([
      ['key/1', 'new'],
      ['key/3', 'new'],
    ]),
  )
  unsaved.set('key/3', 'newer')
  assert.deepEqual(taken().entries, { 'key/1': 'new', 'key/2': null, 'key/3': 'newer' })
})

test('tidying is no news, and goes along with what is', () => {
  unsaved.tidy(7, 'reason/7')
  unsaved.tidy(7, 'other/7')
  assert(!unsaved.hasNews)
  assert.deepEqual(taken(), { slots: [], entries: {} }, 'a group of time alone needs no room')
  unsaved.add(8)
  assert.deepEqual(taken(), { slots: [8], entries: { 'reason/7': null, 'other/7': null } })
  unsaved.add(9)
  assert.deepEqual(taken().entries, {}, 'once')
})

test('what is new of a key goes with the key, if that is over before it is saved', () => {
  unsaved.add(7)
  unsaved.set('reason/7', 'leaked')
  unsaved.tidy(7, 'reason/7')
  assert.deepEqual(taken(), { slots: [7], entries: { 'reason/7': null } })
})

test('an entry of the next key of a slot outlives the tidying', () => {
  unsaved.tidy(7, 'reason/7')
  unsaved.add(7)
  unsaved.set('reason/7', 'leaked')
  assert.deepEqual(taken().entries, { 'reason/7': 'leaked' })
  unsaved.tidy(8, 'reason/8')
  unsaved.set('reason/8', 'leaked')
  unsaved.add(8)
  assert.deepEqual(taken().entries, { 'reason/8': 'leaked' })
})

test('one group does not tidy all, but all of the slots that it uses again', () => {
  for (let slot = 1; slot < SLOTS; slot++) unsaved.tidy(slot, `reason/${slot}`)
  unsaved.add(SLOTS - 1)
  const first = taken().entries
  assert.equal(first[`reason/${SLOTS - 1}`], null)
  assert.equal(Object.keys(first).length, 1000)
  let tidied = 1000
  for (let groups = 0; groups < 4; groups++) {
    unsaved.add(SLOTS)
    tidied += Object.keys(taken().entries).length
  }
  assert.equal(tidied, SLOTS - 1)
})
