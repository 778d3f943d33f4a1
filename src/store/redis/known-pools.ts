import { DeadlinePages, Deadlines } from '../../engine/deadlines.ts'
import type { Shard } from './shard.ts'

/** A pool as this process has come to know it. */
export interface Known {
  readonly name: string
  readonly shard: Shard
  /** Among deadlines. */
  readonly place: number
}

/** The pools that this process has to do with, and when something falls due in them, by its own clock. */
export class KnownPools {
  readonly #byUid = new Map<number, Known>()
  readonly #byPlace: (Known | undefined)[] = []
  readonly #freePlaces: number[] = []
  readonly #dues: Deadlines

  constructor(maxPools: number) {
    // A pool that is gone may be known for a moment beside its successor.
    const places = 2 * maxPools
    this.#dues = new Deadlines(new DeadlinePages(places, 1, new Uint32Array(places), 1, 0))
  }

  /** The earliest deadline; NEVER if there is none. */
  get nextDue(): number {
    return this.#dues.next
  }

  get(uid: number): Known | undefined {
    return this.#byUid.get(uid)
  }

  add(name: string, shard: Shard): Known {
    const place = this.#freePlaces.pop() ?? this.#byPlace.length
    const known = { name, shard, place }
    this.#byPlace[place] = known
    this.#byUid.set(shard.uid, known)
    return known
  }

  forget(uid: number): void {
    const known = this.#byUid.get(uid)
    if (known === undefined) return
    this.#byUid.delete(uid)
    this.#dues.delete(known.place)
    this.#byPlace[known.place] = undefined
    this.#freePlaces.push(known.place)
  }

  /** Something falls due there by then, if not before. */
  fallsDue(known: Known, instant: number): void {
    if (this.#byPlace[known.place] !== known) return
    if (instant < this.#dues.dueOf(known.place)) this.#dues.set(known.place, instant)
  }

  /** Up to `limit` pools in which something is due, whose deadlines are not known from then on. */
  takeDue(now: number, limit: number): Known[] {
    const due: Known[] = []
    while (this.#dues.next <= now && due.length < limit) {
      const { top } = this.#dues
      this.#dues.delete(top)
      due.push(this.#byPlace[top]!)
    }
    return due
  }
}
