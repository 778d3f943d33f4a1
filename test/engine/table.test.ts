import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Pages, PAGE_SIZE } from '../../src/engine/pages.ts'
import { Table } from '../../src/engine/table.ts'

test('a table gives out each of its rows once, then none, and given back ones again', () => {
  const capacity = 20
  const steps = fc.array(fc.option(fc.nat(capacity)), { maxLength: 200, size: 'max' })
  fc.assert(
    fc.property(steps, (steps) => {
      const table = new Table(capacity, 3, 1)
      const taken: number[] = []
      let highest = 0
      for (const step of steps) {
        if (step === null) {
          const row = table.take()
          if (row === 0) {
            assert.equal(taken.length, capacity)
          } else {
            assert(row >= 1 && row <= capacity)
            assert(!taken.includes(row), 'a row was given out twice')
            taken.push(row)
            highest = Math.max(highest, row)
          }
        } else if (taken.length > 0) {
          table.give(taken.splice(step % taken.length, 1)[0]!)
        }
        assert.equal(table.used, taken.length)
        assert(taken.every((row) => table.knows(row)))
        assert(!table.knows(highest + 1) && !table.knows(0))
      }
      assert.equal(table.capacity, capacity)
    }),
  )
})

test('a free row keeps its words but for the one that links it', () => {
  const table = new Table(2, 3, 1)
  const row = table.take()
  table.words.set([7, 8, 9], row * 3)
  table.give(row)
  const [first, , last] = table.words.subarray(row * 3)
  assert.deepEqual([first, last], [7, 9])
})

test('pages are cut once and used again', () => {
  const lists = 3
  const pages = new Pages(5 * PAGE_SIZE, lists)
  const taken = Array.from({ length: 5 + lists }, () => pages.take())
  assert.equal(new Set(taken).size, taken.length)
  const last = Math.max(...taken)
  assert((last + 1) * PAGE_SIZE <= pages.items.length, 'the last page lies within the buffer')
  const { bytes } = pages
  for (const page of taken) pages.give(page)
  const again = taken.map(() => pages.take())
  assert.deepEqual(new Set(again), new Set(taken))
  assert.equal(pages.bytes, bytes)
})
