import type { Clock } from '../clock.ts'
import type { Change, ChangeName, Tally } from '../engine/changes.ts'
import { REFUSED, type Refusal } from '../engine/errors.ts'
import { isRefusal, type Operation, type PoolCounts, type Result } from '../engine/operations.ts'
import type { PoolChange } from '../store/store.ts'

const MAX_READERS = 256
/** So that no holder of a token takes all places. */
const MAX_READERS_A_CALLER = 64
/** Between two looks at what has changed. */
const COUNTS_EVERY_MS = 1000
const CHANGES_EVERY_MS = 100
/** Pools that are counted in one look; the others come next. */
const POOLS_A_LOOK = 1000
/** Changes of one pool that are told one by one at a time. Beyond that the reader looks for himself. */
const CHANGES_AT_A_TIME = 1000
/** So that who is gone without a word is noticed, by us and by what is on the way. */
const HEARTBEAT_MS = 15_000
/** Who takes nothing for so long is given up. */
const PATIENCE_MS = 30_000

export type Told =
  | { event: 'change'; change: Change }
  | { event: 'counts'; pool: string; counts: PoolCounts; waiters: number; changes: Tally }
  /** It has another policy. */
  | { event: 'policy'; pool: string }
  /** There is no such pool any more. */
  | { event: 'gone'; pool: string }
  /** Something was not told: whoever wants to know how things are asks anew. */
  | { event: 'missed' }

/** What somebody wants to be told. */
export interface Interest {
  /** By what he is known; null: he is trusted. */
  readonly caller: string | null
  /** Null: all that he sees. */
  readonly pools: readonly string[] | null
  /** Each change of those pools too, not only their counts. */
  readonly each: boolean
  readonly sees: (pool: string) => boolean
  /** Whether he may still be told, or why he is not. */
  readonly bar: () => Refusal | null
}

/** The way to a reader. */
export interface Sink {
  /** Nothing to tell is a sign of life. False: nothing more before he is `ready`. */
  send(told: readonly Told[]): boolean
  /** The last that he hears. */
  end(refusal: Refusal): void
  /** He takes nothing any more. */
  drop(): void
}

/** A reader's place. */
export interface Listening {
  ready(): void
  leave(): void
}

interface Reader {
  readonly interest: Interest
  readonly sink: Sink
  toldAt: number
  /** Since when he has not taken what he was told last; null: he keeps up. */
  behindSince: number | null
  missed: boolean
}

/** Changes of one pool that are still to be told. */
interface Channel {
  readonly readers: Set<Reader>
  pending: Told[]
  overflowed: boolean
}

/** The parts of an orchestrator that tell how a pool is. */
export interface Counting {
  run: (pool: string, operations: readonly Operation[]) => Promise<readonly Result[]>
  waiters: (pool: string) => number
}

/**
 * Tells those who listen what happens. Nothing is kept for a slow reader but that he has missed something, so that
 * memory does not grow with what he does not take; and nothing is done while nobody listens.
 */
export class Events {
  readonly #clock: Clock
  readonly #counting: Counting
  readonly #readers = new Set<Reader>()
  /** Readers of all pools. */
  readonly #general = new Set<Reader>()
  /** Readers of that pool, by its name. */
  readonly #named = new Map<string, Set<Reader>>()
  readonly #channels = new Map<string, Channel>()
  /** Pools of which somebody wants to know the counts, those that have waited longest first. */
  #tallies = new Map<string, Tally>()
  #cancelLook: (() => void) | null = null
  #isLooking = false
  #cancelChanges: (() => void) | null = null
  #closed = false

  constructor(clock: Clock, counting: Counting) {
    this.#clock = clock
    this.#counting = counting
  }

  get isHeard(): boolean {
    return this.#readers.size > 0
  }

