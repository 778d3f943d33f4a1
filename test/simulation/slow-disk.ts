import type { Group, JournalError } from '../../src/store/embedded/journal.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { type Fate, isOfTime, SimulatedDisk } from '../support/simulated-disk.ts'

/** Of what is read, so much has to be waited for. */
const SLOW_CHANCE = 0.1
/** Of what is committed, so much is heard of later only. */
const UNHEARD_CHANCE = 0.3
/** Of groups of nothing but time, so many leave nothing but their instant. */
const INSTANT_CHANCE = 0.3

/** A group that was handed over, and what tells the store of its fate. */
interface Commit {
  readonly group: Group
  readonly decide: (fate: Fate) => void
}

/** A disk that writes and reads when a simulation says so. */
export class SlowDisk extends SimulatedDisk {
  readonly #random: SeededRandom
  #commits: Commit[] = []
  #tellings: (() => void)[] = []
  #seeks: (() => void)[] = []

  constructor(
    journalError: typeof JournalError,
    random: SeededRandom,
    handedOver: (group: Group) => void,
  ) {
    super(journalError)
    this.#random = random
    this.decide = (group) => {
      handedOver(group)
      const { promise, resolve } = Promise.withResolvers<Fate>()
      this.#commits.push({ group, decide: resolve })
      return promise
    }
    this.tell = () => {
      const isHeard = this.#tellings.length === 0 && !this.#random.chance(UNHEARD_CHANCE)
      return isHeard ? Promise.resolve() : new Promise((resolve) => this.#tellings.push(resolve))
    }
    this.seek = () => {
      if (!this.#random.chance(SLOW_CHANCE)) return Promise.resolve()
      return new Promise((resolve) => this.#seeks.push(resolve))
    }
  }

  /** Groups whose fate is open. */
  get commits(): number {
    return this.#commits.length
  }

  /** Whether something is on disk of which nobody has heard. */
  get isUnheard(): boolean {
    return this.#tellings.length > 0
  }

  get isReading(): boolean {
    return this.#seeks.length > 0
  }

  get hasChunks(): boolean {
    for (const { kind } of this.saved()) {
      if (kind !== 'entry') return kind === 'chunk'
    }
    return false
  }

  /** So many groups, the oldest of those under way, are one transaction, and on disk. */
  commit(count: number, before: (group: Group) => void): void {
    for (const { group, decide } of this.#commits.splice(0, count)) {
      before(group)
      const keepsInstant = isOfTime(group) && this.#random.chance(INSTANT_CHANCE)
      decide(keepsInstant ? 'instant' : 'committed')
    }
  }

  /** All groups under way have the same bad end. What was committed before has been heard of. */
  refuse(fate: 'full' | 'failed'): void {
    for (const { decide } of this.#commits.splice(0)) decide(fate)
  }

  hear(): void {
    for (const tell of this.#tellings.splice(0)) tell()
  }

  readOn(): void {
    this.#seeks.shift()!()
  }

  /** So many groups under way are on disk all the same, whatever comes now. */
  keepFirst(count: number): void {
    for (const { group } of this.#commits.slice(0, count)) this.keep(group)
  }

  /** The power is gone. */
  crash(): void {
    this.#commits = []
    this.#tellings = []
    this.#seeks = []
  }
}
