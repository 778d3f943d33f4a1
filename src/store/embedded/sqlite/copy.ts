import type { DatabaseSync, StatementSync } from 'node:sqlite'
import {
  type CopiedKey,
  type CopiedPool,
  detailOf,
  RecordMaker,
  slotIn,
} from '../../../engine/copies.ts'
import { entryName } from '../../../engine/details.ts'
import type { SavedHolder } from '../../../engine/holders.ts'
import type { SavedPool } from '../../../engine/pool.ts'
import { MAX_RECORD_WORDS } from '../../../engine/records.ts'
import { TOKENS_A_MS } from '../../../engine/tables.ts'
import type { Copy, CopyTerms, Original } from '../../migration.ts'
import {
  beginUnfinished,
  closeDatabase,
  explained,
  finishDatabase,
  journalError,
  openUnfinished,
} from './database.ts'
import { entryChecksum, packGroup } from './format.ts'
import { EmbeddedOriginal } from './original.ts'

/** A data directory in the making: its journal is written as if one server had made all changes. */
export class EmbeddedCopy implements Copy {
  readonly #directory: string
  readonly #database: DatabaseSync
  // From `begin` on, for there are no tables before.
  #putEntry!: StatementSync
  #putGroup!: StatementSync
  readonly #maker = new RecordMaker()
  /** Numbers of pools by name, and of holders by pool and name. */
  readonly #pools = new Map<string, number>()
  readonly #holders = new Map<string, number>()
  /** Slots for keys whose leases name them. */
  #taken: ReadonlySet<number> = new Set()
  #lastSlot = 0
  #instant = 0
  #sequence = 0
  #entries = 0

  /** @throws JournalError where there are data, or somebody is at work. */
  constructor(directory: string) {
    this.#directory = directory
    this.#database = openUnfinished(directory)
  }

  async begin({ instant, lastToken, documents, slots }: CopyTerms): Promise<void> {
    // Tokens are above it wherever the clock stands here.
    this.#instant = Math.max(instant, Math.floor(lastToken / TOKENS_A_MS) + 1)
    this.#taken = slots
    const database = this.#database
    await this.#done(() => {
      beginUnfinished(database, this.#directory)
      this.#putEntry = database.prepare(
        'INSERT INTO entries (name, value, checksum) VALUES (?, ?, ?)',
      )
      this.#putGroup = database.prepare('INSERT INTO journal (sequence, changes) VALUES (?, ?)')
    })
    await this.#write(() => {
      for (const [name, text] of documents) this.#enter(`document/${name}`, text)
      return new Uint32Array()
    })
  }

  putPool({ name, policy, uid }: CopiedPool): Promise<void> {
    const number = this.#pools.size + 1
    this.#pools.set(name, number)
    return this.#write(() => {
      const saved: SavedPool = {
        number,
        name,
        policy,
        closing: false,
        ...(uid !== null && { uid }),
      }
      this.#enter(`pool/${number}`, JSON.stringify(saved))
      return new Uint32Array()
    })
  }

  putKeys({ name }: CopiedPool, keys: readonly CopiedKey[]): Promise<void> {
    const pool = this.#pools.get(name)!
    return this.#write(() => {
      const records = new Uint32Array(keys.length * MAX_RECORD_WORDS)
      let end = 0
      for (const key of keys) {
        const slot = this.#slotFor(key)
        const holder = this.#holderOf(key, pool)
        end = this.#maker.write(key, { slot, pool, holder }, records, end)
        const detail = detailOf(key)
        if (detail !== null) this.#enter(entryName(slot), JSON.stringify(detail))
        if (key.disabledReason !== null) this.#enter(`reason/${slot}`, key.disabledReason)
      }
      return records.subarray(0, end)
    })
  }

  look(instant: number): Promise<Original> {
    return this.#done(
      () => new EmbeddedOriginal(this.#database, instant, this.#instant, () => undefined),
    )
  }

  finish(): Promise<void> {
    return this.#done(() => {
      finishDatabase(this.#database, this.#directory)
    })
  }

  close(): Promise<void> {
    closeDatabase(this.#database, this.#directory)
    return Promise.resolve()
  }

  #slotFor({ lease }: CopiedKey): number {
    const named = lease === null ? null : slotIn(lease)
    if (named !== null) return named
    do this.#lastSlot++
    while (this.#taken.has(this.#lastSlot))
    return this.#lastSlot
  }

  #holderOf({ lease }: CopiedKey, pool: number): number {
    const name = lease?.holder ?? null
    if (name === null) return 0
    const known = this.#holders.get(`${pool}/${name}`)
    if (known !== undefined) return known
    const number = this.#holders.size + 1
    this.#holders.set(`${pool}/${name}`, number)
    const saved: SavedHolder = { number, pool, name }
    this.#enter(`holder/${number}`, JSON.stringify(saved))
    return number
  }

  #enter(name: string, value: string): void {
    this.#putEntry.run(name, value, entryChecksum(name, value))
    this.#entries++
  }

  /** A group of changes: entries that are entered, and the records that are returned. */
  #write(enter: () => Uint32Array): Promise<void> {
    return this.#done(() => {
      this.#database.exec('BEGIN')
      const records = enter()
      this.#sequence++
      const header = { instant: this.#instant, cut: 1, chunks: 0, entries: this.#entries }
      this.#putGroup.run(this.#sequence, packGroup(this.#sequence, header, records))
      this.#database.exec('COMMIT')
    })
  }

  #done<T>(work: () => T): Promise<T> {
    try {
      return Promise.resolve(work())
    } catch (error) {
      return Promise.reject(explained(this.#directory, journalError(error)))
    }
  }
}
