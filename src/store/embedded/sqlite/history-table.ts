import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { HistoryPart } from '../../../engine/history.ts'
import { HISTORY_SCHEMA, packHistory } from './format.ts'
import { hasHistory } from './read.ts'

/** Records that may go with each group beyond as many as it brings, so that none takes long. */
const CUT_AT_A_TIME = 4096

/** The part of the database that keeps the history: a row for each group, which goes once all of it is too old. */
export class HistoryTable {
  readonly #put: StatementSync
  readonly #cut: StatementSync
  /** Records before that one are gone, if the transaction is committed; else they are cut again. */
  #cutTo: number

  private constructor(database: DatabaseSync) {
    this.#put = database.prepare('INSERT INTO history (last, records) VALUES (?, ?)')
    this.#cut = database.prepare('DELETE FROM history WHERE last < ?')
    const { first } = database.prepare('SELECT min(last) AS first FROM history').get()!
    this.#cutTo = (first as number | null) ?? 0
  }

  /** Makes it where it is missing. Null: none is wanted, and what there was goes. */
  static open(database: DatabaseSync, wanted: boolean): HistoryTable | null {
    if (wanted) {
      if (!hasHistory(database)) database.exec(`BEGIN; ${HISTORY_SCHEMA} COMMIT`)
      return new HistoryTable(database)
    }
    if (hasHistory(database)) database.exec('DROP TABLE history')
    return null
  }

  /** Puts what a group adds into the transaction. Returns how many bytes it has. */
  put(part: HistoryPart): number {
    const blob = packHistory(part)
    this.#put.run(part.last, blob)
    const added = part.last + 1 - part.first
    const cut = Math.min(part.tail, this.#cutTo + CUT_AT_A_TIME + 2 * added)
    if (cut > this.#cutTo) {
      this.#cut.run(cut)
      this.#cutTo = cut
    }
    return blob.length
  }
}
