import assert from 'node:assert/strict'
import { test } from 'node:test'
import { randomKeyId } from '../../src/engine/ids.ts'
import { KeyIndex } from '../../src/engine/key-index.ts'
import { Rows } from '../../src/engine/rows.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const CAPACITY = 20_000
const END = 2 ** 32

class Fixture {
  readonly random = new SeededRandom(1)
  readonly rows = new Rows(CAPACITY)
  readonly index = new KeyIndex(this.rows)
  /** The slots that the index must hold. */
  readonly slots: number[] = []
  readonly #id = new Uint32Array(4)

  /** Adds a key; its id begins with `prefix` where one is given. */
  add(prefix?: number): number {
    const slot = this.rows.take()
    randomKeyId(this.random, this.#id)
    if (prefix !== undefined) this.#id[0] = prefix
    this.rows.setId(slot, this.#id)
    this.index.prepare(1, Infinity)
    this.index.add(slot)
    this.slots.push(slot)
    return slot
  }

  /** Removes any of the slots; returns its id. */
  remove(): Uint32Array {
    const place = this.random.below(this.slots.length)
    const slot = this.slots[place]!
    this.slots[place] = this.slots.at(-1)!
    this.slots.pop()
    const id = this.idOf(slot)
    this.index.remove(slot)
    this.rows.give(slot)
    return id
  }

  idOf(slot: number): Uint32Array {
    return Uint32Array.from({ length: 4 }, (_, word) => this.rows.idWord(slot, word))
  }

  scan(from: number, to: number): number[] {
    const found: number[] = []
    this.index.scan(from, to, (slot) => found.push(slot))
    return found
  }
}

function sorted(slots: number[]): number[] {
  return slots.toSorted((a, b) => a - b)
}

test('keys are found, and removed ones are not, at every step of growing', () => {
  const fixture = new Fixture()
  while (fixture.slots.length < CAPACITY / 2) {
    const added = fixture.add()
    assert.equal(fixture.index.find(fixture.idOf(added)), added)
    if (fixture.random.chance(0.3)) assert.equal(fixture.index.find(fixture.remove()), 0)
    const some = fixture.random.pick(fixture.slots)!
    assert.equal(fixture.index.find(fixture.idOf(some)), some)
    assert.equal(fixture.index.size, fixture.slots.length)
  }
  for (const slot of fixture.slots) assert.equal(fixture.index.find(fixture.idOf(slot)), slot)
})

test('a scan of ranges meets each key exactly once, while the index grows too', () => {
  const fixture = new Fixture()
  for (let keys = 0; keys < 5000; keys++) {
    fixture.add()
    if (keys % 500 !== 0 && (keys < 770 || keys > 870)) continue
    const found: number[] = []
    const spans = [0, 1, 2 ** 20, 2 ** 31, 2 ** 31 + 1, END - 1, END]
    for (let place = 1; place < spans.length; place++) {
      found.push(...fixture.scan(spans[place - 1]!, spans[place]!))
    }
    assert.deepEqual(sorted(found), sorted(fixture.slots))
  }
})

test('an index that is filled and emptied again and again stays as it was', () => {
  const fixture = new Fixture()
  for (let round = 0; round < 20; round++) {
    while (fixture.slots.length < 1500) fixture.add()
    assert.deepEqual(sorted(fixture.scan(0, END)), sorted(fixture.slots))
    while (fixture.slots.length > 0) fixture.remove()
    assert.deepEqual(fixture.scan(0, END), [])
  }
  assert.equal(fixture.index.bytes, 2048 * 4, 'a place that was emptied is used again')
})

test('ids that share their place, at the end of the table too, do not hide each other', () => {
  const { rows, index } = new Fixture()
  const ids = Array.from({ length: 300 }, (_, last) =>
    Uint32Array.of(0xffffffff, 0, 0x80000000, last * 0x01000193),
  )
  const slots = ids.map((id) => {
    const slot = rows.take()
    rows.setId(slot, id)
    index.prepare(1, Infinity)
    index.add(slot)
    return slot
  })
  for (const [place, slot] of slots.entries()) {
    if (place % 3 === 0) index.remove(slot)
  }
  ids.forEach((id, place) => {
    assert.equal(index.find(id), place % 3 === 0 ? 0 : slots[place]!)
  })
})

test('room for many keys is made in slices, between which others come and go', () => {
  const fixture = new Fixture()
  for (const many of [CAPACITY / 10, CAPACITY / 2, 1]) {
    let slices = 1
    while (!fixture.index.prepare(many, 100)) {
      slices++
      fixture.add()
      fixture.add()
      fixture.remove()
    }
    assert(many === 1 || slices > 10)
    for (let added = 0; added < many; added++) {
      assert(fixture.index.prepare(1, 0), 'what was prepared for was not there')
      fixture.add()
    }
    for (const slot of fixture.slots) assert.equal(fixture.index.find(fixture.idOf(slot)), slot)
  }
})

test('where memory to grow is refused, nothing is lost, and it grows later', (t) => {
  const fixture = new Fixture()
  const Array32 = Uint32Array
  const refuse = t.mock.method(globalThis, 'Uint32Array', function (size: number) {
    if (size > 1024) throw new RangeError('Array buffer allocation failed')
    return new Array32(size)
  })
  assert.throws(() => {
    for (let added = 0; added < 1024; added++) {
      fixture.add()
    }
  }, RangeError)
  refuse.mock.restore()
  const before = fixture.slots.length
  for (let added = 0; added < 2000; added++) fixture.add()
  assert(before > 500)
  for (const slot of fixture.slots) assert.equal(fixture.index.find(fixture.idOf(slot)), slot)
})

test('keys that crowd the end of the table wrap round it, while it grows too', () => {
  const fixture = new Fixture()
  for (let added = 0; added < 3000; added++) {
    fixture.add(added % 8 === 0 ? undefined : 0xfffffff0)
    if (fixture.random.chance(0.2)) assert.equal(fixture.index.find(fixture.remove()), 0)
    if (added % 50 !== 0) continue
    for (const slot of fixture.slots) assert.equal(fixture.index.find(fixture.idOf(slot)), slot)
  }
  assert.deepEqual(sorted(fixture.scan(0, END)), sorted(fixture.slots))
})
