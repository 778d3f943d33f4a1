import type { Clock } from '../../clock.ts'
import { DeadlinePages, Deadlines } from '../../engine/deadlines.ts'
import { NEVER } from '../../engine/rows.ts'
import type { Shard } from './shard.ts'

/** A pool as this process has come to know it. */
export interface Known {
  readonly uid: number
  readonly name: string
  readonly shards: readonly Shard[]
  /** When something falls due in each of them; NEVER: it is not known to. */
  readonly dues: number[]
  /** Among deadlines. */
  readonly place: number
}

/** A shard in which something is due. */
export interface Due {
  known: Known
  shard: Shard
}

/** The pools that this process has to do with, and when something falls due in them, by its own clock. */
export class KnownPools {
  readonly #byUid = new Map<number, Known>()
  readonly #byPlace: (Known | undefined)[] = []
  readonly #freePlaces: number[] = []
  readonly #dues: Deadlines

  readonly #clock: Clock

  constructor(maxPools: number, clock: Clock) {
    this.#clock = clock
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

  add(uid: number, name: string, shards: readonly Shard[]): Known {
    const place = this.#freePlaces.pop() ?? this.#byPlace.length
    const known = { uid, name, shards, dues: shards.map(() => NEVER), place }
    this.#byPlace[place] = known
    this.#byUid.set(uid, known)
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

  /** Something falls due in one of its shards by then. */
  mayBeDue(known: Known, inMs: number): void {
    for (const shard of known.shards) this.fallsDue(known, shard, inMs)
  }

  /** Something falls due in that shard in so many ms, if not before. */
  fallsDue(known: Known, { place: { shard } }: Shard, inMs: number): void {
    if (this.#byPlace[known.place] !== known) return
    const instant = this.#clock.now() + Math.max(0, inMs)
    known.dues[shard] = Math.min(known.dues[shard]!, instant)
    if (instant < this.#dues.dueOf(known.place)) this.#dues.set(known.place, instant)
  }

  /** What is due in up to `limit` pools, when which is not known from then on. */
  takeDue(limit: number): Due[] {
    const now = this.#clock.now()
    const all: Due[] = []
    for (let pools = 0; this.#dues.next <= now && pools < limit; pools++) {
      const { top } = this.#dues
      const known = this.#byPlace[top]!
      this.#dues.delete(top)
      for (const shard of known.shards) {
        const number = shard.place.shard
        if (known.dues[number]! > now) continue
        known.dues[number] = NEVER
        all.push({ known, shard })
      }
      const next = Math.min(...known.dues)
      if (next < NEVER) this.#dues.set(top, next)
    }
    return all
  }
}
