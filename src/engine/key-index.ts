import type { Rows } from './rows.ts'

const SMALLEST = 1024
/** Places of the old table emptied for each key that is added while the index grows. */
const MOVED_FOR_A_KEY = 8
const FULLEST = 0.75
const GONE = 0xffffffff
const TAG_SHIFT = 26

/** An entry's slot has 26 bits; the other 6 are bits of the id, which spare most looks at wrong rows. */
export const MAX_SLOTS = 2 ** TAG_SHIFT - 2

/**
 * Key id to slot: open addressing with linear probing. Ids are random, so the first bits of the id are
 * the place; the places are then in the order of the ids, which makes the index a listing too. It grows
 * into a table of twice the size, a few places for each key added, so that no one waits for it.
 */
export class KeyIndex {
  readonly #rows: Rows
  #table = new Uint32Array(SMALLEST)
  #shift = shiftOf(SMALLEST)
  #old: Uint32Array | null = null
  /** Places of the old table that are empty, and how many must be for the keys added so far. */
  #moved = 0
  #owed = 0
  #size = 0

  constructor(rows: Rows) {
    this.#rows = rows
  }

  get size(): number {
    return this.#size
  }

  /** Places of the table, taken and free: how many a scan of all ids looks at. */
  get places(): number {
    return this.#table.length
  }

