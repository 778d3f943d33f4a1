/** The thread that owns the database. It does what it is asked for, one after the other. */
import { rmSync } from 'node:fs'
import { backup, type DatabaseSync, type StatementSync } from 'node:sqlite'
import { parentPort } from 'node:worker_threads'
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
import { ReserveFile } from './reserve-file.ts'

export interface JournalOptions {
  directory: string
  /** Whether a commit waits for the disk; without, it waits for the operating system only. */
  sync: boolean
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

export type ToWorker = {
  [C in keyof JournalCalls]: { id: number; call: C; argument: Parameters<JournalCalls[C]>[0] }
}[keyof JournalCalls]

export type FromWorker =
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; fault: JournalFault; message: string }
  | { kind: 'room'; left: boolean }

const READ_BYTES = 4 * 2 ** 20
/** Written pages that wait in the WAL until they are moved into the database, about. */
const CHECKPOINT_BYTES = 16 * 2 ** 20
/** Groups that are cut off with one commit, so that none takes long. */
const CUT_AT_A_TIME = 64
const ROOM_CHECK_MS = 250
const BACKUP_PAGES_AT_A_TIME = 256

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
  #walBytes = 0
  #backups = 0
  #reading: Iterator<Saved> | null = null
  #roomCheck: NodeJS.Timeout | null = null
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
    this.#chunks = new Set(tail.chunks)
    this.#entries = tail.entries
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
      bytes += value.kind === 'entry' ? value.value.length : value.records.byteLength
    }
    return part
  }

  commit(group: Group): void {
    if (this.#hasRoomFor(group)) return
    if (this.#spendReserve() && this.#hasRoomFor(group)) return
    const { records, entries, chunks } = group
    const isOfTime = records.length === 0 && entries.size === 0 && chunks.length === 0
    if (!isOfTime) throw new JournalError('full', 'there is no room on the disk')
    this.#instantFile.write(group.instant)
  }

  /** Writes a group, if the disk is not full. */
  #hasRoomFor(group: Group): boolean {
    try {
      this.#write(group)
      return true
    } catch (error) {
      if (journalError(error).fault === 'full') return false
      throw error
    }
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

  #write(group: Group): void {
    const { sequence, instant, entries, records } = group
    const newChunks = group.chunks.filter(({ number }) => !this.#chunks.has(number))
    const cut = Math.min(group.cut, this.#first + CUT_AT_A_TIME)
    const chunkCount = this.#chunks.size + newChunks.length
    let entryCount = this.#entries
    let bytes = 0
    this.#begin.run()
    try {
      for (const { number, records } of group.chunks) {
        const chunk = packChunk(number, sequence, records)
        bytes += chunk.length
        this.#putChunk.run(number, sequence, chunk)
      }
      for (const [name, value] of entries) {
        entryCount -= Number(this.#deleteEntry.run(name).changes)
        if (value !== null) {
          this.#putEntry.run(name, value, entryChecksum(name, value))
          entryCount++
        }
        bytes += name.length + (value?.length ?? 0)
      }
      const header = { instant, cut: group.cut, chunks: chunkCount, entries: entryCount }
      const blob = packGroup(sequence, header, records)
      bytes += blob.length
      this.#insertGroup.run(sequence, blob)
      if (cut > this.#first) this.#deleteGroups.run(cut)
      this.#commit.run()
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
    Atomics.store(this.#options.sequence, 0, BigInt(sequence))
    this.#first = Math.max(this.#first, cut)
    this.#entries = entryCount
    for (const { number } of newChunks) this.#chunks.add(number)
    this.#walBytes += bytes + 2 * PAGE_BYTES
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

function tell(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer)
}

/** The buffers of what was read go along without being copied. */
function buffersOf(value: unknown): ArrayBuffer[] {
  if (!Array.isArray(value)) return []
  return (value as Saved[]).flatMap((saved) =>
    saved.kind === 'entry' ? [] : [saved.records.buffer as ArrayBuffer],
  )
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

async function answer({ call, argument }: ToWorker): Promise<unknown> {
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
    case 'commit':
      worker!.commit(argument)
      return undefined
    case 'backup':
      return worker!.backup()
    case 'close':
      worker?.close()
      return undefined
  }
}

/** The commit before it is on disk: if this fails, the next one cannot be. */
function tidy(): void {
  try {
    worker!.tidy()
  } catch (error) {
    failed ??= journalError(error)
  }
}

parentPort!.on('message', (message: ToWorker) => {
  const { id } = message
  answer(message).then(
    (value) => {
      tell({ kind: 'answer', id, value }, buffersOf(value))
      if (message.call === 'commit') tidy()
    },
    (error: unknown) => {
      const { fault, message: text } = journalError(error)
      if (message.call === 'commit' && fault !== 'full') failed ??= new JournalError(fault, text)
      tell({ kind: 'failure', id, fault, message: text })
    },
  )
})
