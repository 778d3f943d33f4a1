import type { Holds } from './holds.ts'
import type { Save } from './unsaved.ts'

interface Holder {
  readonly number: number
  readonly pool: number
  readonly name: string
  /** Its oldest lease, by hold: the ring of its leases begins there. */
  first: number
}

/** A holder as it is kept on disk. */
export interface SavedHolder {
  number: number
  pool: number
  name: string
}

/**
 * Who holds what. A holder is known as long as it has a lease in a pool; a hold names it by number, and the
 * holds of one holder are a ring, oldest lease first, so that a dead worker's leases are found without a search.
 * What is saved of one who has no lease any more is of no use; it goes when its number is given to another.
 */
export class Holders {
  readonly #holds: Holds
  readonly #byName = new Map<string, Holder>()
  readonly #byNumber: (Holder | undefined)[] = [undefined]
  readonly #freeNumbers: number[] = []
  readonly #save: Save

  constructor(holds: Holds, save: Save) {
    this.#holds = holds
    this.#save = save
  }

  /** The name of whose lease it is; null: it was given none. */
  nameOf(hold: number): string | null {
    return this.#byNumber[this.#holds.holder(hold)]?.name ?? null
  }

  /** A new lease is that holder's. */
  add(hold: number, pool: number, name: string): void {
    const holder = this.#byName.get(keyOf(pool, name)) ?? this.#meet(pool, name)
    this.#holds.setHolder(hold, holder.number)
    this.#enter(hold, holder)
  }

  /** The lease is over. */
  remove(hold: number): void {
    const holder = this.#byNumber[this.#holds.holder(hold)]
    if (holder === undefined) return
    this.#holds.setHolder(hold, 0)
    const next = this.#holds.next(hold)
    if (next === hold) {
      this.#leave(holder)
      return
    }
    this.#holds.link(this.#holds.previous(hold), next)
    if (holder.first === hold) holder.first = next
  }

  /** The hold of that holder's oldest lease in that pool; 0: it has none. */
  oldest(pool: number, name: string): number {
    return this.#byName.get(keyOf(pool, name))?.first ?? 0
  }

  /** The holds of that holder's leases in that pool, oldest first; none may end meanwhile. */
  *leases(pool: number, name: string): Generator<number, undefined> {
    const first = this.oldest(pool, name)
    if (first !== 0) yield* this.#ring(first)
  }

  /** From before a restart, saved already; its leases follow. */
  restore({ number, pool, name }: SavedHolder): void {
    while (this.#byNumber.length <= number) this.#byNumber.push(undefined)
    this.#byNumber[number] = { number, pool, name, first: 0 }
  }

  /** A lease of a key of that pool, from before a restart. */
  restoreLease(hold: number, pool: number): void {
    const holder = this.#byNumber[this.#holds.holder(hold)]
    if (holder?.pool === pool) this.#enter(hold, holder)
    else this.#holds.setHolder(hold, 0) // it is over, and its holder was forgotten
  }

  /** All leases are there, and `tokenOf` tells their order. Holders without one are not remembered. */
  restored(tokenOf: (hold: number) => number): void {
    for (let number = this.#byNumber.length - 1; number > 0; number--) {
      const holder = this.#byNumber[number]
      if (holder === undefined) this.#freeNumbers.push(number)
      else if (holder.first === 0) this.#leave(holder)
      else {
        this.#sort(holder, tokenOf)
        this.#name(holder, tokenOf)
      }
    }
  }

  #sort(holder: Holder, tokenOf: (hold: number) => number): void {
    const holds = [...this.#ring(holder.first)]
    holds.sort((a, b) => tokenOf(a) - tokenOf(b))
    for (const [at, hold] of holds.entries()) this.#holds.link(holds.at(at - 1)!, hold)
    holder.first = holds[0]!
  }

  /**
   * One who had left and came back may have two numbers on disk. That of the newest lease is in use; of the other
   * there are only leases that time has ended, for else it would not have been given back.
   */
  #name(holder: Holder, tokenOf: (hold: number) => number): void {
    const key = keyOf(holder.pool, holder.name)
    const other = this.#byName.get(key)
    const newest = ({ first }: Holder): number => tokenOf(this.#holds.previous(first))
    if (other === undefined || newest(holder) > newest(other)) this.#byName.set(key, holder)
  }

  #meet(pool: number, name: string): Holder {
    const number = this.#freeNumbers.pop() ?? this.#byNumber.length
    const holder = { number, pool, name, first: 0 }
    this.#byNumber[number] = holder
    this.#byName.set(keyOf(pool, name), holder)
    const saved: SavedHolder = { number, pool, name }
    this.#save(`holder/${number}`, JSON.stringify(saved))
    return holder
  }

  #enter(hold: number, holder: Holder): void {
    if (holder.first === 0) {
      holder.first = hold
      this.#holds.link(hold, hold)
      return
    }
    this.#holds.link(this.#holds.previous(holder.first), hold)
    this.#holds.link(hold, holder.first)
  }

  *#ring(first: number): Generator<number, undefined> {
    let hold = first
    do {
      yield hold
      hold = this.#holds.next(hold)
    } while (hold !== first)
  }

  #leave(holder: Holder): void {
    const { number, pool, name } = holder
    const key = keyOf(pool, name)
    this.#byNumber[number] = undefined
    if (this.#byName.get(key) === holder) this.#byName.delete(key)
    this.#freeNumbers.push(number)
  }
}

function keyOf(pool: number, name: string): string {
  return `${pool}/${name}`
}
