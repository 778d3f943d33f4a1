import type { Group, JournalError } from '../../src/store/embedded/journal.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { type Fate, SimulatedDisk } from '../support/simulated-disk.ts'

/** Of what is read, so much has to be waited for. */
const SLOW_CHANCE = 0.1

/** A group that was handed over, and what tells the store of its fate. */
interface Commit {
  readonly group: Group
  readonly decide: (fate: Fate) => void
}

/** A disk that writes and reads when a simulation says so. */
export class SlowDisk extends SimulatedDisk {
  readonly #random: SeededRandom
  #commits: Commit[] = []
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
    this.seek = () => {
      if (!this.#random.chance(SLOW_CHANCE)) return Promise.resolve()
      return new Promise((resolve) => this.#seeks.push(resolve))
    }
  }

  /** Groups whose fate is open. */
  get commits(): number {
    return this.#commits.length
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

  /** The oldest group under way. What must be known before the store hears of its fate, `before` is told. */
  end(fate: Fate, before: (group: Group) => void): void {
    const { group, decide } = this.#commits.shift()!
    before(group)
    decide(fate)
  }

  readOn(): void {
    this.#seeks.shift()!()
  }

  /** The power is gone: so many groups under way are on disk all the same. */
  crash(kept: number): void {
    for (const { group } of this.#commits.splice(0, kept)) this.keep(group)
    this.#commits = []
    this.#seeks = []
  }
}
