import { entryName } from './details.ts'
import type { Refusal } from './errors.ts'
import { formatKeyId } from './ids.ts'
import type { MakeRoom } from './key-operations.ts'
import type { Answers, ImportOperation } from './operations.ts'
import { after } from './policy.ts'
import { type Pool, UNSETTLED } from './pool.ts'
import type { Tables } from './tables.ts'

/** Keys that are looked for, or made ready, before others have their turn: some milliseconds' work. */
const KEYS_A_TURN = 1000
/** Letters to be saved that are as much work as a key. */
const LETTERS_A_KEY = 1000

/**
 * Keys with values, which are there for everybody at once, however many turns it takes to make them ready. Only one
 * import is under way in a pool: what it has looked for in vain does not come up meanwhile.
 */
export class Import {
  readonly #tables: Tables
  readonly #pool: Pool
  readonly #operation: ImportOperation
  /** By place in the call: the slot of the key that has the value already; 0: none has. */
  #found: number[] = []
  /** By digest of the values that are new: the place where each comes first. */
  #firsts = new Map<string, number>()
  /** Places with new values, in order. */
  #fresh: number[] = []
  /** Slots for those, as far as they are taken, with their details in place: there are no keys in them yet. */
  #slots: number[] = []
  /** What is to be saved of the details. */
  #entries = new Map<string, string>()

  constructor(tables: Tables, pool: Pool, operation: ImportOperation) {
    this.#tables = tables
    this.#pool = pool
    this.#operation = operation
  }

  /** UNSETTLED: there is more to do, in another turn. */
  run(makeRoom: MakeRoom, now: number): Answers['import'] | Refusal | typeof UNSETTLED {
    if ((this.#pool.importing ??= this) !== this) return UNSETTLED
    const why =
      this.#look(now) ??
      makeRoom(this.#pool, this.#fresh.length, this.#slots.length, now) ??
      this.#makeReady()
    if (why === UNSETTLED) return UNSETTLED
    if (why === null && this.#skippedAreThere(now)) return this.#add(now)
    this.abandon()
    return why ?? UNSETTLED // from the beginning
  }

  /** Nothing of it was seen by anybody, and nothing is left. */
  abandon(): void {
    if (this.#pool.importing !== this) return
    const { rows, details } = this.#tables
    for (const slot of this.#slots) {
      details.forget(slot)
      rows.give(slot)
    }
    this.#end()
  }

  /** Looks for the values among those that the pool holds. */
  #look(now: number): Refusal | typeof UNSETTLED | null {
    const { keys, onDuplicate } = this.#operation
    for (let looked = 0; this.#found.length < keys.length; looked++) {
      if (looked === KEYS_A_TURN) return UNSETTLED
      const index = this.#found.length
      const { digest } = keys[index]!.value
      const firstIndex = this.#firsts.get(digest)
      const slot = firstIndex === undefined ? this.#pool.findValue(digest, now) : 0
      if (slot === 0 && firstIndex === undefined) {
        this.#firsts.set(digest, index)
        this.#fresh.push(index)
      } else if (onDuplicate === 'refuse') {
        const has =
          firstIndex === undefined
            ? { keyId: formatKeyId(this.#tables.rows, slot) }
            : { firstIndex }
        return { code: 'duplicate_value', duplicate: { index, ...has } }
      }
      this.#found.push(slot)
    }
    return null
  }

  /** What takes long, and nobody sees. */
  #makeReady(): typeof UNSETTLED | null {
    const { rows, details } = this.#tables
    for (let work = 0; this.#slots.length < this.#fresh.length;) {
      if (work >= KEYS_A_TURN) return UNSETTLED
      const { value, name, metadata } = this.#operation.keys[this.#fresh[this.#slots.length]!]!
      const detail = { value, name, metadata }
      const slot = rows.take()
      details.put(slot, detail)
      const text = JSON.stringify(detail)
      this.#slots.push(slot)
      this.#entries.set(entryName(slot), text)
      work += 1 + text.length / LETTERS_A_KEY
    }
    return null
  }

  /** Whether the keys that had values when they were looked for have them still. */
  #skippedAreThere(now: number): boolean {
    const { keys } = this.#operation
    return this.#found.every(
      (slot, index) => slot === 0 || this.#pool.hasValue(slot, keys[index]!.value.digest, now),
    )
  }

  #add(now: number): Answers['import'] {
    const { rows, unsaved } = this.#tables
    const { keys } = this.#operation
    const keyIds = this.#fresh.map((index, at) => {
      const { lifetimeMs } = keys[index]!
      const slot = this.#slots[at]!
      const own = lifetimeMs !== undefined
      const { policy } = this.#pool
      this.#pool.create(now, after(now, own ? lifetimeMs : policy.keyLifetimeMs), own, slot)
      this.#found[index] = slot
      return formatKeyId(rows, slot)
    })
    unsaved?.setAll(this.#entries)
    const skipped: Answers['import']['skipped'] = []
    for (const [index, { value }] of keys.entries()) {
      const first = this.#firsts.get(value.digest)
      if (first === index) continue
      skipped.push({ index, keyId: formatKeyId(rows, this.#found[first ?? index]!) })
    }
    this.#end()
    return { keyIds, skipped }
  }

  #end(): void {
    this.#pool.importing = null
    this.#found = []
    this.#firsts = new Map()
    this.#fresh = []
    this.#slots = []
    this.#entries = new Map()
  }
}
