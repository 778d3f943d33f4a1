/**
 * Who waits for a key, as plainly as it can be kept: all who ask, oldest first. It watches what the waiters
 * ask of the store: whoever is served must be the oldest, and nobody may draw while somebody before him waits.
 */
import assert from 'node:assert/strict'
import {
  type AcquireOperation,
  isRefusal,
  type Operation,
  type Result,
} from '../../src/engine/operations.ts'
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Caller } from './waiting.ts'

export interface Asker {
  readonly place: number
  readonly waitMs: number
  /** Until then he is not told that it was in vain. */
  readonly deadline: number
  /** And from then on he does not wait; Infinity: it is not known yet since when he waits. */
  latest: number
  /** What he is remembered by, if he asks so that he may ask again. */
  readonly key: string | null
  /** He has got what he will get. */
  isServed: boolean
  /** It depends on the moment whether he still waits. */
  isLeaving: boolean
  /** Fencing tokens of what he was granted, whether or not he has heard of it. */
  readonly tokens: number[]
  caller: Caller
  /** When he was answered. */
  toldAt: number
}

/** Which asker an operation is done for; a copy of it belongs to him too. */
const ASKER = Symbol('asker')

type AskersOperation = Operation & { [ASKER]?: Asker }

export class QueueModel {
  readonly askers: Asker[] = []
  readonly #now: () => number
  #isPoolGone = false
  /** The first thing that was wrong. */
  #fault: unknown = null

  constructor(now: () => number) {
    this.#now = now
  }

  /** Somebody asks, by what he is given here. */
  ask(
    asked: Partial<AcquireOperation>,
    waitMs: number,
    key: string | null,
    call: (operation: AcquireOperation) => Caller,
  ): void {
    const asker: Omit<Asker, 'caller'> & { caller?: Caller } = {
      place: this.askers.length,
      waitMs,
      deadline: this.#now() + waitMs,
      latest: key === null ? this.#now() + waitMs : Infinity,
      key,
      isServed: false,
      isLeaving: this.#isPoolGone,
      tokens: [],
      toldAt: Infinity,
    }
    this.askers.push(asker as Asker)
    const operation: AcquireOperation = { op: 'acquire', count: 1, ...asked }
    asker.caller = call(Object.assign(operation, { [ASKER]: asker }))
    void asker.caller.told.then(() => {
      asker.toldAt = this.#now()
    })
  }

  /** All who wait now may be told at any moment that the pool is gone. */
  poolGoes(): void {
    this.#isPoolGone = true
    for (const asker of this.#waiting()) asker.isLeaving = true
  }

  poolComes(): void {
    this.#isPoolGone = false
  }

  /** From now on nothing is asked of this store that is not looked at. */
  watch(store: EmbeddedStore): void {
    const run = store.run.bind(store) as (
      pool: string,
      operations: readonly Operation[],
    ) => Promise<Result[]>
    const watched: typeof run = async (pool, operations) => {
      this.#guard(() => {
        this.#asked(operations)
      })
      const results = await run(pool, operations)
      operations.forEach((operation, at) => {
        this.#told(operation, results[at]!)
      })
      return results
    }
    Object.assign(store, { run: watched })
  }

  check(): void {
    if (this.#fault !== null) throw this.#fault as Error
  }

  #guard(look: () => void): void {
    try {
      look()
    } catch (error) {
      this.#fault ??= error
    }
  }

  #asked(operations: readonly AskersOperation[]): void {
    const real = operations.filter(
      (operation) => operation.op !== 'acquire' || operation.count !== 0,
    )
    const askers = real.map((operation) => operation[ASKER]).filter((asker) => asker !== undefined)
    const [first] = askers
    if (first === undefined) return
    const waiting = this.#waiting().filter((asker) => this.#isCertain(asker))
    if (first.waitMs === 0) {
      const before = waiting.filter(({ place }) => place < first.place)
      // Who leaves a key for each of them overtakes nobody.
      assert(before.length <= leftFor(real), `${first.place} overtakes ${places(before).join()}`)
    } else {
      const inOrder = askers.filter(({ key }) => key === null)
      assert.deepEqual(
        places(inOrder),
        places(inOrder).sort((a, b) => a - b),
        'served out of order',
      )
      const certain = askers.filter((asker) => this.#isCertain(asker))
      assert.deepEqual(places(certain), places(waiting), 'others are served than those who wait')
    }
  }

  #told(operation: AskersOperation, told: Result): void {
    const asker = operation[ASKER]
    if (asker === undefined || operation.op !== 'acquire') return
    if (!isRefusal(told)) {
      assert('leases' in told)
      asker.tokens.push(...told.leases.map(({ fencingToken }) => fencingToken))
      asker.isServed = true
    } else if (told.code !== 'pool_exhausted' && told.code !== 'pool_empty') {
      asker.isLeaving = true
    }
  }

  #waiting(): Asker[] {
    return this.askers.filter(
      ({ waitMs, isServed, caller }) =>
        waitMs > 0 && !isServed && caller.state === 'waits' && !caller.isGone,
    )
  }

  /** Whether he waits at this moment, and it is known since when. */
  #isCertain({ deadline, key, isLeaving }: Asker): boolean {
    return key === null && !isLeaving && this.#now() < deadline
  }
}

/** How many keys all that is acquired leaves. */
function leftFor(operations: readonly AskersOperation[]): number {
  const acquires = operations.filter((operation) => operation.op === 'acquire')
  return Math.min(...acquires.map(({ leave = 0 }) => leave))
}

function places(askers: Asker[]): number[] {
  return askers.map(({ place }) => place)
}
