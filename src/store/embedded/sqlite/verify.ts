import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Engine } from '../../../engine/engine.ts'
import { formatKeyId } from '../../../engine/ids.ts'
import { MAX_SLOTS } from '../../../engine/key-index.ts'
import type { PoolCounts } from '../../../engine/operations.ts'
import { MAX_POOL_NUMBER } from '../../../engine/rows.ts'
import { RecordError } from '../../../engine/records.ts'
import { Recovery } from '../../../engine/recovery.ts'
import { JournalError } from '../journal.ts'
import { checkFormat, closeDatabase, journalError, openDatabase } from './database.ts'
import { DATABASE_FILE } from './format.ts'
import { readSaved, readTail } from './read.ts'

const MAX_SQLITE_FAULTS = 20

/** What was found in a data directory or a backup. */
export interface Verdict {
  /** What is wrong, in words; empty: nothing is. */
  faults: string[]
  pools: { name: string; counts: PoolCounts }[]
  keys: number
  chunks: number
  groups: number
  /** The latest instant on record (ms since the epoch); keys that are dead by then are not counted. */
  instant: number
}

/**
 * Reads all that a data directory holds as a start would, and looks for more than a start does.
 * @throws JournalError where there is nothing that could be read.
 */
export function verifyDirectory(directory: string): Verdict {
  if (!existsSync(join(directory, DATABASE_FILE))) {
    throw new JournalError('inaccessible', `there are no data in ${directory}`)
  }
  const database = openDatabase(directory, true)
  try {
    return verify(database)
  } finally {
    closeDatabase(database, directory)
  }
}

/**
 * The same for a backup, which stays as it is.
 * @throws JournalError where it cannot be read, or is none.
 */
export function verifyFile(file: string): Verdict {
  try {
    const database = new DatabaseSync(file, { readOnly: true })
    try {
      checkFormat(database)
      return verify(database)
    } finally {
      database.close()
    }
  } catch (error) {
    const { fault, message } = journalError(error)
    throw new JournalError(fault, `${file}: ${message}`)
  }
}

function verify(database: DatabaseSync): Verdict {
  const verdict: Verdict = { faults: [], pools: [], keys: 0, chunks: 0, groups: 0, instant: 0 }
  for (const row of database.prepare(`PRAGMA integrity_check(${MAX_SQLITE_FAULTS})`).all()) {
    const fault = String(Object.values(row)[0])
    if (fault !== 'ok') verdict.faults.push(`SQLite: ${fault}`)
  }
  try {
    verdict.instant = readTail(database).instant
    const engine = largestEngine()
    const recovery = new Recovery(engine)
    readAll(database, recovery, verdict)
    recovery.build(verdict.instant, Infinity)
    compare(engine, recovery.slots, verdict)
  } catch (error) {
    const known = error instanceof RecordError || error instanceof JournalError
    const readable = !known && journalError(error).fault === 'damaged'
    if (!known && !readable) throw error
    verdict.faults.push((error as Error).message)
  }
  return verdict
}

function readAll(database: DatabaseSync, recovery: Recovery, verdict: Verdict): void {
  for (const saved of readSaved(database)) {
    if (saved.kind === 'entry') recovery.readEntry(saved.name, saved.value)
    else if (saved.kind === 'history') recovery.readHistory(saved.part)
    else recovery.readRecords(saved.records)
    if (saved.kind === 'chunk') verdict.chunks++
    if (saved.kind === 'group') verdict.groups++
  }
}

/** Whether rows, index and counts tell the same. */
function compare(engine: Engine, slots: number, verdict: Verdict): void {
  const { rows, index, stateCounts } = engine.tables
  const id = new Uint32Array(4)
  const recount = [0, 0, 0, 0]
  for (let slot = 1; slot <= slots; slot++) {
    if (!rows.isLive(slot)) continue
    verdict.keys++
    recount[rows.state(slot)]!++
    for (let word = 0; word < 4; word++) id[word] = rows.idWord(slot, word)
    if (index.find(id) !== slot) {
      verdict.faults.push(`key ${formatKeyId(rows, slot).slice(0, 8)}… is there twice`)
    }
  }
  if (recount.join() !== stateCounts.join()) {
    verdict.faults.push(`the counts by state are ${stateCounts.join()}, not ${recount.join()}`)
  }
  for (const name of engine.poolNames()) {
    verdict.pools.push({ name, counts: engine.settledCounts(name)! })
  }
}

/** As large as the system allows: what was saved may be of a server that had more memory. */
function largestEngine(): Engine {
  const noRandom = { uint32: () => 0 }
  for (let maxTotalKeys = MAX_SLOTS; ; maxTotalKeys = Math.floor(maxTotalKeys / 2)) {
    try {
      return new Engine({ maxTotalKeys, maxPools: MAX_POOL_NUMBER }, noRandom)
    } catch (error) {
      if (!(error instanceof RangeError) || maxTotalKeys < 1) throw error
    }
  }
}
