import type { Clock } from '../../clock.ts'
import { CHANGE_NAMES, type ChangeName } from '../../engine/changes.ts'
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import type { HistoryLimits } from '../../engine/history.ts'
import type { FoundLease, Operation, PoolCounts, Results } from '../../engine/operations.ts'
import { type Policy, POOL_NAME } from '../../engine/policy.ts'
import type { Random } from '../../engine/random.ts'
import { NEVER } from '../../engine/rows.ts'
import {
  type Health,
  type PoolPage,
  type Store,
  type StoreEvents,
  StoreFailure,
  type StoreStats,
} from '../store.ts'
import { AllPools } from './all-pools.ts'
import { AllShards } from './all-shards.ts'
import type { Connection } from './connection.ts'
import { type Due, type Known, KnownPools } from './known-pools.ts'
import { type Layout, shardOfKey, tagsOf } from './layout.ts'
import { lookBack } from './past.ts'
import { type Entry, Registry } from './registry.ts'
import { Relay } from './relay.ts'
import { Run } from './run.ts'
import { PULSE, PUT_DOCUMENT } from './scripts.ts'
import { type Answer, Shard } from './shard.ts'
import { Spread } from './spread.ts'
import { Watches } from './watches.ts'

const PULSE_MS = 1000
const PULSE_TERMS = { onlyReads: true, patienceMs: PULSE_MS }
/** Waiters ask for themselves as well, for messages may be lost. */
const PULSES_A_LOOK = 2
/** Pools that are settled at a time. */
const POOLS_AT_A_TIME = 16
/** After a failure to settle. */
const TRY_AGAIN_MS = 1000

export interface RedisStoreOptions {
  connection: Connection
  layout: Layout
  maxPools: number
  clock: Clock
  random: Random
  /** Told what Redis's clock shows; null: all goes by the time of `clock`, in tests. */
  follow: ((instant: number) => void) | null
  /** What all servers keep from now on; null: nothing. Undefined: as it is in Redis. */
  history?: HistoryLimits | null | undefined
}

/** The same rules inside Redis, for any number of processes, which know of each other by it only. */
export class RedisStore implements Store {
  readonly #connection: Connection
  readonly #layout: Layout
  readonly #clock: Clock
  readonly #random: Random
  readonly #follow: RedisStoreOptions['follow']
  readonly #history: RedisStoreOptions['history']
  readonly #events: StoreEvents
  readonly #registry: Registry
  readonly #watches: Watches
  readonly #relay: Relay
  readonly #known: KnownPools
  readonly #all: AllPools
  /** The instant that was last announced by `wakeAt`, unless it has come. */
  #announced = NEVER
  readonly #changes = Object.fromEntries(CHANGE_NAMES.map((name) => [name, 0])) as Record<
    ChangeName,
    number
  >
  #health: Health = 'ok'
  /** How often documents had changed when it was last looked. */
  #documentsVersion = 0
  #pulses = 0
  #stopPulse = (): void => undefined
  #closed = false

