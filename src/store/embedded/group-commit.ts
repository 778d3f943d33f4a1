import type { Clock } from '../../clock.ts'
import { writeRecords } from '../../engine/records.ts'
import type { Tables } from '../../engine/tables.ts'
import type { Unsaved } from '../../engine/unsaved.ts'
import { StoreFailure } from '../store.ts'
import type { Chunks } from './chunks.ts'
import { type Group, type Journal, JournalError } from './journal.ts'

/** A journal that is at work for longer is given the next groups before it is done. */
const SLOW_MS = 0.5
/** With so many changed rows a group is worth a sync of its own, and does not wait until the turn is over. */
const ENOUGH_ROWS = 64

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
 * Group commit: what changes while groups are being committed makes up the next ones, and all who wait for
 * one are answered together.
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
  /** Whether the open group is looked at when this turn is over. */
  #isClosing = false
  /** When the journal took up what it is at work on, as far as is known here. */
  #busySince = 0
  /** Groups that the journal has and nobody here has heard of yet, oldest first. */
  readonly #underWay: Ticket[] = []
  /** The last group said nothing but what time it is, so that its number may be used again. */
  #isOfTime = false
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
    const ticket = (this.#open ??= new Ticket())
    // The disk need not wait until there is time to hear of what it has done, nor until all callers have had their turn.
    const isWorthIt = this.#underWay.length > 0 || this.#unsaved.rowCount >= ENOUGH_ROWS
    if (isWorthIt && !this.#isBusy) this.#close()
    else this.#closeSoon()
    return ticket.committed
  }

  /** Whether the journal is at work. */
  get #isBusy(): boolean {
    return this.#sequence !== this.#journal.sequence
  }

  /** What time has done is not news if that time is on record. */
  #hasNews(): boolean {
    const { hasNews, lapsedAt } = this.#unsaved
    return hasNews || lapsedAt > this.#instant
  }

  /**
   * What else comes in this turn goes along. While the journal is at work, a group may grow; but where the disk
   * is slow it must lie there when the next sync begins, which does not wait for this thread.
   */
  #closeSoon(): void {
    if (this.#isClosing) return
    this.#isClosing = true
    void this.#clock.yield().then(() => {
      this.#isClosing = false
      const isSlow = this.#clock.elapsedMs() - this.#busySince >= SLOW_MS
      if (isSlow || !this.#isBusy) this.#close()
    })
  }

  /**
   * Closes the open group and sends it to the journal, which takes it up with all others that lie there. Only
   * one that says nothing but what time it is must be alone there.
   */
  #close(): void {
    const ticket = this.#open
    if (ticket === null || this.#failure !== null) return
    const isOfTime = !this.#unsaved.hasNews
    if (!this.#isBusy) this.#busySince = this.#clock.elapsedMs()
    else if (isOfTime || this.#isOfTime) return
    this.#isOfTime = isOfTime
    this.#open = null
    this.#underWay.push(ticket)
    const group = this.#seal()
    const committed = this.#events.closed()
    this.#journal.commit(group).then(
      () => {
        this.#underWay.shift()
        this.#busySince = this.#clock.elapsedMs()
        // A group of nothing but time may have found its place elsewhere.
        if (this.#underWay.length === 0) this.#sequence = this.#journal.sequence
        ticket.resolve()
        committed()
        if (!this.#isBusy) this.#close()
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
      history: this.#tables.history?.take() ?? null,
      cut: this.#chunks.cut(this.#sequence),
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== null) return // of what was sent after it nothing is kept either
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
