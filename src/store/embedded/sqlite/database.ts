import {
  accessSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { JournalError, type JournalFault } from '../journal.ts'
import {
  APPLICATION_ID,
  DATABASE_FILE,
  FORMAT_VERSION,
  HISTORY_FORMAT_VERSION,
  PAGE_BYTES,
  TABLES,
  UNFINISHED_ID,
} from './format.ts'

const PID_FILE = 'pid'
const BACKUP_PREFIX = 'backup-'
/** Overflowing pages are read when what they hold is replaced. */
const CACHE_KIB = 16 * 1024
/** Of SQLite's own write-ahead log, after which it is worked off while a copy is made. */
const COPY_WAL_PAGES = 8000

// Result codes of SQLite (sqlite.org/rescode.html), the extended ones without their upper bits.
const FAULTS: Record<number, JournalFault> = {
  3: 'inaccessible', // PERM
  5: 'busy', // BUSY
  8: 'inaccessible', // READONLY
  10: 'failed', // IOERR
  11: 'damaged', // CORRUPT
  13: 'full', // FULL
  14: 'inaccessible', // CANTOPEN
  26: 'foreign', // NOTADB
}

/** What went wrong in SQLite or the file system, as the journal tells it. */
export function journalError(error: unknown): JournalError {
  if (error instanceof JournalError) return error
  const { code, errcode, message } = error as { code?: string; errcode?: number; message: string }
  if (errcode !== undefined) return new JournalError(FAULTS[errcode & 255] ?? 'failed', message)
  // A number that is larger than any that was written.
  if (code === 'ERR_OUT_OF_RANGE') return new JournalError('damaged', message)
  if (code === 'ENOSPC' || code === 'EDQUOT') return new JournalError('full', message)
  if (code !== undefined && code !== 'EIO') return new JournalError('inaccessible', message)
  return new JournalError('failed', `disk I/O error: ${message}`)
}

/**
 * Opens the database of a data directory, which is made where it is missing, and keeps all others out of
 * it. The file must not be opened by other means in this process: closing it would drop SQLite's lock.
 *
 * @throws JournalError
 */
export function openDatabase(directory: string, sync: boolean): DatabaseSync {
  return open(directory, sync, prepare)
}

/**
 * The same for a database that is to be made.
 * @throws JournalError where there are data.
 */
export function openUnfinished(directory: string): DatabaseSync {
  return open(directory, false, refuseFinished)
}

/** Nobody takes it for whole until it is finished. What is left of one that never was is gone. */
export function beginUnfinished(database: DatabaseSync, directory: string): void {
  for (const name of tablesOf(database)) database.exec(`DROP TABLE ${name}`)
  makeTables(database, directory, UNFINISHED_ID)
  database.exec(`PRAGMA wal_autocheckpoint = ${COPY_WAL_PAGES}`)
}

/** Brings it to disk, and from then on it is one like any other. */
export function finishDatabase(database: DatabaseSync, directory: string): void {
  database.exec('PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)')
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA wal_checkpoint(TRUNCATE)`)
  syncPath(directory)
}

function open(
  directory: string,
  sync: boolean,
  prepare: (database: DatabaseSync, directory: string) => void,
): DatabaseSync {
  try {
    makeDirectory(directory)
    const database = lockDatabase(directory)
    try {
      prepare(database, directory)
      // FULL syncs each commit; NORMAL only what a checkpoint needs, which survives a killed process.
      database.exec(`PRAGMA synchronous = ${sync ? 'FULL' : 'NORMAL'}`)
      database.exec(`PRAGMA cache_size = -${CACHE_KIB}`)
      // We do it ourselves, for SQLite would pass over a sync that failed.
      database.exec('PRAGMA wal_autocheckpoint = 0')
      writeFileSync(join(directory, PID_FILE), `${process.pid}\n`)
      syncPath(directory)
    } catch (error) {
      database.close()
      throw error
    }
    return database
  } catch (error) {
    throw explained(directory, journalError(error))
  }
}

/** Closes the database of a data directory and says that nobody uses it. */
export function closeDatabase(database: DatabaseSync, directory: string): void {
  database.close()
  rmSync(join(directory, PID_FILE), { force: true })
}

/** Makes sure that a file is a database of this program, in a format that it knows. */
export function checkFormat(database: DatabaseSync): void {
  const id = pragma(database, 'application_id')
  if (id === UNFINISHED_ID) {
    throw new JournalError(
      'foreign',
      'a migration to here was broken off: run it again, or delete the file',
    )
  }
  if (id !== APPLICATION_ID) {
    throw new JournalError('foreign', 'the file was not made by Token Orchestrator')
  }
  const version = pragma(database, 'user_version')
  if (version === FORMAT_VERSION || version === HISTORY_FORMAT_VERSION) return
  const known = `this program knows formats ${FORMAT_VERSION} to ${HISTORY_FORMAT_VERSION}`
  throw new JournalError(
    'foreign',
    version > FORMAT_VERSION
      ? `the data are of a newer version (format ${version}; ${known}): start that version`
      : `the data are of a version too old to be read (format ${version}; ${known})`,
  )
}

/**
 * Makes sure that the pages of a database fit together: where a bit of their layout is wrong SQLite may see
 * fewer rows than were written, and take that for the truth. It takes 0.3 s for a gigabyte.
 */
export function checkPages(database: DatabaseSync): void {
  const [row] = database.prepare('PRAGMA quick_check(1)').all()
  const said = String(Object.values(row!)[0])
  if (said === 'ok') return
  throw new JournalError('damaged', `its pages are damaged: ${said.split('\n').at(-1)!}`)
}

export function pragma(database: DatabaseSync, name: string): number {
  return Object.values(database.prepare(`PRAGMA ${name}`).get()!)[0] as number
}

/** Where a backup is made: beside the data, so that it finds room where they do. */
export function backupFile(directory: string, number: number): string {
  return join(directory, `${BACKUP_PREFIX}${number}.db`)
}

/** Backups that nobody fetched before the process ended. */
export function removeBackups(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name.startsWith(BACKUP_PREFIX)) rmSync(join(directory, name), { force: true })
  }
}

/** Makes one file of a copy, which can be read where nothing can be written, and brings it to disk. */
export function finishCopy(file: string): void {
  const copy = new DatabaseSync(file)
  try {
    copy.exec('PRAGMA journal_mode = DELETE')
  } finally {
    copy.close()
  }
  syncPath(file)
}

/** Brings a file to disk, or the names in a directory. */
export function syncPath(file: string): void {
  const descriptor = openSync(file, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function makeDirectory(directory: string): void {
  if (existsSync(directory)) return
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  syncPath(dirname(resolve(directory)))
}

function lockDatabase(directory: string): DatabaseSync {
  const file = join(directory, DATABASE_FILE)
  // What is in it is secret; files beside it get the same mode.
  if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600))
  // SQLite would open it for reading, and fail at the lock without saying why.
  accessSync(file, constants.R_OK | constants.W_OK)
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    database.exec(`PRAGMA page_size = ${PAGE_BYTES}`) // of a file that is yet to be made
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT')
  } catch (error) {
    database.close()
    throw error
  }
  return database
}

function prepare(database: DatabaseSync, directory: string): void {
  const isNew = database.prepare('SELECT 1 FROM sqlite_schema').get() === undefined
  if (!isNew) checkFormat(database)
  database.exec('PRAGMA journal_mode = WAL')
  if (isNew) makeTables(database, directory, APPLICATION_ID)
}

function refuseFinished(database: DatabaseSync): void {
  if (tablesOf(database).length > 0 && pragma(database, 'application_id') !== UNFINISHED_ID) {
    throw new JournalError('foreign', 'there are data already: move them away, or name another')
  }
  database.exec('PRAGMA journal_mode = WAL')
}

function tablesOf(database: DatabaseSync): string[] {
  const named = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()
  return named.map(({ name }) => String(name))
}

function makeTables(database: DatabaseSync, directory: string, applicationId: number): void {
  database.exec(`BEGIN; ${TABLES} PRAGMA application_id = ${applicationId}; COMMIT`)
  syncPath(directory)
}

/** The same in words for the person who runs the server: where it is, and what to do. */
export function explained(directory: string, { fault, message }: JournalError): JournalError {
  const where = `the data directory ${directory}`
  switch (fault) {
    case 'busy':
      return new JournalError(fault, `${where} is in use by process ${pidIn(directory)}`)
    case 'inaccessible':
      return new JournalError(fault, `${where} cannot be read and written: ${message}`)
    case 'full':
      return new JournalError(fault, `there is no room on the disk of ${where}`)
    default:
      return new JournalError(fault, `${join(directory, DATABASE_FILE)}: ${message}`)
  }
}

function pidIn(directory: string): string {
  try {
    return readFileSync(join(directory, PID_FILE), 'utf8').trim()
  } catch {
    return 'unknown'
  }
}
