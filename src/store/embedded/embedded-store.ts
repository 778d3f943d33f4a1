import type { Clock } from '../../clock.ts'
import { CHANGE_NAMES, type Change, ChangeKind, type ChangeName } from '../../engine/changes.ts'
import { Engine, Run } from '../../engine/engine.ts'
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import type { FoundLease, Operation, Results } from '../../engine/operations.ts'
import type { Policy } from '../../engine/policy.ts'
import { UNSETTLED } from '../../engine/pool.ts'
import type { Random } from '../../engine/random.ts'
import { NEVER } from '../../engine/rows.ts'
import type { TableLimits } from '../../engine/tables.ts'
import { Unsaved } from '../../engine/unsaved.ts'
import {
  type PoolPage,
  type Store,
  type StoreEvents,
  StoreFailure,
  type StoreStats,
} from '../store.ts'
import { GroupCommit, storeFailure } from './group-commit.ts'
import type { Journal, JournalEvents } from './journal.ts'
import { recover } from './recover.ts'

/** Keys settled between two looks at the stopwatch. */
const KEYS_A_LOOK = 64
/** How long is settled for those who wait for it before others go first. */
const TURN_MS = 0.5

/** The engine in this process, and the journal from which the next process goes on, if there is one. */
export class EmbeddedStore implements Store {
  readonly #limits: TableLimits
  readonly #clock: Clock
  readonly #random: Random
  readonly #events: StoreEvents
  #engine: Engine
  #journal: Journal | null = null
  #commits: GroupCommit | null = null
  /** The state is being read anew, since a group could not be committed. */
  #reloading: Promise<void> | null = null
  #hasRoom = true
  /** The instant that was last announced by `wakeAt`, unless it has come. */
  #announced = NEVER
  /** Not told yet, and in no group yet. */
  #changes: Change[] = []
  #nextTurn: Promise<void> | null = null

  private constructor(limits: TableLimits, clock: Clock, random: Random, events: StoreEvents) {
    this.#limits = limits
    this.#clock = clock
    this.#random = random
    this.#events = events
    this.#engine = this.#newEngine()
  }

  /**
   * A store that ends with the process.
   * @throws RangeError where the operating system refuses to reserve room for that many keys.
   */
  static inMemory(
    limits: TableLimits,
    clock: Clock,
    random: Random,
    events: StoreEvents,
  ): EmbeddedStore {
    const store = new EmbeddedStore(limits, clock, random, events)
    store.#engine.tables.history?.begin(clock.now())
    return store
  }

