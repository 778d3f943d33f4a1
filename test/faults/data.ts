/** Data directories made in this process, and what a store says of one. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, SystemClock } from '../../src/clock.ts'
import { Engine } from '../../src/engine/engine.ts'
import { type Answers, isRefusal, type Operation } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, MAX_DURATION_MS, type Policy } from '../../src/engine/policy.ts'
import { writeRecords } from '../../src/engine/records.ts'
import type { Random } from '../../src/engine/random.ts'
import { Recovery } from '../../src/engine/recovery.ts'
import { SystemRandom } from '../../src/random.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Chunk } from '../../src/store/embedded/journal.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'

export const DATABASE = 'state.db'
export const LIMITS = { maxTotalKeys: 20_000, maxPools: 10 }
/** Slots of a chunk, as the store cuts them (src/store/embedded/chunks.ts). */
const CHUNK_SLOTS = 1024
const PAGE = 1000

/** Nothing in it ends by itself while a test looks at it. */
export const LASTING: Policy = {
  ...DEFAULT_POLICY,
  keyLifetimeMs: null,
  leaseTtlMs: MAX_DURATION_MS,
  maxLeaseTtlMs: MAX_DURATION_MS,
}

/** A store in this process on a data directory. `await using` closes it. */
export class LocalStore implements AsyncDisposable {
  readonly store: EmbeddedStore

  private constructor(store: EmbeddedStore) {
    this.store = store
  }

  /** @throws JournalError */
  static async open(
    directory: string,
    clock: Clock = new SystemClock(),
    random: Random = new SystemRandom(),
  ): Promise<LocalStore> {
    const events = { wakeAt: () => undefined }
    return new LocalStore(
      await EmbeddedStore.open(LIMITS, clock, random, events, (events) =>
        SqliteJournal.open({ directory, sync: false }, events),
      ),
    )
  }

  async do<O extends Operation>(pool: string, operation: O): Promise<Answers[O['op']]> {
    const [result] = await this.store.run(pool, [operation])
    assert(!isRefusal(result), `${operation.op}: ${JSON.stringify(result)}`)
    return result
  }

  /** All keys of the pools and their policies, and what these leases are. */
  async tell(pools: string[], leaseIds: string[] = []): Promise<Told> {
    const told: Told = { pools: {}, leases: [] }
    for (const pool of pools) {
      const policy = (await this.store.policy(pool)) ?? null
      const keys: Answers['list']['keys'] = []
      for (
        let cursor: string | null = null, first = true;
        first || cursor !== null;
        first = false
      ) {
        const page: Answers['list'] = await this.do(pool, {
          op: 'list',
          limit: PAGE,
          ...(cursor === null ? {} : { cursor }),
        })
        keys.push(...page.keys)
        cursor = page.nextCursor
      }
      told.pools[pool] = { policy, keys }
    }
    for (const leaseId of leaseIds) {
      told.leases.push(await this.#leaseIn(pools, leaseId))
    }
    return told
  }

  /** What the pool says that knows most of it. */
  async #leaseIn(pools: string[], leaseId: string): Promise<unknown> {
    let told: unknown
    for (const pool of pools) {
      const [result] = await this.store.run(pool, [{ op: 'showLease', leaseId }])
      if (told === undefined || !isRefusal(result) || result.code !== 'lease_not_found')
        told = result
    }
    return told
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close()
  }
}

export interface Told {
  pools: Record<string, { policy: Policy | null; keys: Answers['list']['keys'] }>
  leases: unknown[]
}

/**
 * Writes the whole state into chunks, and cuts off the groups that they make needless, as a server does
 * once its journal is large.
 */
export async function writeChunks(directory: string): Promise<number> {
  const journal = await SqliteJournal.open({ directory, sync: false }, { room: () => undefined })
  try {
    const engine = new Engine(LIMITS, new SystemRandom())
    const recovery = new Recovery(engine)
    for await (const saved of journal.read()) {
      if (saved.kind === 'entry') recovery.readEntry(saved.name, saved.value)
      else if (saved.kind !== 'history') recovery.readRecords(saved.records)
    }
    const chunks: Chunk[] = []
    for (let first = 0; first <= recovery.slots; first += CHUNK_SLOTS) {
      const end = Math.min(first + CHUNK_SLOTS, recovery.slots + 1)
      const slots = Array.from({ length: end - first }, (_, at) => first + at).filter(Boolean)
      const records = writeRecords(engine.tables, slots)
      chunks.push({ number: first / CHUNK_SLOTS, records })
    }
    const sequence = journal.sequence + 1
    await journal.commit({
      sequence,
      instant: journal.instant,
      records: new Uint32Array(0),
      entries: new Map(),
      chunks,
      history: null,
      cut: sequence,
    })
    return chunks.length
  } finally {
    await journal.close()
  }
}

/** Makes the directory hold that database and nothing that was left by another one. */
export function putDatabase(directory: string, bytes: Uint8Array): void {
  for (const rest of ['-wal', '-journal', '-shm']) {
    rmSync(join(directory, DATABASE + rest), { force: true })
  }
  writeFileSync(join(directory, DATABASE), bytes)
}
