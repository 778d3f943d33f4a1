/** The thread that owns the database. It does what it is asked for, one after the other. */
import { rmSync } from 'node:fs'
import { backup, type DatabaseSync, type StatementSync } from 'node:sqlite'
import { parentPort, receiveMessageOnPort } from 'node:worker_threads'
import { type Group, JournalError, type JournalFault, type Saved } from '../journal.ts'
import {
  backupFile,
  checkPages,
  closeDatabase,
  explained,
  finishCopy,
  journalError,
  openDatabase,
  removeBackups,
} from './database.ts'
import { entryChecksum, packChunk, packGroup, PAGE_BYTES } from './format.ts'
import { InstantFile } from './instant-file.ts'
import { readSaved, readTail } from './read.ts'
import { HistoryTable } from './history-table.ts'
import { ReserveFile } from './reserve-file.ts'

export interface JournalOptions {
  directory: string
  /** Whether a commit waits for the disk; without, it waits for the operating system only. */
  sync: boolean
  /** Whether a history is kept; without, what there was of one goes. */
  history?: boolean
}

export interface Opened {
  instant: number
  hasRoom: boolean
}

/** What can be asked of the thread, and what it answers. */
export interface JournalCalls {
  open: (options: JournalOptions & { sequence: BigInt64Array }) => Opened
  /** The next part of all that is saved; an empty one is the end. */
  read: () => Saved[]
  commit: (group: Group) => undefined
  backup: () => Promise<string>
  close: () => undefined
}

interface Call<C extends keyof JournalCalls> {
  id: number
  call: C
  argument: Parameters<JournalCalls[C]>[0]
}

export type ToWorker = { [C in keyof JournalCalls]: Call<C> }[keyof JournalCalls]

/** Calls are answered one by one, but commits all that were one. */
export type FromWorker =
  | { kind: 'answer'; ids: number[]; value: unknown }
  | { kind: 'failure'; ids: number[]; fault: JournalFault; message: string }
  | { kind: 'room'; left: boolean }

const READ_BYTES = 4 * 2 ** 20
/** Written pages that wait in the WAL until they are moved into the database, about. */
const CHECKPOINT_BYTES = 16 * 2 ** 20
/** Groups that are cut off with one more, so that none takes long. */
const CUT_AT_A_TIME = 64
const ROOM_CHECK_MS = 250
const BACKUP_PAGES_AT_A_TIME = 256

/** What a transaction brings about. */
interface Counts {
  /** Chunks that were not there before. */
  chunks: Set<number>
  /** How many there are then. */
  entries: number
  /** The first group that is there then. */
  first: number
}

class JournalWorker {
  readonly #options: Parameters<JournalCalls['open']>[0]
  readonly #database: DatabaseSync
  readonly #reserve: ReserveFile
  readonly #instantFile: InstantFile
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #insertGroup: StatementSync
  readonly #deleteGroups: StatementSync
  readonly #putChunk: StatementSync
  readonly #putEntry: StatementSync
  readonly #deleteEntry: StatementSync
  readonly #chunks: Set<number>
  /** How many there are. */
  #entries: number
  /** The first group that is there. */
  #first: number
  /** The last one. */
  #last: number
  #walBytes = 0
  #backups = 0
  #reading: Iterator<Saved> | null = null
  #roomCheck: NodeJS.Timeout | null = null
  readonly #history: HistoryTable | null
  readonly opened: Opened

