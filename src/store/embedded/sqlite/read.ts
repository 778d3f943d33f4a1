import type { DatabaseSync } from 'node:sqlite'
import { JournalError, type Saved } from '../journal.ts'
import { entryChecksum, unpackChunk, unpackGroup, unpackHistory } from './format.ts'

/** Where a journal stands. */
export interface Tail {
  /** The first group that is there, or would be. */
  first: number
  /** The last group; 0: there is none. */
  sequence: number
  /** Of the last group. */
  instant: number
  /** Numbers of the chunks. */
  chunks: number[]
  /** How many entries there are. */
  entries: number
}

/** @throws JournalError where groups or chunks are missing, or the last group is damaged. */
export function readTail(database: DatabaseSync): Tail {
  const numbers = database.prepare('SELECT number FROM chunks').all()
  const chunks = numbers.map(({ number }) => number as number)
  const entries = database.prepare('SELECT count(*) AS count FROM entries').get()!.count as number
  const last = database.prepare('SELECT * FROM journal ORDER BY sequence DESC LIMIT 1').get()
  if (last === undefined) {
    if (chunks.length > 0 || entries > 0)
      throw new JournalError('damaged', 'the journal is missing')
    return { first: 1, sequence: 0, instant: 0, chunks, entries }
  }
  const sequence = last.sequence as number
  const { header } = unpackGroup(sequence, last.changes)
  const first = database.prepare('SELECT min(sequence) AS first FROM journal').get()!
    .first as number
  if (first > header.cut) {
    throw new JournalError('damaged', `group ${header.cut} of the journal is missing`)
  }
  if (chunks.length !== header.chunks) {
    throw new JournalError(
      'damaged',
      `${header.chunks} chunks were written, ${chunks.length} are there`,
    )
  }
  if (entries !== header.entries) {
    throw new JournalError(
      'damaged',
      `${header.entries} entries were written, ${entries} are there`,
    )
  }
  return { first, sequence, instant: header.instant, chunks, entries }
}

/**
 * All that is saved, in the order of the `Journal` interface.
 * @throws JournalError for the first thing that is damaged or missing.
 */
export function* readSaved(database: DatabaseSync): Generator<Saved, undefined> {
  for (const row of database.prepare('SELECT * FROM entries').iterate()) {
    const { name, value, checksum } = row
    const areTexts = typeof name === 'string' && typeof value === 'string'
    if (!areTexts || checksum !== entryChecksum(name, value)) {
      throw new JournalError('damaged', `entry ${nameOf(name)} is damaged: its checksum is wrong`)
    }
    yield { kind: 'entry', name, value }
  }
  for (const row of database.prepare('SELECT * FROM chunks ORDER BY number').iterate()) {
    const [number, sequence] = [row.number as number, row.sequence as number]
    const records = unpackChunk(number, sequence, row.records)
    yield { kind: 'chunk', number, sequence, records }
  }
  let expected = 0
  for (const row of database.prepare('SELECT * FROM journal ORDER BY sequence').iterate()) {
    const sequence = row.sequence as number
    if (expected !== 0 && sequence !== expected) {
      throw new JournalError('damaged', `group ${expected} of the journal is missing`)
    }
    expected = sequence + 1
    const { records } = unpackGroup(sequence, row.changes)
    yield { kind: 'group', sequence, records }
  }
  if (!hasHistory(database)) return
  let before = 0
  for (const row of database.prepare('SELECT * FROM history ORDER BY last').iterate()) {
    const part = unpackHistory(row.last as number, row.records)
    // Where a part begins with what was oldest then, those before it were too old.
    if (before !== 0 && part.first !== before + 1 && part.first !== part.tail) {
      throw new JournalError('damaged', `records of the history before ${part.first} are missing`)
    }
    before = part.last
    yield { kind: 'history', part }
  }
}

/** Whether there is one, be it empty. */
export function hasHistory(database: DatabaseSync): boolean {
  const named = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'history'")
  return named.get() !== undefined
}

/** What can be told of a name that may be damaged itself. */
function nameOf(name: unknown): string {
  return name instanceof Uint8Array ? String(Buffer.from(name)) : String(name)
}
