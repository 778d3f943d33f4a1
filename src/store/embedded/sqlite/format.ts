/**
 * What a data directory holds: one SQLite file, `state.db`. Blobs carry checksums of their own, since SQLite
 * does not notice a bit that was flipped inside one.
 */
import { crc32 } from 'node:zlib'
import type { HistoryPart } from '../../../engine/history.ts'
import { JournalError } from '../journal.ts'

export const DATABASE_FILE = 'state.db'
/** Tells our files from those of other programs: "TOK1". */
export const APPLICATION_ID = 0x544f4b31
/** Of one in the making, which no server may take for whole: "TOK0". */
export const UNFINISHED_ID = 0x544f4b30
/** A program reads the formats it knows, and refuses all others. */
export const FORMAT_VERSION = 1
/** The same and a history: an older program would go on without telling it anything. */
export const HISTORY_FORMAT_VERSION = 2

/**
 * Each commit writes some pages whole, whatever it changes: half of SQLite's usual size is a quarter less
 * to write in groups of 64.
 */
export const PAGE_BYTES = 2048

export const TABLES = `
  CREATE TABLE journal (sequence INTEGER PRIMARY KEY, changes BLOB NOT NULL);
  CREATE TABLE chunks (number INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, records BLOB NOT NULL);
  CREATE TABLE entries (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
  PRAGMA user_version = ${FORMAT_VERSION};
`

export const HISTORY_SCHEMA = `
  CREATE TABLE IF NOT EXISTS history (last INTEGER PRIMARY KEY, records BLOB NOT NULL);
  PRAGMA user_version = ${HISTORY_FORMAT_VERSION};
`

const HIGH = 2 ** 32
const HEADER_WORDS = 9
const MARK = 0 // the words of a header
const CHECKSUM = 1 // of all that follows, and of the numbers that the row is found by
const INSTANT = 2
const CUT = 4
const CHUNKS = 6
const ENTRIES = 7
const FIRST = 2 // in a part of the history
const TAIL = 4
const WORDS = 8 // the number of records' words

/** What a group says beside its records. */
export interface GroupHeader {
  /** ms since the epoch */
  instant: number
  /** The first group that must be there. */
  cut: number
  /** How many chunks there are. */
  chunks: number
  /** How many entries there are. */
  entries: number
}

/** A group's blob; its place in the sequence is part of what is checked. */
export function packGroup(sequence: number, header: GroupHeader, records: Uint32Array): Uint8Array {
  const words = new Uint32Array(HEADER_WORDS + records.length)
  setNumber(words, INSTANT, header.instant)
  setNumber(words, CUT, header.cut)
  words[CHUNKS] = header.chunks
  words[ENTRIES] = header.entries
  return seal(words, [sequence, 0], records)
}

/** @throws JournalError where the blob is not what was written. */
export function unpackGroup(
  sequence: number,
  blob: unknown,
): { header: GroupHeader; records: Uint32Array<ArrayBuffer> } {
  const words = unseal(blob, [sequence, 0], `group ${sequence} of the journal`)
  return {
    header: {
      instant: getNumber(words, INSTANT),
      cut: getNumber(words, CUT),
      chunks: words[CHUNKS]!,
      entries: words[ENTRIES]!,
    },
    records: words.subarray(HEADER_WORDS),
  }
}

export function packChunk(number: number, sequence: number, records: Uint32Array): Uint8Array {
  return seal(new Uint32Array(HEADER_WORDS + records.length), [number, sequence], records)
}

/** @throws JournalError where the blob is not what was written. */
export function unpackChunk(
  number: number,
  sequence: number,
  blob: unknown,
): Uint32Array<ArrayBuffer> {
  return unseal(blob, [number, sequence], `chunk ${number}`).subarray(HEADER_WORDS)
}

export function packHistory({ first, last, tail, records }: HistoryPart): Uint8Array {
  const words = new Uint32Array(HEADER_WORDS + records.length)
  setNumber(words, FIRST, first)
  setNumber(words, TAIL, tail)
  return seal(words, [last, 0], records)
}

/** @throws JournalError where the blob is not what was written. */
export function unpackHistory(last: number, blob: unknown): HistoryPart {
  const words = unseal(blob, [last, 0], `the history up to record ${last}`)
  const records = words.subarray(HEADER_WORDS)
  return { first: getNumber(words, FIRST), last, tail: getNumber(words, TAIL), records }
}

export function entryChecksum(name: string, value: string): number {
  return crc32(value, crc32(`${name}\0`)) // no letter can go from one to the other
}

function seal(words: Uint32Array, found: [number, number], records: Uint32Array): Uint8Array {
  words[MARK] = APPLICATION_ID
  words[WORDS] = records.length
  words.set(records, HEADER_WORDS)
  words[CHECKSUM] = checksum(words, found)
  return bytesOf(words)
}

function unseal(blob: unknown, found: [number, number], what: string): Uint32Array<ArrayBuffer> {
  // SQLite keeps the type of each value beside it, and believes it.
  if (!(blob instanceof Uint8Array))
    throw new JournalError('damaged', `${what} is damaged: no bytes`)
  if (blob.length % 4 !== 0 || blob.length < HEADER_WORDS * 4) {
    throw new JournalError('damaged', `${what} is cut short`)
  }
  const words = wordsOf(blob)
  if (words[MARK] !== APPLICATION_ID) {
    throw new JournalError('damaged', `${what} is damaged, or from a machine of other byte order`)
  }
  const intact =
    words[CHECKSUM] === checksum(words, found) && words[WORDS] === words.length - HEADER_WORDS
  if (!intact) throw new JournalError('damaged', `${what} is damaged: its checksum is wrong`)
  return words
}

function checksum(words: Uint32Array, found: [number, number]): number {
  const numbers = crc32(bytesOf(new Float64Array(found)))
  return crc32(bytesOf(words.subarray(CHECKSUM + 1)), numbers)
}

/** A blob as words, where it lies: SQLite hands out each in a buffer of its own, from the beginning. */
function wordsOf(blob: Uint8Array): Uint32Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = blob
  const inPlace = buffer instanceof ArrayBuffer && byteOffset % 4 === 0
  return inPlace
    ? new Uint32Array(buffer, byteOffset, byteLength / 4)
    : new Uint32Array(Uint8Array.from(blob).buffer)
}

function bytesOf(array: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

function setNumber(words: Uint32Array, at: number, value: number): void {
  words[at] = value // the lower 32 bits, by the typed array's own rule
  words[at + 1] = Math.floor(value / HIGH)
}

function getNumber(words: Uint32Array, at: number): number {
  return words[at]! + words[at + 1]! * HIGH
}