  /** @throws whatever SQLite does where the database is damaged. */
  constructor(options: Parameters<JournalCalls['open']>[0], database: DatabaseSync) {
    checkPages(database)
    removeBackups(options.directory)
    this.#options = options
    this.#database = database
    this.#reserve = new ReserveFile(options.directory)
    this.#instantFile = new InstantFile(options.directory)
    this.#begin = database.prepare('BEGIN')
    this.#commit = database.prepare('COMMIT')
    this.#insertGroup = database.prepare('INSERT INTO journal (sequence, changes) VALUES (?, ?)')
    this.#deleteGroups = database.prepare('DELETE FROM journal WHERE sequence < ?')
    this.#putChunk = database.prepare(
      'INSERT OR REPLACE INTO chunks (number, sequence, records) VALUES (?, ?, ?)',
    )
    this.#putEntry = database.prepare(
      'INSERT INTO entries (name, value, checksum) VALUES (?, ?, ?)',
    )
    this.#deleteEntry = database.prepare('DELETE FROM entries WHERE name = ?')
    const tail = readTail(database)
    this.#first = tail.first
    this.#last = tail.sequence
    this.#chunks = new Set(tail.chunks)
    this.#entries = tail.entries
    this.#history = HistoryTable.open(database, options.history === true)
    const hasRoom = this.#reserve.fill()
    if (!hasRoom) this.#waitForRoom()
    Atomics.store(options.sequence, 0, BigInt(tail.sequence))
    const instant = Math.max(tail.instant, this.#instantFile.read())
    this.opened = { instant, hasRoom }
  }

  read(): Saved[] {
    this.#reading ??= readSaved(this.#database)
    const part: Saved[] = []
    for (let bytes = 0; bytes < READ_BYTES;) {
      const { value, done } = this.#reading.next() as IteratorResult<Saved, undefined>
      if (done === true) {
        if (part.length === 0) this.#reading = null
        break
      }
      part.push(value)
      bytes += value.kind === 'entry' ? value.value.length : recordsOf(value).byteLength
    }
    return part
  }

  /**
   * Commits groups, all at once; where there is no room for all, one after the other. Returns how many found
   * room: once one has found none, those after it would leave a gap, those that come in later too.
   */
  commit(groups: readonly Group[]): number {
    if (groups[0]!.sequence !== this.#last + 1) return 0
    if (groups.length > 1 && this.#hasRoomFor(groups)) return groups.length
    const kept = groups.findIndex((group) => !this.#keeps(group))
    return kept === -1 ? groups.length : kept
  }

  #keeps(group: Group): boolean {
    if (this.#hasRoomFor([group])) return true
    if (this.#spendReserve() && this.#hasRoomFor([group])) return true
    const { records, entries, chunks } = group
    const isOfTime = records.length === 0 && entries.size === 0 && chunks.length === 0
    return (
      isOfTime &&
      findsRoom(() => {
        this.#instantFile.write(group.instant)
      })
    )
  }

  /** Writes groups, if the disk is not full. */
  #hasRoomFor(groups: readonly Group[]): boolean {
    return findsRoom(() => {
      this.#write(groups)
    })
  }

  /** What a commit leaves to be done when it has been answered: nobody need wait for it. */
  tidy(): void {
    if (this.#walBytes > CHECKPOINT_BYTES) this.#checkpoint()
  }

  /** Between its steps commits go on, and become part of it. */
  async backup(): Promise<string> {
    const file = backupFile(this.#options.directory, ++this.#backups)
    try {
      await backup(this.#database, file, { rate: BACKUP_PAGES_AT_A_TIME })
      finishCopy(file)
      return file
    } catch (error) {
      rmSync(file, { force: true })
      throw error
    }
  }

  close(): void {
    if (this.#roomCheck !== null) clearInterval(this.#roomCheck)
    this.#instantFile.close()
    closeDatabase(this.#database, this.#options.directory)
  }

  #write(groups: readonly Group[]): void {
    const counts = { chunks: new Set<number>(), entries: this.#entries, first: this.#first }
    let bytes = 2 * PAGE_BYTES
    this.#begin.run()
    try {
      for (const group of groups) bytes += this.#put(group, counts)
      this.#commit.run()
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
    this.#last = groups.at(-1)!.sequence
    Atomics.store(this.#options.sequence, 0, BigInt(this.#last))
    this.#first = counts.first
    this.#entries = counts.entries
    for (const number of counts.chunks) this.#chunks.add(number)
    this.#walBytes += bytes
  }

  /** Puts a group into the transaction, and what it adds into the counts. Returns how many bytes it has. */
  #put(
    { sequence, instant, records, entries, chunks, history, cut }: Group,
    counts: Counts,
  ): number {
    let bytes = history === null ? 0 : this.#history!.put(history)
    for (const { number, records } of chunks) {
      const chunk = packChunk(number, sequence, records)
      bytes += chunk.length
      this.#putChunk.run(number, sequence, chunk)
      if (!this.#chunks.has(number)) counts.chunks.add(number)
    }
    for (const [name, value] of entries) {
      counts.entries -= Number(this.#deleteEntry.run(name).changes)
      if (value !== null) {
        this.#putEntry.run(name, value, entryChecksum(name, value))
        counts.entries++
      }
      bytes += name.length + (value?.length ?? 0)
    }
    const chunkCount = this.#chunks.size + counts.chunks.size
    const header = { instant, cut, chunks: chunkCount, entries: counts.entries }
    const blob = packGroup(sequence, header, records)
    this.#insertGroup.run(sequence, blob)
    const cutNow = Math.min(cut, counts.first + CUT_AT_A_TIME)
    if (cutNow > counts.first) {
      this.#deleteGroups.run(cutNow)
      counts.first = cutNow
    }
    return bytes + blob.length
  }

  /** Moves what is in the WAL into the database. */
  #checkpoint(): void {
    try {
      this.#database.exec('PRAGMA wal_checkpoint(PASSIVE)')
    } catch (error) {
      // Nothing is lost while it waits in the WAL.
      if (journalError(error).fault !== 'full') throw error
      this.#spendReserve()
    }
    this.#walBytes = 0
  }

  #spendReserve(): boolean {
    const hadRoom = this.#reserve.spend()
    if (hadRoom) tell({ kind: 'room', left: false })
    this.#waitForRoom()
    return hadRoom
  }

  #waitForRoom(): void {
    this.#roomCheck ??= setInterval(() => {
      if (!this.#reserve.fill()) return
      clearInterval(this.#roomCheck!)
      this.#roomCheck = null
      tell({ kind: 'room', left: true })
    }, ROOM_CHECK_MS)
  }
}

/** Writes something. False: the disk is full. */
function findsRoom(write: () => void): boolean {
  try {
    write()
    return true
  } catch (error) {
    if (journalError(error).fault === 'full') return false
    throw error
  }
}

function tell(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer)
}

/** The buffers of what was read go along without being copied. */
function buffersOf(value: unknown): ArrayBuffer[] {
  if (!Array.isArray(value)) return []
  return (value as Saved[]).flatMap((saved) =>
    saved.kind === 'entry' ? [] : [recordsOf(saved).buffer as ArrayBuffer],
  )
}

function recordsOf(saved: Exclude<Saved, { kind: 'entry' }>): Uint32Array {
  return saved.kind === 'history' ? saved.part.records : saved.records
}

let worker: JournalWorker | null = null
let directory = ''
/** After a failure nobody knows what is kept, so that nothing more may be added. */
let failed: JournalError | null = null

/** What goes wrong while data are read is told with the place that they are in. */
function inWords<T>(directory: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw explained(directory, journalError(error))
  }
}

async function answer({ call, argument }: Exclude<ToWorker, Call<'commit'>>): Promise<unknown> {
  if (call === 'open') {
    const database = openDatabase(argument.directory, argument.sync)
    worker = inWords(argument.directory, () => new JournalWorker(argument, database))
    directory = argument.directory
    return worker.opened
  }
  if (failed !== null && call !== 'close') throw failed
  switch (call) {
    case 'read':
      return inWords(directory, () => worker!.read())
    case 'backup':
      return worker!.backup()
    case 'close':
      worker?.close()
      return undefined
  }
}

function fail(ids: number[], { fault, message }: JournalError): void {
  tell({ kind: 'failure', ids, fault, message })
}

function commit(calls: Call<'commit'>[]): void {
  const ids = calls.map(({ id }) => id)
  try {
    if (failed !== null) throw failed
    const kept = worker!.commit(calls.map(({ argument }) => argument))
    if (kept > 0) tell({ kind: 'answer', ids: ids.slice(0, kept), value: undefined })
    if (kept < ids.length) {
      fail(ids.slice(kept), new JournalError('full', 'there is no room on the disk'))
    }
  } catch (error) {
    failed ??= journalError(error)
    fail(ids, failed)
    return
  }
  tidy()
}

/** What was committed is on disk: if this fails, the next commit cannot be. */
function tidy(): void {
  try {
    worker!.tidy()
  } catch (error) {
    failed ??= journalError(error)
  }
}

/** The next message that lies here already. */
function received(): ToWorker | undefined {
  return receiveMessageOnPort(parentPort!)?.message as ToWorker | undefined
}

parentPort!.on('message', (message: ToWorker) => {
  const commits: Call<'commit'>[] = []
  let next: ToWorker | undefined = message
  for (; next?.call === 'commit'; next = received()) commits.push(next)
  if (commits.length > 0) commit(commits)
  if (next === undefined) return
  const ids = [next.id]
  answer(next).then(
    (value) => {
      tell({ kind: 'answer', ids, value }, buffersOf(value))
    },
    (error: unknown) => {
      fail(ids, journalError(error))
    },
  )
})
