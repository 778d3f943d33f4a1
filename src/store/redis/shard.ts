/** The calls to one shard of a pool: what is asked at about the same time goes in one. */
import type { Clock } from '../../clock.ts'
import { READS } from '../../engine/operations.ts'
import { StoreFailure } from '../store.ts'
import type { Connection } from './connection.ts'
import { MAX_WEIGHT, type Run } from './run.ts'
import { RESERVE_TOKENS, RUN } from './scripts.ts'
import {
  listOf,
  type Look,
  type Place,
  type WireChange,
  type WireLease,
  type WireOperation,
  type WireResult,
} from './wire.ts'

/** One is done while the other is on its way. */
const MAX_CALLS = 2
/** After that other servers may have made of what a shard told something else. */
const FRESH_MS = 1000
/** Keys that a call settles at most. */
const SETTLED_A_CALL = 200

/** What the script answers: see lua/head.lua. */
export interface Answer {
  now: number
  earliest: number | null
  nextDue?: number | null
  freed?: true
  counts: Record<string, number>
  changes?: WireChange[]
  available?: number
}

interface RunsAnswer extends Answer {
  results: WireResult[][] | Record<string, never>
  unsettled?: [number, WireLease[] | Record<string, never>][]
}

/** What may be done again without a difference. */
const REPEATABLE = new Set<string>([...READS, 'find', 'look', 'holders', 'keep'])

interface Pending {
  readonly run: Run
  readonly done: (isStale: boolean) => void
  readonly fail: (error: unknown) => void
}

export interface ShardSetting {
  connection: Connection
  clock: Clock
  /** Time is that of the clock, not of Redis. */
  ownTime: boolean
  /** Whether somebody wants to be told each change now. */
  isHeard: () => boolean
}

export class Shard {
  readonly place: Place
  /** Keys that were free when it last told, and when that was, if it is one of several. */
  #told = { available: 0, at: -Infinity }
  readonly #keys: readonly string[]
  /** Meta of the pool's first shard, which has the counter of tokens for all; null: there is one shard. */
  readonly #counter: string | null
  readonly #setting: ShardSetting
  readonly #tell: (answer: Answer) => void
  #queue: Pending[] = []
  #looking: Promise<Look | null> | null = null
  #nextLook: Promise<Look | null> | null = null
  #calls = 0
  #flushes = false

  constructor(
    place: Place,
    keys: readonly string[],
    counter: string | null,
    setting: ShardSetting,
    tell: (answer: Answer) => void,
  ) {
    this.place = place
    this.#keys = keys
    this.#counter = counter
    this.#setting = setting
    this.#tell = tell
  }

  /** How many keys were free not long ago; null: it has not told. */
  get available(): number | null {
    const { available, at } = this.#told
    return this.#setting.clock.now() - at > FRESH_MS ? null : available
  }

  /** Resolves once it is done, with false; or with true, before it is, because the pool is gone. */
  run(run: Run): Promise<boolean> {
    return new Promise((done, fail) => {
      this.#queue.push({ run, done, fail })
      this.#flushSoon()
    })
  }

  /** An operation by itself, `past`: of a pool that was emptied; null: the pool is gone. */
  async ask(operation: WireOperation, more: { past?: true } = {}): Promise<WireResult | null> {
    for (;;) {
      const onlyReads = REPEATABLE.has(operation.op)
      const answer = await this.#call([{ operations: [operation] }], more, onlyReads)
      if (answer === null) return null
      const [result] = listOf((answer.results as WireResult[][])[0])
      if (result !== undefined) return result // else it has settled some of what is due
    }
  }

  /**
   * What there is, once all that is due is settled; null: the pool is gone. All who ask while another is answered share
   * the next one.
   */
  look(): Promise<Look | null> {
    const before = this.#looking
    if (before === null) return this.#lookNow()
    this.#nextLook ??= before
      .catch(() => null)
      .then(() => {
        this.#nextLook = null
        return this.#lookNow()
      })
    return this.#nextLook
  }

  #lookNow(): Promise<Look | null> {
    const looking = this.ask({ op: 'look' })
      .then((result) => result?.look ?? null)
      .finally(() => {
        if (this.#looking === looking) this.#looking = null
      })
    this.#looking = looking
    return looking
  }

