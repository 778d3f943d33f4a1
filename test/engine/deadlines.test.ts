import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DeadlinePages, Deadlines } from '../../src/engine/deadlines.ts'
import { NEVER } from '../../src/engine/rows.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const ITEMS = 400

function heaps(count: number): Deadlines[] {
  const places = new Uint32Array(ITEMS + 1)
  const pages = new DeadlinePages(ITEMS, count, places, 1, 0)
  return Array.from({ length: count }, () => new Deadlines(pages))
}

/** Takes out what falls due first until nothing is left. */
function drain(heap: Deadlines): [item: number, due: number][] {
  const drained: [number, number][] = []
  while (heap.size > 0) {
    drained.push([heap.top, heap.next])
    heap.delete(heap.top)
  }
  return drained
}

test('whatever is set and deleted, the earliest deadline is on top', () => {
  const item = fc.integer({ min: 1, max: ITEMS })
  const due = fc.oneof(fc.nat(50), fc.nat(NEVER - 1), fc.constant(NEVER))
  const change = fc.record({ item, due })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 300, size: 'max' }), (changes) => {
      // Odd and even items live in two heaps, which share their pages.
      const both = heaps(2)
      const expected = [new Map<number, number>(), new Map<number, number>()]
      for (const { item, due } of changes) {
        const heap = both[item % 2]!
        const dues = expected[item % 2]!
        heap.set(item, due)
        if (due === NEVER) dues.delete(item)
        else dues.set(item, due)
        assert.equal(heap.size, dues.size)
        assert.equal(heap.next, Math.min(NEVER, ...dues.values()))
        if (dues.size > 0) assert.equal(dues.get(heap.top), heap.next)
      }
      for (const [parity, heap] of both.entries()) {
        const dues = expected[parity]!
        const drained = drain(heap)
        assert.deepEqual(
          drained.map(([, due]) => due),
          [...dues.values()].sort((a, b) => a - b),
        )
        assert.deepEqual(new Map(drained), dues)
        assert.equal(heap.next, NEVER)
      }
    }),
    { numRuns: 300 },
  )
})

test('what fills the gap of a removal may have to rise', () => {
  const [heap] = heaps(1)
  // Item 2 and its children are late; the last item, in another branch, is early.
  const dues = [0, 100, 1, 2, 3, 101, 102, 103, 104, 4]
  dues.forEach((due, place) => {
    heap!.set(place + 1, due)
  })
  heap!.delete(6)
  assert.deepEqual(
    drain(heap!).map(([, due]) => due),
    dues.filter((due) => due !== 101).sort((a, b) => a - b),
  )
})

test('thousands of items keep their order while most are moved', () => {
  const random = new SeededRandom(1)
  const items = 20_000
  const places = new Uint32Array(items + 1)
  const heap = new Deadlines(new DeadlinePages(items, 1, places, 1, 0))
  const dues = Float64Array.from({ length: items + 1 }, () => random.uint32())
  for (let item = 1; item <= items; item++) heap.set(item, dues[item]!)
  for (let move = 0; move < items; move++) {
    const item = 1 + random.below(items)
    dues[item] = random.uint32()
    heap.set(item, dues[item])
  }
  for (let item = 3; item <= items; item += 3) {
    heap.delete(item)
    heap.delete(item) // a second time changes nothing
    dues[item] = NEVER
  }
  const left = [...dues.subarray(1)].filter((due) => due !== NEVER).sort((a, b) => a - b)
  assert.deepEqual(
    drain(heap).map(([, due]) => due),
    left,
  )
})

test('as many items as there are, spread over as many heaps, have room', () => {
  // 62 items need a second page, since places are counted from 3: the dearest way to spread them.
  const lists = 64
  const items = lists * 62
  const pages = new DeadlinePages(items, lists, new Uint32Array(items + 1), 1, 0)
  const all = Array.from({ length: lists }, () => new Deadlines(pages))
  for (let item = 1; item <= items; item++) all[item % lists]!.set(item, items - item)
  const drained = all.flatMap((heap) => drain(heap).map(([item]) => item))
  assert.deepEqual(
    drained.sort((a, b) => a - b),
    Array.from({ length: items }, (_, place) => place + 1),
  )
})