  /** From now on he is told, the counts of the pools that he names at once. */
  listen(interest: Interest, sink: Sink): Listening | Refusal {
    if (this.#closed) return REFUSED.draining
    if (this.#isFullFor(interest.caller)) return REFUSED.too_many_streams
    const pools = interest.pools?.filter(interest.sees) ?? null
    const toldAt = this.#clock.now()
    const wanted = { ...interest, pools }
    const reader: Reader = { interest: wanted, sink, toldAt, behindSince: null, missed: false }
    this.#enter(reader)
    for (const pool of pools ?? []) this.touched(pool)
    this.#lookAt(this.#clock.now())
    return {
      ready: () => {
        this.#catchUp(reader)
      },
      leave: () => {
        this.#leave(reader)
      },
    }
  }

  /** Something has happened for good, in this order. */
  changed(changes: readonly Change[]): void {
    for (const change of changes) {
      const { pool, kind } = change
      const tally = this.#tallyOf(pool)
      if (tally !== null) tally[kind] = (tally[kind] ?? 0) + 1
      const channel = this.#channels.get(pool)
      if (channel !== undefined) this.#queue(channel, change)
    }
  }

  /** So much has happened in that pool that it is not told one by one. */
  tallied(pool: string, more: Tally): void {
    const tally = this.#tallyOf(pool)
    if (tally === null) return
    for (const [kind, times] of Object.entries(more) as [ChangeName, number][]) {
      tally[kind] = (tally[kind] ?? 0) + times
    }
    const channel = this.#channels.get(pool)
    if (channel === undefined) return
    channel.overflowed = true
    this.#flushSoon()
  }

  /** Something may have happened that was not told here. */
  missed(): void {
    for (const reader of [...this.#readers]) this.#tellMissed(reader)
  }

  /** What is told of that pool may be another now. */
  touched(pool: string): void {
    this.#tallyOf(pool)
  }

  /** It is another as a whole. */
  poolChanged(pool: string, change: PoolChange): void {
    const channel = this.#channels.get(pool)
    if (channel !== undefined) this.#flush(channel) // it was before
    if (change !== 'gone') this.touched(pool)
    this.#tellOf(pool, change === 'emptied' ? { event: 'missed' } : { event: change, pool })
  }

  /** Nobody is told any more, and all are told that. */
  close(): void {
    this.#closed = true
    for (const reader of [...this.#readers]) this.#dismiss(reader, REFUSED.draining)
  }

  #isFullFor(caller: string | null): boolean {
    if (this.#readers.size >= MAX_READERS) return true
    if (caller === null) return false
    const own = this.#readers.values().filter(({ interest }) => interest.caller === caller)
    return own.reduce((count) => count + 1, 0) >= MAX_READERS_A_CALLER
  }

  #enter(reader: Reader): void {
    const { pools, each } = reader.interest
    this.#readers.add(reader)
    if (pools === null) this.#general.add(reader)
    for (const pool of pools ?? []) {
      const named = this.#named.get(pool) ?? new Set()
      this.#named.set(pool, named.add(reader))
      if (!each) continue
      const channel = this.#channels.get(pool)
      if (channel !== undefined) channel.readers.add(reader)
      else this.#channels.set(pool, newChannel(reader))
    }
  }

  #leave(reader: Reader): void {
    if (!this.#readers.delete(reader)) return
    this.#general.delete(reader)
    for (const pool of reader.interest.pools ?? []) {
      const named = this.#named.get(pool)
      named?.delete(reader)
      if (named?.size === 0) this.#named.delete(pool)
      const channel = this.#channels.get(pool)
      channel?.readers.delete(reader)
      if (channel?.readers.size === 0) this.#channels.delete(pool)
    }
    if (this.#general.size === 0) {
      for (const pool of this.#tallies.keys()) {
        if (!this.#named.has(pool)) this.#tallies.delete(pool)
      }
    }
    if (this.#readers.size > 0) return
    this.#cancelLook?.()
    this.#cancelLook = null
    this.#cancelChanges?.()
    this.#cancelChanges = null
  }

  #dismiss(reader: Reader, refusal: Refusal): void {
    this.#leave(reader)
    reader.sink.end(refusal)
  }

  /** Null: nobody wants to know. */
  #tallyOf(pool: string): Tally | null {
    if (this.#general.size === 0 && !this.#named.has(pool)) return null
    let tally = this.#tallies.get(pool)
    if (tally === undefined) this.#tallies.set(pool, (tally = {}))
    return tally
  }

  #queue(channel: Channel, change: Change): void {
    if (channel.pending.length < CHANGES_AT_A_TIME)
      channel.pending.push({ event: 'change', change })
    else channel.overflowed = true
    this.#flushSoon()
  }

  #flushSoon(): void {
    this.#cancelChanges ??= this.#clock.callAt(this.#clock.now() + CHANGES_EVERY_MS, () => {
      this.#cancelChanges = null
      for (const one of [...this.#channels.values()]) this.#flush(one)
    })
  }

  #flush(channel: Channel): void {
    const told = channel.pending
    if (channel.overflowed) told.push({ event: 'missed' })
    if (told.length === 0) return
    channel.pending = []
    channel.overflowed = false
    for (const reader of [...channel.readers]) this.#tell(reader, told)
  }

  #tellOf(pool: string, told: Told): void {
    const readers = [...this.#general, ...(this.#named.get(pool) ?? [])]
    for (const reader of readers) if (reader.interest.sees(pool)) this.#tell(reader, [told])
  }

  #tell(reader: Reader, told: readonly Told[]): void {
    const refusal = reader.interest.bar()
    if (refusal !== null) {
      this.#dismiss(reader, refusal)
    } else if (reader.behindSince !== null) {
      reader.missed ||= told.length > 0
    } else {
      reader.toldAt = this.#clock.now()
      if (!reader.sink.send(told)) reader.behindSince = reader.toldAt
    }
  }

  #catchUp(reader: Reader): void {
    reader.behindSince = null
    if (!reader.missed || !this.#readers.has(reader)) return
    reader.missed = false
    this.#tellMissed(reader)
  }

  #tellMissed(reader: Reader): void {
    for (const pool of reader.interest.pools ?? []) this.touched(pool)
    this.#tell(reader, [{ event: 'missed' }])
  }

  #lookAt(instant: number): void {
    if (this.#isLooking) return
    this.#cancelLook?.()
    this.#cancelLook = this.#clock.callAt(instant, () => {
      this.#cancelLook = null
      this.#isLooking = true
      void this.#look().then(() => {
        this.#isLooking = false
        if (this.isHeard) this.#lookAt(this.#clock.now() + COUNTS_EVERY_MS)
      })
    })
  }

  async #look(): Promise<void> {
    const now = this.#clock.now()
    for (const reader of [...this.#readers]) {
      const { behindSince, toldAt } = reader
      if (behindSince !== null && now - behindSince >= PATIENCE_MS) {
        this.#leave(reader)
        reader.sink.drop()
      } else if (now - toldAt >= HEARTBEAT_MS) {
        this.#tell(reader, [])
      } else {
        const refusal = reader.interest.bar()
        if (refusal !== null) this.#dismiss(reader, refusal)
      }
    }
    const looked = [...this.#tallies.entries().take(POOLS_A_LOOK)]
    for (const [pool] of looked) this.#tallies.delete(pool)
    const counted = await Promise.all(looked.map(([pool, changes]) => this.#count(pool, changes)))
    this.#tellCounts(counted.filter((told) => told !== null))
  }

  /** Null: there is no such pool. */
  async #count(pool: string, changes: Tally): Promise<CountsTold | null> {
    try {
      const [described] = await this.#counting.run(pool, [{ op: 'describe' }])
      if (described === undefined || isRefusal(described) || !('counts' in described)) return null
      const { counts } = described
      return { event: 'counts', pool, counts, waiters: this.#counting.waiters(pool), changes }
    } catch {
      this.touched(pool) // the store has failed: it may be back by the next look
      return null
    }
  }

  #tellCounts(counted: readonly CountsTold[]): void {
    if (counted.length === 0) return
    const byPool = new Map(counted.map((told) => [told.pool, told]))
    for (const reader of [...this.#readers]) {
      const { pools, sees } = reader.interest
      const told =
        pools === null
          ? counted.filter(({ pool }) => sees(pool))
          : pools.map((pool) => byPool.get(pool)).filter((one) => one !== undefined)
      if (told.length > 0) this.#tell(reader, told)
    }
  }
}

type CountsTold = Extract<Told, { event: 'counts' }>

function newChannel(reader: Reader): Channel {
  return { readers: new Set([reader]), pending: [], overflowed: false }
}