  /** Does some of what is due. Returns in how many ms the next is, Infinity if nothing is; null: the pool is gone. */
  async settle(): Promise<number | null> {
    const answer = await this.#call([], { settle: true }, true)
    if (answer === null) return null
    const { nextDue, now } = answer
    return nextDue === null ? Infinity : Math.max(0, nextDue! - now)
  }

  #flushSoon(): void {
    if (this.#flushes || this.#calls >= MAX_CALLS) return
    this.#flushes = true
    void this.#setting.clock.yield().then(() => {
      this.#flushes = false
      while (this.#queue.length > 0 && this.#calls < MAX_CALLS) void this.#flush()
    })
  }

  async #flush(): Promise<void> {
    const sent: Pending[] = []
    const runs: object[] = []
    let onlyReads = true
    let leases = 0
    for (let weight = 0; weight < MAX_WEIGHT && sent.length < this.#queue.length;) {
      const pending = this.#queue[sent.length]!
      const taken = pending.run.take(MAX_WEIGHT - weight, this.place)
      weight += taken.weight
      for (const operation of taken.operations) leases += leasesAskedFor(operation)
      onlyReads &&= taken.operations.every(({ op }) => REPEATABLE.has(op))
      const { before } = pending.run
      runs.push({ operations: taken.operations, ...(before.length > 0 && { before }) })
      sent.push(pending)
    }
    this.#queue = this.#queue.slice(sent.length)
    this.#calls++
    try {
      const token = await this.#reserve(leases)
      const answer = token === null ? null : await this.#call(runs, token, onlyReads)
      if (answer === null) for (const { done } of sent) done(true)
      else this.#take(sent, answer)
    } catch (error) {
      // While Redis is away nobody waits for his turn to hear so.
      const isAway = error instanceof StoreFailure && error.code === 'store_unavailable'
      if (isAway) sent.push(...this.#queue.splice(0))
      for (const { run, fail } of sent) {
        fail(isAway && !run.isNew ? new StoreFailure('storage_failed', error) : error)
      }
    }
    this.#calls--
    if (this.#queue.length > 0) this.#flushSoon()
  }

  #take(sent: Pending[], { results, unsettled = [], now }: RunsAnswer): void {
    const left: Pending[] = []
    const partial = new Map(unsettled)
    for (const [place, pending] of sent.entries()) {
      const { run, done } = pending
      const all = (results as WireResult[][])[place]!
      const fresh = Array.isArray(all) ? all.slice(run.before.length) : []
      const leases = partial.get(place)
      run.put(
        fresh,
        leases === undefined ? null : Array.isArray(leases) ? leases : [],
        now,
        this.place.uid,
      )
      if (run.isDone) done(false)
      else left.push(pending)
    }
    this.#queue = [...left, ...this.#queue]
  }

  /** What a call is given that may grant so many leases; null: the pool is gone. */
  async #reserve(leases: number): Promise<{ token?: number } | null> {
    if (this.#counter === null || leases === 0) return {}
    const { connection, clock, ownTime } = this.#setting
    const args = [leases, ownTime ? clock.now() : '']
    const token = await connection.evaluate(RESERVE_TOKENS, [this.#counter], args)
    return token === null ? null : { token: Number(token) }
  }

  async #call(runs: object[], more: object, onlyReads: boolean): Promise<RunsAnswer | null> {
    const { connection, clock, ownTime, isHeard } = this.#setting
    const request = {
      ...(ownTime && { now: clock.now() }),
      changes: isHeard(),
      budget: SETTLED_A_CALL,
      ...(this.#counter !== null && { part: true }),
      runs,
      ...more,
    }
    const args = [JSON.stringify(request)]
    const text = await connection.evaluate(RUN, this.#keys, args, { onlyReads })
    const answer = JSON.parse(String(text)) as RunsAnswer | { stale: true }
    if ('stale' in answer) return null
    const { available } = answer
    if (available !== undefined) this.#told = { available, at: clock.now() }
    this.#tell(answer)
    return answer
  }
}

function leasesAskedFor({ op, count, secrets }: WireOperation): number {
  return op === 'acquire' && count !== 0 ? (secrets as unknown[]).length : 0
}