  constructor(
    { connection, layout, maxPools, clock, random, follow, history }: RedisStoreOptions,
    events: StoreEvents,
  ) {
    this.#connection = connection
    this.#layout = layout
    this.#clock = clock
    this.#random = random
    this.#follow = follow
    this.#events = events
    this.#history = history
    const now = (): number | null => (follow === null ? clock.now() : null)
    this.#registry = new Registry(connection, layout, maxPools, now)
    this.#watches = new Watches(connection.links, layout, this.#registry, (pool) => {
      this.#events.available?.(pool)
    })
    this.#relay = new Relay(connection, layout, clock, random, events)
    this.#known = new KnownPools(maxPools, clock)
    const run = (entry: Entry, run: Run): Promise<boolean> => this.#runIn(this.#know(entry), run)
    const shardsOf = (entry: Entry): readonly Shard[] => this.#know(entry).shards
    this.#all = new AllPools({
      registry: this.#registry,
      connection,
      layout,
      random,
      run,
      shardsOf,
    })
  }

  /** From now on it looks after all pools, and tells how Redis is. */
  async start(): Promise<void> {
    await this.#pulse()
    if (this.#history !== undefined) await this.#registry.putHistory(this.#history)
    for (const entry of await this.#registry.all()) this.#known.mayBeDue(this.#know(entry), 0)
    this.#announceDue()
  }

  async run<const O extends readonly Operation[]>(
    pool: string,
    operations: O,
  ): Promise<Results<O>> {
    const run = new Run(operations, this.#random)
    let entry = await this.#registry.find(pool)
    while (!run.isDone) {
      if (entry === null) {
        run.move(false)
        break
      }
      const { uid } = entry
      const known = this.#know(entry)
      if (!(await this.#watched(this.#runIn(known, run)))) {
        this.#noteWaits(known, run)
        break
      }
      this.#known.forget(uid)
      entry = await this.#registry.read(pool)
      const isAnother = entry !== null && entry.uid !== uid
      run.move(isAnother && (run.isNew || entry!.emptied === uid))
    }
    if (entry?.emptied !== undefined) {
      const { shards } = entry.policy
      const shardOf = (uid: number, keyId: string): Shard =>
        this.#shardOf(uid, shardOfKey(keyId, shards), tagsOf(uid, shards), () => undefined)
      const { results } = run
      await this.#watched(lookBack(operations, results, entry.emptied, this.#random, shardOf))
    }
    return run.results as Results<O>
  }

  async putPool(name: string, policy: Policy): Promise<'created' | 'replaced' | Refusal> {
    const put = await this.#watched(this.#registry.put(name, () => policy))
    if (put === 'absent') throw new Error('a pool was put and not put')
    if (typeof put === 'string') this.#relay.poolChanged(name, 'policy')
    return put
  }

  async patchPool(name: string, changes: Partial<Policy>): Promise<Policy | Refusal> {
    const policies: Policy[] = []
    const put = await this.#watched(
      this.#registry.put(name, (before) => {
        if (before === null) return null
        const policy = { ...before, ...changes }
        policies.push(policy)
        return policy
      }),
    )
    if (typeof put === 'object') return put
    if (put !== 'absent') this.#relay.poolChanged(name, 'policy')
    return policies.at(-1) ?? REFUSED.pool_not_found
  }

  async removePool(
    name: string,
    { force = false, again = false }: { force?: boolean; again?: boolean },
  ): Promise<Refusal | null> {
    for (;;) {
      const entry = await this.#watched(this.#registry.read(name))
      if (entry === null) return REFUSED.pool_not_found
      if (!force) {
        const counts = await this.#watched(this.#all.countsOf(entry))
        if (counts !== null && keysIn(counts) > 0) return REFUSED.pool_not_empty
        if (again) return null
      }
      const isDone = await this.#watched(
        again ? this.#registry.renew(entry) : this.#registry.remove(entry, force),
      )
      if (isDone) {
        this.#known.forget(entry.uid)
        this.#relay.poolChanged(name, again ? 'emptied' : 'gone')
        return null
      }
    }
  }

  async policy(name: string): Promise<Policy | undefined> {
    return (await this.#watched(this.#registry.read(name)))?.policy
  }

  async pools(limit: number, cursor?: string): Promise<PoolPage | Refusal> {
    if (cursor !== undefined && !POOL_NAME.test(cursor)) return REFUSED.invalid_cursor
    const entries = await this.#watched(this.#registry.page(limit + 1, cursor ?? null))
    const page = entries.slice(0, limit)
    const nextCursor = entries.length > limit ? page.at(-1)!.name : null
    return { pools: page.map(({ name, policy }) => ({ name, policy })), nextCursor }
  }

  find(digest: string, keyId: string): Promise<FoundLease[]> {
    return this.#watched(this.#all.find(digest, keyId))
  }

  holdsValues(): Promise<boolean> {
    return this.#watched(this.#all.holdsValues())
  }

  async documents(): Promise<ReadonlyMap<string, string>> {
    const { documents } = this.#layout
    const all = (await this.#watched(this.#connection.read(documents, 'HGETALL'))) as string[]
    const pairs = all.flatMap((name, at) => (at % 2 === 0 ? [[name, all[at + 1]!] as const] : []))
    return new Map(pairs)
  }

  async putDocument(name: string, text: string | null): Promise<Refusal | null> {
    await this.#putDocument(text === null ? [name] : [name, text])
    return null
  }

  replaceDocument(name: string, before: string | null, text: string): Promise<boolean> {
    return this.#putDocument([name, text, before ?? ''])
  }

  async settle(): Promise<void> {
    this.#announced = NEVER
    const due = this.#known.takeDue(POOLS_AT_A_TIME)
    await Promise.all(due.map((one) => this.#settle(one)))
    this.#announceDue()
  }

  watch(pool: string): () => void {
    return this.#watches.add(pool)
  }

  async stats(pools: number): Promise<StoreStats> {
    const counted = await this.#watched(this.#all.counts())
    const keys = { available: 0, leased: 0, cooling: 0, disabled: 0 }
    for (const { counts } of counted) {
      for (const state of Object.keys(keys) as (keyof typeof keys)[]) keys[state] += counts[state]
    }
    return {
      keys,
      poolCount: counted.length,
      pools: counted.slice(0, pools),
      changes: { ...this.#changes },
      bytes: await this.#connection.memory(),
    }
  }

  backup(): Promise<string> {
    return Promise.reject(new StoreFailure('backup_elsewhere'))
  }

  close(): Promise<void> {
    this.#closed = true
    this.#stopPulse()
    this.#relay.close()
    this.#connection.links.close()
    return Promise.resolve()
  }

  #know({ uid, name, policy }: Entry): Known {
    const before = this.#known.get(uid)
    if (before !== undefined) return before
    const tags = tagsOf(uid, policy.shards)
    const shards = tags.map((_, number) => {
      const shard: Shard = this.#shardOf(uid, number, tags, (answer) => {
        this.#tell(known, shard, answer)
      })
      return shard
    })
    const known: Known = this.#known.add(uid, name, shards)
    return known
  }

  /** As Shard.run. */
  #runIn({ shards }: Known, run: Run): Promise<boolean> {
    if (shards.length === 1) return shards[0]!.run(run)
    return new Spread(new AllShards(shards, this.#random, this.#clock)).run(run)
  }

  #shardOf(
    uid: number,
    shard: number,
    tags: readonly string[],
    tell: (answer: Answer) => void,
  ): Shard {
    const setting = {
      connection: this.#connection,
      clock: this.#clock,
      ownTime: this.#follow === null,
      isHeard: () => this.#relay.isHeard,
    }
    const shards = tags.length
    const counter = shards === 1 ? null : this.#layout.part(tags[0]!, 'meta')
    const keys = this.#layout.shard(tags[shard]!)
    return new Shard({ uid, shard, shards }, keys, counter, setting, tell)
  }

  #tell(known: Known, shard: Shard, { now, earliest, freed, counts, changes }: Answer): void {
    for (const [name, count] of Object.entries(counts)) this.#changes[name as ChangeName] += count
    if (earliest !== null) this.#known.fallsDue(known, shard, earliest - now)
    this.#announceDue()
    if (changes !== undefined) this.#relay.changed(known.name, changes)
    if (freed) this.#events.available?.(known.name)
  }

  /** Whoever waits for a key that is leased through another server is to hear of the end of its lease. */
  #noteWaits(known: Known, { results }: Run): void {
    for (const result of results) {
      if ('retryAfterMs' in result) this.#known.mayBeDue(known, result.retryAfterMs)
    }
    this.#announceDue()
  }

  #announceDue(): void {
    const due = this.#known.nextDue
    if (due >= this.#announced) return
    this.#announced = due
    this.#events.wakeAt(due)
  }

  async #settle({ known, shard }: Due): Promise<void> {
    try {
      const inMs = await this.#watched(shard.settle())
      if (inMs === null) this.#known.forget(known.uid)
      else if (inMs !== Infinity) this.#known.fallsDue(known, shard, inMs)
    } catch {
      this.#known.fallsDue(known, shard, TRY_AGAIN_MS)
    }
  }

  async #putDocument(args: string[]): Promise<boolean> {
    const keys = [this.#layout.documents, this.#layout.meta]
    const version = await this.#watched(this.#connection.evaluate(PUT_DOCUMENT, keys, args))
    if (version === null) return false
    if (version === this.#documentsVersion + 1) this.#documentsVersion = version
    return true
  }

  async #pulse(): Promise<void> {
    try {
      if (this.#health === 'storage_full') {
        await this.#connection.write(this.#layout.meta, 'HSET', 'room', 1)
      }
      const { meta, changes } = this.#layout
      const told = await this.#connection.evaluate(PULSE, [meta, changes], [], PULSE_TERMS)
      const [now, documentsVersion, , listeners] = told as [number, number, number, number]
      this.#follow?.(now)
      this.#setHealth('ok')
      this.#relay.look(listeners)
      if (documentsVersion !== this.#documentsVersion) {
        await this.#events.documents?.()
        this.#documentsVersion = documentsVersion
      }
    } catch (error) {
      // Too few replicas are no better than none.
      const isFull = error instanceof StoreFailure && error.code === 'storage_full'
      this.#setHealth(isFull ? 'storage_full' : 'store_unavailable')
    }
    if (++this.#pulses % PULSES_A_LOOK === 0) this.#watches.look()
    if (this.#closed || this.#follow === null) return
    this.#stopPulse = this.#clock.callAt(this.#clock.now() + PULSE_MS, () => void this.#pulse())
  }

  /** What fails tells how Redis is. */
  async #watched<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  #fail(error: unknown): void {
    if (!(error instanceof StoreFailure)) return
    if (error.code === 'storage_failed') this.#relay.lost()
    if (error.code === 'storage_full' || error.code === 'store_unavailable') {
      this.#setHealth(error.code)
    }
  }

  #setHealth(health: Health): void {
    if (health === this.#health || this.#closed) return
    this.#health = health
    this.#events.health?.(health)
  }
}

function keysIn({ available, leased, cooling, disabled }: PoolCounts): number {
  return available + leased + cooling + disabled
}
