import { writeRecords } from '../../engine/records.ts'
import type { Tables } from '../../engine/tables.ts'
import type { Chunk } from './journal.ts'

const CHUNK_SLOTS = 1024
/** What a chunk takes, about: most rows have no lease. */
const CHUNK_BYTES = CHUNK_SLOTS * 60
/** Groups are kept at least up to so many bytes, however little the state is. */
const SMALLEST_JOURNAL_BYTES = 64 * 2 ** 20
/** More would keep the event loop for too long. */
const MAX_CHUNKS_A_GROUP = 16

/**
 * Decides which chunks are written when, so that the journal stays within twice the size of the state
 * and each byte of it costs about one byte of a chunk. Those that have waited longest come first, for
 * the oldest change that no chunk holds decides what the journal must keep.
 */
export class Chunks {
  readonly #tables: Tables
  /** By chunk: the first group with a change that the chunk on disk lacks; 0: it lacks none. */
  readonly #behindSince: Float64Array
  /** By chunk: the group it was written with before a restart. */
  readonly #savedAt: Float64Array
  /** By chunk that lacks something: how many bytes had been journalled before. */
  readonly #journalledBefore: Float64Array
  /** Chunks that lack something, in the order of `behindSince`. */
  #queue: number[] = []
  #head = 0
  #journalled = 0
  /** Bytes of chunks that are due. */
  #due = 0
  #last = 0

  constructor(tables: Tables) {
    const chunks = Math.floor(tables.rows.capacity / CHUNK_SLOTS) + 1
    this.#tables = tables
    this.#behindSince = new Float64Array(chunks)
    this.#savedAt = new Float64Array(chunks)
    this.#journalledBefore = new Float64Array(chunks)
  }

  /** A slot has changed in that group, which is the latest one. */
  changed(slot: number, sequence: number): void {
    const number = Math.floor(slot / CHUNK_SLOTS)
    if (this.#behindSince[number] !== 0) return
    this.#behindSince[number] = sequence
    this.#journalledBefore[number] = this.#journalled
    this.#queue.push(number)
    if (number > this.#last) this.#last = number
  }

  /** After a restart: that chunk is on disk as of that group. */
  restoreChunk(number: number, sequence: number): void {
    this.#savedAt[number] = sequence
    if (number > this.#last) this.#last = number
  }

  /** After a restart: a group that is still there has a change of that slot. Returns whether its chunk lacks it. */
  restoreChange(slot: number, sequence: number): boolean {
    if (sequence <= this.#savedAt[Math.floor(slot / CHUNK_SLOTS)]!) return false
    this.changed(slot, sequence)
    return true
  }

  /** After a restart: all changes of a group of so many bytes are noted. */
  restoreGroup(bytes: number): void {
    this.#journalled += bytes
  }

  /** The chunks to write with a group, all of whose changes are noted, of that many bytes. */
  take(groupBytes: number): Chunk[] {
    const chunks: Chunk[] = []
    const stateBytes = (this.#last + 1) * CHUNK_BYTES
    const limit = Math.max(2 * stateBytes, SMALLEST_JOURNAL_BYTES)
    this.#journalled += groupBytes
    if (this.#backlog() > limit / 2) this.#due += groupBytes * ((2 * stateBytes) / limit)
    while (
      this.#due >= CHUNK_BYTES &&
      chunks.length < MAX_CHUNKS_A_GROUP &&
      this.#head < this.#queue.length
    ) {
      const number = this.#queue[this.#head++]!
      this.#behindSince[number] = 0
      this.#due -= CHUNK_BYTES
      chunks.push({ number, records: this.#records(number) })
    }
    if (this.#head === this.#queue.length) this.#due = 0
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    return chunks
  }

  /** Groups before that one are in chunks; the latest is never cut. */
  cut(latest: number): number {
    const oldest = this.#queue[this.#head]
    return oldest === undefined ? latest : this.#behindSince[oldest]!
  }

  /** Bytes of the groups that no chunk makes needless. */
  #backlog(): number {
    const oldest = this.#queue[this.#head]
    return oldest === undefined ? 0 : this.#journalled - this.#journalledBefore[oldest]!
  }

  #records(number: number): Uint32Array<ArrayBuffer> {
    const { rows } = this.#tables
    const slots: number[] = []
    const first = number * CHUNK_SLOTS
    for (let slot = Math.max(first, 1); slot < first + CHUNK_SLOTS && rows.knows(slot); slot++) {
      slots.push(slot)
    }
    return writeRecords(this.#tables, slots)
  }
}
