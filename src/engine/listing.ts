import { formatKeyId, formatUuid, parseKeyId } from './ids.ts'
import type { Pool } from './pool.ts'
import { State } from './rows.ts'
import type { Tables } from './tables.ts'

/** Up to this many keys are read whole and sorted, out of a list of their own. */
const FEW = 4096
/** Index places looked at for one page of a larger pool; after that the page is short. */
const MAX_LOOKED = 32_768
const LOOKED_AT_A_TIME = 2048
const PREFIXES = 2 ** 32
const LARGEST_WORD = 0xffffffff

/**
 * One page of a pool's keys, in the order of their ids. Ids never change, so that a key which is there
 * throughout appears exactly once, and a cursor is just an id: it needs no memory here and outlives
 * restarts. Where there are many to choose from they are read from the index, which is in that order already.
 */
export class Listing {
  readonly #tables: Tables
  readonly #pool: Pool
  readonly #after = new Uint32Array(4)
  #fromStart = true
  /** All that may be wanted, where it is few. */
  #few: number[] | null = null

  constructor(tables: Tables, pool: Pool) {
    this.#tables = tables
    this.#pool = pool
  }

  /** False: the cursor is not one. */
  startAfter(cursor: string | undefined): boolean {
    if (cursor === undefined) return true
    this.#fromStart = false
    return parseKeyId(cursor, this.#after)
  }

  /**
   * Where only keys of that state are wanted, or leases of that holder, it need not look at all. What it visits
   * may still be something else.
   */
  narrow(state: State | null, holder: string | null, now: number): void {
    const { sets, number } = this.#pool
    const { holds, holders } = this.#tables
    if (holder !== null) {
      const few = [...holders.leases(number, holder).take(FEW + 1)]
      if (few.length <= FEW) this.#few = few.map((hold) => holds.slot(hold))
    } else if (state !== null && this.#pool.nextDue > now && sets.count(state) <= FEW) {
      this.#few = Array.from({ length: sets.count(state) }, (_, at) => sets.at(state, at))
    }
  }

  /**
   * Gives `visit` the slots that follow, until it answers false or the page has cost enough. Visiting
   * may remove the slot visited. Returns the cursor to go on from; null: there are no more.
   */
  visit(visit: (slot: number) => boolean): string | null {
    if (this.#few === null && this.#pool.sets.size <= FEW) this.#few = this.#wholeSet()
    if (this.#few !== null) return this.#visitSorted(this.#few, visit)
    const { index } = this.#tables
    const span = Math.ceil(PREFIXES / index.places) * LOOKED_AT_A_TIME
    let looked = 0
    for (let from = this.#after[0]!; ; from += span) {
      const to = Math.min(from + span, PREFIXES)
      const slots: number[] = []
      looked += index.scan(from, to, (slot) => {
        if (this.#tables.rows.pool(slot) === this.#pool.number) slots.push(slot)
      })
      const cursor = this.#visitSorted(slots, visit)
      if (cursor !== null) return cursor
      if (to === PREFIXES) return null
      if (looked >= MAX_LOOKED) return endOfPrefix(to - 1)
    }
  }

  #wholeSet(): number[] {
    return Array.from({ length: this.#pool.sets.size }, (_, rank) => this.#pool.sets.atRank(rank))
  }

  #visitSorted(slots: number[], visit: (slot: number) => boolean): string | null {
    const { rows } = this.#tables
    const following = slots.filter((slot) => this.#follows(slot))
    following.sort((a, b) => {
      for (let word = 0; word < 4; word++) {
        const difference = rows.idWord(a, word) - rows.idWord(b, word)
        if (difference !== 0) return difference
      }
      return 0
    })
    for (const slot of following) {
      if (!visit(slot)) return formatKeyId(rows, slot) // of a key that is gone the id is still there
    }
    return null
  }

  #follows(slot: number): boolean {
    if (this.#fromStart) return true
    for (let word = 0; word < 4; word++) {
      const difference = this.#tables.rows.idWord(slot, word) - this.#after[word]!
      if (difference !== 0) return difference > 0
    }
    return false
  }
}

/** The cursor after all ids whose first word is at most `prefix`. */
function endOfPrefix(prefix: number): string {
  return formatUuid(prefix, LARGEST_WORD, LARGEST_WORD, LARGEST_WORD)
}
