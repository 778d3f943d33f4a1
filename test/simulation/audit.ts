/** Whether all the structures of an engine say the same as its rows. */
import assert from 'node:assert/strict'
import type { Engine } from '../../src/engine/engine.ts'
import { HOLD_DEADLINE_WORD } from '../../src/engine/holds.ts'
import { LIFE_WORD, NEVER, RANK_WORD, State } from '../../src/engine/rows.ts'

/** Slots of one pool, by state. */
type Census = number[][]

export function audit(engine: Engine): void {
  const { rows, holds, index, stateCounts, idempotency } = engine.tables
  const pools = new Map<number, Census>()
  let live = 0
  let earliest = idempotency.nextDue
  for (let slot = 1; rows.knows(slot); slot++) {
    if (!rows.isLive(slot)) continue
    live++
    const state = rows.state(slot)
    auditKey(engine, slot)
    const census = pools.get(rows.pool(slot)) ?? [[], [], [], []]
    census[state]!.push(slot)
    pools.set(rows.pool(slot), census)
    earliest = Math.min(earliest, rows.expiresAt(slot), holdEnd(engine, slot))
  }
  assert.equal(rows.used, live, 'rows in use')
  assert.equal(index.size, live, 'keys in the index')
  const indexed: number[] = []
  index.scan(0, 2 ** 32, (slot) => indexed.push(slot))
  assert.equal(new Set(indexed).size, live, 'slots found by a scan')
  assert.equal(indexed.length, live, 'visits of a scan')

  const sums = [0, 0, 0, 0]
  for (const census of pools.values()) {
    auditRanks(engine, census)
    auditHeaps(engine, census)
    census.forEach((slots, state) => (sums[state]! += slots.length))
  }
  assert.deepEqual(stateCounts, sums, 'counts by state')
  assert.equal(holds.used, sums[State.leased]! + sums[State.cooling]!, 'holds in use')
  // 0: a pool that is gone is still being drained.
  if (engine.nextDue !== 0) assert.equal(engine.nextDue, earliest, 'nextDue')
}

function auditKey({ tables }: Engine, slot: number): void {
  const { rows, holds, index } = tables
  const id = Uint32Array.from({ length: 4 }, (_, word) => rows.idWord(slot, word))
  assert.equal(index.find(id), slot, 'a key is found by its id')
  const state = rows.state(slot)
  const hold = rows.hold(slot)
  const held = state === State.leased || state === State.cooling
  assert.equal(hold !== 0, held, 'leased and cooling keys have a hold, no others')
  if (held) assert.equal(holds.slot(hold), slot, "a hold knows its key's slot")
  if (state !== State.leased) assert.equal(rows.isDisabled(slot), state === State.disabled)
}

/** When the hold of a key ends; NEVER if it has none or dies first. */
function holdEnd({ tables: { rows } }: Engine, slot: number): number {
  return rows.hold(slot) !== 0 && rows.until(slot) < rows.expiresAt(slot) ? rows.until(slot) : NEVER
}

/** Each key has one rank, and the ranks of the states lie one after the other. */
function auditRanks({ tables: { rows } }: Engine, census: Census): void {
  let start = 0
  for (const slots of census) {
    const ranks = slots.map((slot) => rows.words[slot * rows.stride + RANK_WORD]!)
    ranks.sort((a, b) => a - b)
    assert.deepEqual(
      ranks,
      ranks.map((_, place) => start + place),
      'ranks',
    )
    start += slots.length
  }
}

function auditHeaps(engine: Engine, census: Census): void {
  const { rows, holds } = engine.tables
  const slots = census.flat()
  auditHeap(
    slots.map((slot) => ({
      place: rows.words[slot * rows.stride + LIFE_WORD]!,
      due: rows.expiresAt(slot),
    })),
  )
  auditHeap(
    slots
      .filter((slot) => rows.hold(slot) !== 0)
      .map((slot) => ({
        place: holds.words[rows.hold(slot) * holds.stride + HOLD_DEADLINE_WORD]!,
        due: holdEnd(engine, slot),
      })),
  )
}

/** What never falls due has no place; the rest fill all places from 3, none before its parent. */
function auditHeap(entries: { place: number; due: number }[]): void {
  const dueAt = new Map<number, number>()
  for (const { place, due } of entries) {
    assert.equal(place === 0, due === NEVER, 'what falls due has a place in the heap')
    if (place === 0) continue
    assert(!dueAt.has(place), 'a place in the heap is taken twice')
    dueAt.set(place, due)
  }
  for (const [place, due] of dueAt) {
    assert(place >= 3 && place < 3 + dueAt.size, 'the heap has a gap')
    if (place > 3) assert(dueAt.get((place >> 2) + 2)! <= due, 'heap order')
  }
}
