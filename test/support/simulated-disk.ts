import assert from 'node:assert/strict'
import type { HistoryPart } from '../../src/engine/history.ts'
import {
  type Group,
  type Journal,
  JournalError,
  type JournalEvents,
  type Saved,
} from '../../src/store/embedded/journal.ts'

interface StoredChunk {
  sequence: number
  records: Uint32Array
}

/** What is on a disk: all committed groups, applied. */
class Contents {
  entries = new Map<string, string>()
  chunks = new Map<number, StoredChunk>()
  groups: { sequence: number; records: Uint32Array }[] = []
  history: HistoryPart[] = []
  instant = 0

  apply({ sequence, instant, records, entries, chunks, history, cut }: Group): void {
    const last = this.groups.at(-1)?.sequence ?? 0
    assert.equal(sequence, last + 1, 'groups come in their order')
    assert(cut <= sequence, 'the last group is never cut')
    this.groups.push({ sequence, records: records.slice() })
    this.instant = instant
    for (const [name, value] of entries) {
      if (value === null) this.entries.delete(name)
      else this.entries.set(name, value)
    }
    for (const { number, records } of chunks) {
      this.chunks.set(number, { sequence, records: records.slice() })
    }
    this.groups = this.groups.filter((group) => group.sequence >= cut)
    if (history === null) return
    this.history.push({ ...history, records: history.records.slice() })
    this.history = this.history.filter(({ last }) => last >= history.tail)
  }

  *saved(): Generator<Saved> {
    for (const [name, value] of this.entries) yield { kind: 'entry', name, value }
    for (const [number, chunk] of this.chunks) {
      yield { kind: 'chunk', number, sequence: chunk.sequence, records: chunk.records.slice() }
    }
    for (const { sequence, records } of this.groups) {
      yield { kind: 'group', sequence, records: records.slice() }
    }
    for (const part of this.history) yield { kind: 'history', part }
  }
}

/** What becomes of a group; `instant`: only that is kept of it. */
export type Fate = 'committed' | 'instant' | 'full' | 'failed'

/** Whether a group says nothing but what time it is. */
export function isOfTime({ records, entries, chunks }: Group): boolean {
  return records.length + entries.size + chunks.length === 0
}

/** A disk that outlives the journals opened on it, and does as it is told. */
export class SimulatedDisk {
  readonly #contents = new Contents()
  /** Groups that were handed over and whose fate is still open, oldest first. */
  readonly underWay: Group[] = []
  /** Decides on each commit when it is handed over; by default at once, and well. */
  decide: (group: Group) => Promise<Fate> = () => Promise.resolve('committed')
  /** Waits between the commit of a group and the news of it. */
  tell: () => Promise<void> = () => Promise.resolve()
  /** Waits before each thing that is read. */
  seek: () => Promise<void> = () => Promise.resolve()
  #journal: SimulatedJournal | null = null
  /** Of the modules under test, which need not be those imported here. */
  readonly JournalError: typeof JournalError

  constructor(journalError = JournalError) {
    this.JournalError = journalError
  }

  /** Opens a journal; one that was open has crashed, and nothing of it reaches the disk any more. */
  open(events: JournalEvents): Promise<Journal> {
    this.#journal?.crash()
    this.underWay.length = 0
    this.#journal = new SimulatedJournal(this, events)
    return Promise.resolve(this.#journal)
  }

  get sequence(): number {
    return this.#contents.groups.at(-1)?.sequence ?? 0
  }

  get instant(): number {
    return this.#contents.instant
  }

  /** Tells the store that is open whether there is room. */
  setRoom(left: boolean): void {
    this.#journal!.events.room(left)
  }

  saved(): Iterable<Saved> {
    return this.#contents.saved()
  }

  /** Puts a group on the disk: all of it, for a commit is atomic. */
  keep(group: Group): void {
    this.#contents.apply(group)
  }

  keepInstant(instant: number): void {
    this.#contents.instant = instant
  }
}

class SimulatedJournal implements Journal {
  readonly events: JournalEvents
  readonly #disk: SimulatedDisk
  #crashed = false
  #failed = false

  constructor(disk: SimulatedDisk, events: JournalEvents) {
    this.#disk = disk
    this.events = events
  }

  get instant(): number {
    return this.#disk.instant
  }

  get sequence(): number {
    return this.#disk.sequence
  }

  async *read(): AsyncIterable<Saved> {
    for (const saved of this.#disk.saved()) {
      await this.#disk.seek()
      yield saved
    }
  }

  async commit(group: Group): Promise<void> {
    assert(!this.#failed, 'nothing is committed after a failure')
    const disk = this.#disk
    const isAlone = ![group, ...disk.underWay.slice(-1)].some(isOfTime)
    assert(disk.underWay.length === 0 || isAlone, 'a group of time alone is alone under way')
    disk.underWay.push(group)
    const fate = await disk.decide(group)
    await this.#untilHeard()
    assert.equal(disk.underWay.shift(), group, 'groups come to their end in their order')
    if (fate === 'committed' || fate === 'instant') {
      if (fate === 'committed') disk.keep(group)
      else disk.keepInstant(group.instant)
      await disk.tell()
      await this.#untilHeard()
      return
    }
    this.#failed = fate === 'failed'
    throw new disk.JournalError(fate, `simulated: ${fate}`)
  }

  /** Nobody hears of anything after a crash. */
  #untilHeard(): Promise<void> {
    return this.#crashed ? new Promise(() => undefined) : Promise.resolve()
  }

  async backup(): Promise<string> {
    throw new JournalError('failed', 'a simulated disk has no files')
  }

  async close(): Promise<void> {
    this.crash()
  }

  crash(): void {
    this.#crashed = true
  }
}
