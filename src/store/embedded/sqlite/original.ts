import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { type CopiedKey, type CopiedPool, copyOf } from '../../../engine/copies.ts'
import { Engine } from '../../../engine/engine.ts'
import type { Pool } from '../../../engine/pool.ts'
import { MAX_POOL_NUMBER, State } from '../../../engine/rows.ts'
import { lastSlotOf, RecordError } from '../../../engine/records.ts'
import { Recovery } from '../../../engine/recovery.ts'
import { type TableLimits, TOKENS_A_MS } from '../../../engine/tables.ts'
import type { Original } from '../../migration.ts'
import { JournalError } from '../journal.ts'
import { checkPages, closeDatabase, explained, journalError, openDatabase } from './database.ts'
import { DATABASE_FILE } from './format.ts'
import { InstantFile } from './instant-file.ts'
import { readSaved, readTail } from './read.ts'

const KEYS_A_PAGE = 200

/** A data directory as it is to be copied, in memory as a server would have it. */
export class EmbeddedOriginal implements Original {
  readonly instant: number
  readonly lastToken: number
  readonly #engine: Engine
  readonly #pools: ReadonlyMap<string, Pool>
  readonly #close: () => void

  /**
   * @param recorded the latest instant that it knows of: nobody can have been given a token of a later one.
   * @throws JournalError where it is damaged.
   */
  constructor(database: DatabaseSync, instant: number, recorded: number, close: () => void) {
    this.instant = instant
    this.#engine = readEngine(database, instant)
    const lastThen = (recorded + 1) * TOKENS_A_MS - 1
    this.lastToken = Math.max(this.#engine.tables.lastToken, lastThen)
    this.#pools = new Map(this.#engine.pools(Infinity, 0).pools.map((pool) => [pool.name, pool]))
    this.#close = close
  }

  /**
   * Keeps servers away until it is closed.
   * @throws JournalError where there are no data, a server is at work, or what is there is damaged.
   */
  static open(directory: string, now: number): EmbeddedOriginal {
    if (!existsSync(join(directory, DATABASE_FILE))) {
      throw new JournalError('inaccessible', `there are no data in ${directory}`)
    }
    const database = openDatabase(directory, true)
    const close = (): void => {
      closeDatabase(database, directory)
    }
    try {
      checkPages(database)
      const recorded = Math.max(readTail(database).instant, lastInstant(directory))
      return new EmbeddedOriginal(database, Math.max(now, recorded), recorded, close)
    } catch (error) {
      close()
      throw explained(directory, journalError(error))
    }
  }

  documents(): Promise<ReadonlyMap<string, string>> {
    return Promise.resolve(this.#engine.tables.documents)
  }

  holdsValues(): Promise<boolean> {
    return Promise.resolve(this.#engine.tables.details.values > 0)
  }

  pools(): Promise<CopiedPool[]> {
    const { uids } = this.#engine.tables
    const pools = [...this.#pools.values()].map(({ name, policy, number }) => ({
      ...{ name, policy },
      uid: uids.get(number) ?? null,
    }))
    return Promise.resolve(pools)
  }

  size({ name }: CopiedPool): Promise<number> {
    return Promise.resolve(this.#pools.get(name)!.sets.size)
  }

  async *keys({ name }: CopiedPool): AsyncIterable<readonly CopiedKey[]> {
    const { sets } = this.#pools.get(name)!
    for (let rank = 0; rank < sets.size; rank += KEYS_A_PAGE) {
      const length = Math.min(KEYS_A_PAGE, sets.size - rank)
      yield await Promise.resolve(
        Array.from({ length }, (_, at) => copyOf(this.#engine.tables, sets.atRank(rank + at))),
      )
    }
  }

  slots(): Promise<ReadonlySet<number>> {
    const { rows } = this.#engine.tables
    const slots = new Set<number>()
    for (const { sets } of this.#pools.values()) {
      for (let index = 0; index < sets.count(State.leased); index++) {
        const slot = sets.at(State.leased, index)
        if (!rows.isMoved(slot)) slots.add(slot)
      }
    }
    return Promise.resolve(slots)
  }

  /** Nobody can be. */
  servedAt(): Promise<null> {
    return Promise.resolve(null)
  }

  close(): Promise<void> {
    this.#close()
    return Promise.resolve()
  }
}

function readEngine(database: DatabaseSync, instant: number): Engine {
  try {
    const engine = new Engine(limitsOf(database), { uint32: () => 0 })
    const recovery = new Recovery(engine)
    for (const saved of readSaved(database)) {
      if (saved.kind === 'entry') recovery.readEntry(saved.name, saved.value)
      else if (saved.kind !== 'history') recovery.readRecords(saved.records)
    }
    recovery.build(instant, Infinity)
    return engine
  } catch (error) {
    if (error instanceof RecordError) throw new JournalError('damaged', error.message)
    throw error
  }
}

/** Room for what is there and no more: a process that has reserved it for several of the largest can start no other. */
function limitsOf(database: DatabaseSync): TableLimits {
  let maxTotalKeys = 1
  for (const saved of readSaved(database)) {
    if (saved.kind === 'chunk' || saved.kind === 'group')
      maxTotalKeys = Math.max(maxTotalKeys, lastSlotOf(saved.records))
  }
  return { maxTotalKeys, maxPools: MAX_POOL_NUMBER }
}

function lastInstant(directory: string): number {
  const file = new InstantFile(directory)
  try {
    return file.read()
  } finally {
    file.close()
  }
}