  /**
   * A store that goes on where the journal ends. From here on the clock is not behind it.
   * @throws RangeError where the operating system refuses to reserve room for that many keys.
   * @throws JournalError where the journal cannot be opened or read, or holds more than the limits allow.
   */
  static async open(
    limits: TableLimits,
    clock: Clock,
    random: Random,
    events: StoreEvents,
    openJournal: (events: JournalEvents) => Promise<Journal>,
  ): Promise<EmbeddedStore> {
    const store = new EmbeddedStore(limits, clock, random, events)
    store.#journal = await openJournal({
      room: (left) => {
        store.#setRoom(left)
      },
    })
    try {
      await store.#recover(store.#journal)
    } catch (error) {
      await store.#journal.close()
      throw error
    }
    return store
  }

  async run<const O extends readonly Operation[]>(
    pool: string,
    operations: O,
  ): Promise<Results<O>> {
    if (this.#reloading !== null) await this.#reloading
    const run = new Run(pool, operations)
    const engine = this.#engine
    while (!engine.run(run, this.#clock.now())) {
      await this.#turn()
      if (engine !== this.#engine) throw new StoreFailure('storage_full')
    }
    const saved = this.#announce()
    if (saved !== null) await saved
    return run.results as Results<O>
  }

  async putPool(name: string, policy: Policy): Promise<'created' | 'replaced' | Refusal> {
    for (;;) {
      if (this.#reloading !== null) await this.#reloading
      const result = this.#engine.putPool(name, policy)
      if (result !== UNSETTLED) {
        await this.#announce()
        return result
      }
      await this.#turn()
    }
  }

  async patchPool(name: string, changes: Partial<Policy>): Promise<Policy | Refusal> {
    if (this.#reloading !== null) await this.#reloading
    const before = this.#engine.policy(name)
    const policy = { ...before!, ...changes }
    const put = before === undefined ? REFUSED.pool_not_found : this.#engine.putPool(name, policy)
    await this.#announce()
    return typeof put === 'object' ? put : policy
  }

  async removePool(
    name: string,
    how: { force?: boolean; again?: boolean },
  ): Promise<Refusal | null> {
    if (this.#reloading !== null) await this.#reloading
    for (;;) {
      const result = this.#engine.removePool(name, how, this.#clock.now())
      if (result !== UNSETTLED) {
        await this.#announce()
        return result
      }
      await this.#turn()
    }
  }

  async pools(limit: number, cursor = '0'): Promise<PoolPage | Refusal> {
    if (this.#reloading !== null) await this.#reloading
    if (!/^\d{1,7}$/.test(cursor)) return REFUSED.invalid_cursor
    const { pools, nextCursor } = this.#engine.pools(limit, Number(cursor))
    const page = pools.map(({ name, policy }) => ({ name, policy }))
    await this.#announce()
    return { pools: page, nextCursor: nextCursor === null ? null : String(nextCursor) }
  }

  async policy(name: string): Promise<Policy | undefined> {
    if (this.#reloading !== null) await this.#reloading
    const policy = this.#engine.policy(name)
    await this.#announce()
    return policy
  }

  async find(digest: string, keyId: string): Promise<FoundLease[]> {
    if (this.#reloading !== null) await this.#reloading
    const found = this.#engine.find(digest, keyId, this.#clock.now())
    await this.#announce()
    return found
  }

  async holdsValues(): Promise<boolean> {
    if (this.#reloading !== null) await this.#reloading
    return this.#engine.tables.details.values > 0
  }

  async documents(): Promise<ReadonlyMap<string, string>> {
    if (this.#reloading !== null) await this.#reloading
    const documents = new Map(this.#engine.tables.documents)
    await this.#announce()
    return documents
  }

  async putDocument(name: string, text: string | null): Promise<Refusal | null> {
    if (this.#reloading !== null) await this.#reloading
    const refusal = this.#engine.putDocument(name, text)
    await this.#announce()
    return refusal
  }

  async replaceDocument(name: string, before: string | null, text: string): Promise<boolean> {
    if (this.#reloading !== null) await this.#reloading
    if ((this.#engine.tables.documents.get(name) ?? null) !== before) return false
    const refusal = this.#engine.putDocument(name, text)
    await this.#announce()
    if (refusal !== null) throw new StoreFailure('storage_full')
    return true
  }

  async settle(budgetMs: number): Promise<void> {
    if (this.#reloading !== null) return
    this.#announced = NEVER
    this.#settleFor(budgetMs)
    await this.#announce()?.catch(() => undefined) // then the answers that wait for it fail
  }

  /** There are no others. */
  watch(): () => void {
    return () => undefined
  }

  async stats(pools: number): Promise<StoreStats> {
    if (this.#reloading !== null) await this.#reloading
    while (this.#engine.nextDue <= this.#clock.now()) await this.#turn()
    const { tables } = this.#engine
    const [disabled, cooling, leased, available] = this.#engine.stateCounts()
    const named = this.#engine.poolNames().take(pools)
    const stats = {
      keys: { available: available!, leased: leased!, cooling: cooling!, disabled: disabled! },
      poolCount: this.#engine.poolCount,
      pools: [...named.map((name) => ({ name, counts: this.#engine.settledCounts(name)! }))],
      changes: namedCounts(tables.changeCounts),
      bytes: tables.bytes,
    }
    await this.#announce()
    return stats
  }

  async backup(): Promise<string> {
    if (this.#journal === null) throw new StoreFailure('not_durable')
    try {
      return await this.#journal.backup()
    } catch (error) {
      throw storeFailure(error)
    }
  }

  async close(): Promise<void> {
    await this.#reloading
    await this.#commits?.saved()?.catch(() => undefined)
    await this.#reloading // the last group may have found no room
    await this.#journal?.close()
  }

  #newEngine(): Engine {
    const engine = new Engine(this.#limits, this.#random)
    engine.tables.onAvailable = this.#events.available ?? null
    if (this.#events.changed !== undefined) {
      engine.tables.onChange = (change) => this.#changes.push(change)
      if (this.#events.isHeard !== undefined) engine.tables.isHeard = this.#events.isHeard
    }
    return engine
  }

  async #recover(journal: Journal): Promise<void> {
    this.#clock.startFrom(journal.instant)
    const { tables } = this.#engine
    const unsaved = new Unsaved(tables.rows)
    tables.unsaved = unsaved
    const chunks = await recover(this.#engine, journal, this.#clock, this.#events)
    tables.history?.begin(this.#clock.now())
    this.#commits = new GroupCommit(tables, unsaved, chunks, journal, this.#clock, {
      closed: () => {
        const changes = this.#changes
        this.#changes = []
        return () => {
          this.#tell(changes)
          void this.#announce() // what time has done since may be on record already
        }
      },
      failed: (failure) => {
        if (failure.code === 'storage_full') this.#reload(journal)
        else this.#events.failed?.(failure)
      },
    })
    this.#engine.frozen = this.#hasRoom ? null : REFUSED.storage_full
    this.#announced = NEVER
    this.#announceDue()
  }

  /** What is in memory has not been saved and never will be: goes back to what is. */
  #reload(journal: Journal): void {
    this.#changes = []
    this.#engine = this.#newEngine()
    this.#reloading = this.#recover(journal).then(
      () => {
        this.#reloading = null
      },
      (cause: unknown) => {
        this.#events.failed?.(new StoreFailure('storage_failed', cause))
      },
    )
  }

  #setRoom(left: boolean): void {
    this.#hasRoom = left
    this.#engine.frozen = left ? null : REFUSED.storage_full
    this.#events.health?.(left ? 'ok' : 'storage_full')
    this.#announceDue() // pools are drained again
  }

  /** Settles for a while when others have had their turn. All who wait share it: many cost no more than one. */
  #turn(): Promise<void> {
    this.#nextTurn ??= this.#clock.yield().then(() => {
      this.#nextTurn = null
      if (this.#reloading !== null) return this.#reloading // what is half read says nothing true
      this.#settleFor(TURN_MS)
      return undefined
    })
    return this.#nextTurn
  }

  #settleFor(budgetMs: number): void {
    const deadline = this.#clock.elapsedMs() + budgetMs
    while (this.#engine.settle(this.#clock.now(), KEYS_A_LOOK) === KEYS_A_LOOK) {
      if (this.#clock.elapsedMs() >= deadline) return
    }
  }

  /**
   * Tells what has happened, and when to settle next. What has been seen may be told to a caller once the
   * promise resolves; null: at once.
   */
  #announce(): Promise<void> | null {
    this.#announceDue()
    const saved = this.#commits?.saved() ?? null
    if (saved === null && this.#changes.length > 0) {
      const changes = this.#changes
      this.#changes = []
      this.#tell(changes)
    }
    return saved
  }

  /** Says when to settle next, if that is earlier than was said. */
  #announceDue(): void {
    const due = this.#engine.nextDue
    if (due >= this.#announced) return
    this.#announced = due
    this.#events.wakeAt(due)
  }

  #tell(changes: Change[]): void {
    if (changes.length > 0) this.#events.changed!(changes)
  }
}

function namedCounts(counts: number[]): Record<ChangeName, number> {
  const entries = CHANGE_NAMES.map((name) => [name, counts[ChangeKind[name]]!])
  return Object.fromEntries(entries) as Record<ChangeName, number>
}
