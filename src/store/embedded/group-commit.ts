import type { Clock } from '../../clock.ts'
import { writeRecords } from '../../engine/records.ts'
import type { Tables } from '../../engine/tables.ts'
import type { Unsaved } from '../../engine/unsaved.ts'
import { StoreFailure } from '../store.ts'
import type { Chunks } from './chunks.ts'
import { type Group, type Journal, JournalError } from './journal.ts'

/** A group of changes, and all who wait until it is committed. */
class Ticket {
  resolve!: () => void
  reject!: (failure: StoreFailure) => void
  readonly committed = new Promise<void>((resolve, reject) => {
    this.resolve = resolve
    this.reject = reject
  })

  constructor() {
    this.committed.catch(() => undefined) // it may be that nobody waits
  }
}

export interface GroupCommitEvents {
  /** What has happened so far is in the group that goes to the journal now. Returns what is called once it is on disk. */
  closed: () => () => void
  /** A group is not: what the tables say is not what will be found after a restart. */
  failed: (failure: StoreFailure) => void
}

/**
 * Group commit: what changes while one group is being committed makes up the next, and all who wait for
 * it are answered together.
 */
export class GroupCommit {
  readonly #tables: Tables
  readonly #unsaved: Unsaved
  readonly #journal: Journal
  readonly #clock: Clock
  readonly #events: GroupCommitEvents
  readonly #chunks: Chunks
  #sequence: number
  /** Of the last group that was closed. */
  #instant: number
  #open: Ticket | null = null
  /** Mostly one; two while one is on disk, but nobody here has heard of it. */
  readonly #underWay: Ticket[] = []
  #failure: StoreFailure | null = null

  /** `chunks` knows what the journal holds already, `unsaved` what is new since. */
  constructor(
    tables: Tables,
    unsaved: Unsaved,
    chunks: Chunks,
    journal: Journal,
    clock: Clock,
    events: GroupCommitEvents,
  ) {
    this.#tables = tables
    this.#unsaved = unsaved
    this.#chunks = chunks
    this.#journal = journal
    this.#clock = clock
    this.#events = events
    this.#sequence = journal.sequence
    this.#instant = journal.instant
  }

  /**
   * Resolves once everything that has happened so far is committed; null: it is already. A rejection means
   * that it is not, and will not be.
   */
  saved(): Promise<void> | null {
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (!this.#hasNews()) return this.#underWay.at(-1)?.committed ?? null
    const isFirst = this.#open === null
    const ticket = (this.#open ??= new Ticket())
    if (this.#underWay.length > 0) {
      // The disk need not wait until there is time to hear of what it has done.
      this.#close()
    } else if (isFirst) {
      // What else comes in this turn goes along.
      void this.#clock.yield().then(() => {
        this.#close()
      })
    }
    return ticket.committed
  }

  /** What time has done is not news if that time is on record. */
  #hasNews(): boolean {
    const { hasNews, lapsedAt } = this.#unsaved
    return hasNews || lapsedAt > this.#instant
  }

  /** Closes the open group and sends it to the journal, unless that is still at work on another. */
  #close(): void {
    const ticket = this.#open
    const isBusy = this.#sequence !== this.#journal.sequence
    if (ticket === null || isBusy || this.#failure !== null) return
    this.#open = null
    this.#underWay.push(ticket)
    const group = this.#seal()
    const committed = this.#events.closed()
    this.#journal.commit(group).then(
      () => {
        this.#underWay.shift()
        // A group of nothing but time may have found its place elsewhere.
        if (this.#underWay.length === 0) this.#sequence = this.#journal.sequence
        ticket.resolve()
        committed()
        this.#close()
      },
      (error: unknown) => {
        this.#fail(error)
      },
    )
  }

  #seal(): Group {
    const { slots, entries } = this.#unsaved.take()
    this.#sequence++
    this.#instant = this.#clock.now()
    const records = writeRecords(this.#tables, slots)
    for (const slot of slots) this.#chunks.changed(slot, this.#sequence)
    const chunks = this.#chunks.take(records.byteLength)
    return {
      sequence: this.#sequence,
      instant: this.#instant,
      records,
      entries,
      chunks,
      cut: this.#chunks.cut(this.#sequence),
    }
  }

  #fail(error: unknown): void {
    const failure = storeFailure(error)
    this.#failure = failure
    for (const ticket of this.#underWay) ticket.reject(failure)
    this.#open?.reject(failure)
    this.#underWay.length = 0
    this.#open = null
    this.#events.failed(failure)
  }
}

/** What went wrong in the journal, as the store tells it. */
export function storeFailure(error: unknown): StoreFailure {
  const full = error instanceof JournalError && error.fault === 'full'
  return new StoreFailure(full ? 'storage_full' : 'storage_failed', error)
}
