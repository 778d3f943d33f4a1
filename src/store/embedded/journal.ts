import type { HistoryPart } from '../../engine/history.ts'

/**
 * Where the embedded store keeps what must outlive the process. Groups of changes are appended; the
 * state lies in chunks of rows, which are replaced one by one, so that old groups can be cut off.
 */
export interface Journal {
  /** The latest instant that was committed (ms since the epoch), 0 in a new journal. */
  readonly instant: number
  /** The number of the last group that was committed, told or not, 0 in a new journal. */
  readonly sequence: number

  /**
   * All that is committed: entries first, then chunks, then groups in their order, then
   * history, oldest first. What is newer comes
   * later, so that reading all of it in this order restores the state.
   * @throws JournalError
   */
  read(): AsyncIterable<Saved>

  /**
   * Commits a group, whole or not at all, after those before it, which may still be under way: those that
   * wait for the disk are committed together. Its buffers belong to the journal then. Of a group that says
   * nothing but what time it is only the instant may be kept, and its number is used again; none other may be
   * under way meanwhile.
   * @throws JournalError `full`: nothing is kept of it and of those that were sent after it, which fail too;
   *   what comes in its place may succeed. Any other: what is kept is unknown, and nothing more can be
   *   committed.
   */
  commit(group: Group): Promise<void>

  /**
   * Makes a consistent copy of all that is committed, while commits go on, and returns the path of its
   * file. It is the caller's: to be moved or deleted.
   * @throws JournalError
   */
  backup(): Promise<string>

  close(): Promise<void>
}

/** What a journal tells of its own accord. */
export interface JournalEvents {
  /** Whether there is room for more. Where there is none, what is under way is still committed. */
  room: (left: boolean) => void
}

export interface Group {
  /** One more than that of the group before. */
  sequence: number
  /** Time when it was closed: no earlier instant is seen after a restart (ms since the epoch). */
  instant: number
  /** Records (engine/records.ts) of what has changed. */
  records: Uint32Array<ArrayBuffer>
  /** What has changed and is not in rows, by name; null: it is gone. */
  entries: ReadonlyMap<string, string | null>
  chunks: Chunk[]
  /** What it adds to the history, if that is kept. */
  history: HistoryPart | null
  /** Groups below that number are in chunks, and need not be kept. */
  cut: number
}

/** The records of neighbouring slots, as of the group that it comes with. */
export interface Chunk {
  number: number
  records: Uint32Array<ArrayBuffer>
}

export type Saved =
  | { kind: 'entry'; name: string; value: string }
  | { kind: 'chunk'; sequence: number; number: number; records: Uint32Array }
  | { kind: 'group'; sequence: number; records: Uint32Array }
  | { kind: 'history'; part: HistoryPart }

export type JournalFault =
  | 'full' // no room on the disk
  | 'failed' // the disk does not do what it is told
  | 'damaged' // what is there is not what was written
  | 'foreign' // made by another version, or no data of this program at all
  | 'busy' // in use by another process
  | 'inaccessible' // the directory cannot be read or written

/** Why a journal cannot go on, in words for the person who runs the server. */
export class JournalError extends Error {
  readonly fault: JournalFault

  constructor(fault: JournalFault, message: string) {
    super(message)
    this.fault = fault
  }
}