  get bytes(): number {
    return (this.#table.length + (this.#old?.length ?? 0)) * 4
  }

  /** The slot of the key with that id; 0 if there is none. */
  find(id: Uint32Array): number {
    const slot = this.#probe(this.#table, this.#shift, id)
    if (slot !== 0 || this.#old === null) return slot
    return this.#probe(this.#old, this.#shift + 1, id)
  }

  /**
   * Does what growing asks for before `count` more keys are added, at most `places` places of it: then
   * adding them is all that is left to do. False: there is more; come again.
   *
   * @throws RangeError where the system refuses the memory to grow; nothing has changed then.
   */
  prepare(count: number, places: number): boolean {
    for (let left = places; ;) {
      if (this.#old === null) {
        if (this.#size + count <= this.#table.length * FULLEST) return true
        this.#grow()
      }
      // A table that the keys will outgrow must be whole before it grows again.
      const outgrown = this.#size + count > this.#table.length * FULLEST
      const old = this.#old!.length
      const wanted = outgrown ? old : Math.min(this.#owed + count * MOVED_FOR_A_KEY, old)
      const step = Math.min(Math.max(wanted - this.#moved, 0), left)
      this.#move(step)
      left -= step
      if (this.#old !== null && this.#moved < wanted) return false
      if (!outgrown) return true
    }
  }

  /** Adds a slot whose row has its id, which the index must not hold yet; it has been prepared for. */
  add(slot: number): void {
    if (this.#old === null || !this.#insertOld(this.#old, slot)) this.#insert(slot)
    this.#owed += MOVED_FOR_A_KEY
    this.#size++
  }

  /** Takes a slot out, which must be in. Its row must still have its id. */
  remove(slot: number): void {
    this.#size--
    const place = this.#placeOf(this.#table, this.#shift, slot)
    if (place >= 0) this.#close(place)
    else if (this.#old !== null) {
      this.#old[this.#placeOf(this.#old, this.#shift + 1, slot)] = GONE
    }
  }

  /**
   * Gives `visit` every slot whose id's first word is in [from, to), in no order.
   * Returns how many places were looked at.
   */
  scan(from: number, to: number, visit: (slot: number) => void): number {
    let looked = this.#scanTable(this.#table, this.#shift, from, to, visit)
    if (this.#old !== null) {
      looked += this.#scanTable(this.#old, this.#shift + 1, from, to, visit)
    }
    return looked
  }

  #scanTable(
    table: Uint32Array,
    shift: number,
    from: number,
    to: number,
    visit: (slot: number) => void,
  ): number {
    const mask = table.length - 1
    const last = (to - 1) >>> shift
    let looked = 0
    for (let place = from >>> shift; looked < table.length; place++) {
      const entry = table[place & mask]!
      looked++
      if (entry === 0 && place >= last) break
      if (entry === 0 || entry === GONE) continue
      const slot = slotOf(entry)
      const first = this.#rows.idWord(slot, 0)
      if (first >= from && first < to) visit(slot)
    }
    return looked
  }

  #probe(table: Uint32Array, shift: number, id: Uint32Array): number {
    const mask = table.length - 1
    const tag = id[3]! >>> TAG_SHIFT
    for (let place = id[0]! >>> shift; ; place = (place + 1) & mask) {
      const entry = table[place]!
      if (entry === 0) return 0
      if (entry >>> TAG_SHIFT !== tag || entry === GONE) continue
      const slot = slotOf(entry)
      if (
        this.#rows.idWord(slot, 0) === id[0] &&
        this.#rows.idWord(slot, 1) === id[1] &&
        this.#rows.idWord(slot, 2) === id[2] &&
        this.#rows.idWord(slot, 3) === id[3]
      ) {
        return slot
      }
    }
  }

  #placeOf(table: Uint32Array, shift: number, slot: number): number {
    const mask = table.length - 1
    const wanted = this.#entry(slot)
    for (let place = this.#rows.idWord(slot, 0) >>> shift; ; place = (place + 1) & mask) {
      const entry = table[place]!
      if (entry === wanted) return place
      if (entry === 0) return -1
    }
  }

  #insert(slot: number): void {
    const table = this.#table
    const mask = table.length - 1
    let place = this.#rows.idWord(slot, 0) >>> this.#shift
    while (table[place] !== 0) place = (place + 1) & mask
    table[place] = this.#entry(slot)
  }

  /**
   * Adds to the old table what it has not moved yet, so that the new one is filled in order and the
   * system commits its memory page by page instead of a page for each random key. False: it must go into
   * the new one, since its place has been moved or lies beyond the end.
   */
  #insertOld(old: Uint32Array, slot: number): boolean {
    let place = this.#rows.idWord(slot, 0) >>> (this.#shift + 1)
    if (place < this.#moved) return false
    while (place < old.length && old[place] !== 0) place++
    if (place === old.length) return false
    old[place] = this.#entry(slot)
    return true
  }

  /** Empties a place and moves up what was pushed past it, so that the table needs no tombstones. */
  #close(gap: number): void {
    const table = this.#table
    const mask = table.length - 1
    for (let place = (gap + 1) & mask; ; place = (place + 1) & mask) {
      const entry = table[place]!
      if (entry === 0) break
      const home = this.#rows.idWord(slotOf(entry), 0) >>> this.#shift
      if (((place - home) & mask) < ((place - gap) & mask)) continue
      table[gap] = entry
      gap = place
    }
    table[gap] = 0
  }

  #grow(): void {
    const larger = new Uint32Array(this.#table.length * 2) // may throw, so it comes first
    this.#old = this.#table
    this.#table = larger
    this.#shift--
    this.#moved = 0
    this.#owed = 0
  }

  #move(places: number): void {
    const old = this.#old!
    const end = this.#moved + places
    for (let place = this.#moved; place < end; place++) {
      const entry = old[place]!
      if (entry === 0 || entry === GONE) continue
      old[place] = GONE // what probes past this place must still find what follows it
      this.#insert(slotOf(entry))
    }
    this.#moved = end
    if (end === old.length) this.#old = null
  }

  /** Makes room for so many keys at once, in an index that is empty. */
  reserve(count: number): void {
    let places = SMALLEST
    while (count > places * FULLEST) places *= 2
    this.#table = new Uint32Array(places)
    this.#shift = shiftOf(places)
  }

  /** What `addEntry` adds for a slot: the place where looking for its key begins, and its entry there. */
  homeOf(slot: number): number {
    return this.#rows.idWord(slot, 0) >>> this.#shift
  }

  entryOf(slot: number): number {
    return this.#entry(slot)
  }

  /** As `add`, without a look at the row. The index has been `reserve`d. */
  addEntry(home: number, entry: number): void {
    const table = this.#table
    const mask = table.length - 1
    let place = home
    while (table[place] !== 0) place = (place + 1) & mask
    table[place] = entry
    this.#size++
  }

  #entry(slot: number): number {
    return ((this.#rows.idWord(slot, 3) & (63 << TAG_SHIFT)) | slot) >>> 0
  }
}

function slotOf(entry: number): number {
  return entry & (2 ** TAG_SHIFT - 1)
}

/** By how much an id's first word is shifted to be a place in a table of that size. */
function shiftOf(size: number): number {
  return 32 - Math.log2(size)
}
