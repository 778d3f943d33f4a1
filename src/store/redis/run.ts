/** What a caller asks of a pool, done by one call of the script after another. */
import { REFUSED } from '../../engine/errors.ts'
import type { Lease, Operation, Result } from '../../engine/operations.ts'
import type { Random } from '../../engine/random.ts'
import {
  acquireToWire,
  fromWire,
  leasesFromWire,
  type Place,
  toWire,
  type WireLease,
  type WireOperation,
  type WireResult,
} from './wire.ts'

/** What the operations of one call may weigh together, about 20 µs each: others wait for it. */
export const MAX_WEIGHT = 200

export class Run {
  readonly #operations: readonly Operation[]
  readonly #random: Random
  /** What is remembered is done with it, by one call, unless that would take too long. */
  readonly #isWhole: boolean
  readonly results: Result[] = []
  /** As they came, for the script that is to remember them. */
  #before: WireResult[] = []
  /** Leases that an acquire has got so far; null: it has not begun. */
  #partial: Lease[] | null = null
  /** Leases asked for by the call that is under way, where the acquire wants more. */
  #asked: number | null = null

  /** `begun`: an acquire is the rest of one that has got leases elsewhere. */
  constructor(operations: readonly Operation[], random: Random, begun = false) {
    this.#operations = operations
    this.#random = random
    if (begun) this.#partial = []
    this.#isWhole = operations.some(({ op }) => op === 'remember')
  }

  /** What is still to be done, by who does not leave it to one shard. */
  get rest(): readonly Operation[] {
    return this.#operations.slice(this.results.length)
  }

  get isDone(): boolean {
    return this.results.length === this.#operations.length
  }

  /** Whether nothing of it has been done. */
  get isNew(): boolean {
    return this.results.length === 0 && this.#partial === null
  }

  /** What comes next, by weight: one operation at least. */
  take(weight: number, place: Place): { operations: WireOperation[]; weight: number } {
    const operations: WireOperation[] = []
    let taken = 0
    this.#asked = null
    for (const operation of this.#operations.slice(this.results.length)) {
      const isFirst = operations.length === 0
      const left = this.#isWhole ? Infinity : Math.max(1, weight - taken)
      const own = this.#weigh(operation)
      // One that asks for more than is left can be done in parts only as the last of a call.
      if (!isFirst && own > left) break
      operations.push(this.#toWire(operation, isFirst, left, place))
      taken += Math.min(own, left)
      if (taken >= weight && !this.#isWhole) break
    }
    return { operations, weight: taken }
  }

  get before(): WireResult[] {
    return this.#before
  }

  /** What the call came to; `unsettled`: leases of the operation that it stopped at. */
  put(results: WireResult[], unsettled: WireLease[] | null, now: number, uid: number): void {
    const [first] = results
    if (first !== undefined && this.#asked !== null && leasesIn(first) === this.#asked) {
      this.#gather(leasesFromWire(first.leases!, uid))
      return
    }
    for (const result of results) {
      this.results.push(this.#whole(fromWire(result, uid), now))
      if (this.#isWhole) this.#before.push(result)
    }
    if (unsettled !== null && unsettled.length > 0) this.#gather(leasesFromWire(unsettled, uid))
  }

  /** Its pool is gone, and what it has got there. Another has come in its place, or no more is done. */
  move(toAnother: boolean): void {
    this.#partial = null
    if (toAnother) return
    while (!this.isDone) this.results.push(REFUSED.pool_not_found)
  }

  #toWire(operation: Operation, isFirst: boolean, left: number, place: Place): WireOperation {
    if (operation.op !== 'acquire' || operation.keyId !== undefined) {
      return toWire(operation, place, this.#random)
    }
    const got = isFirst ? this.#partial : null
    const count = (operation.count ?? 1) - (got?.length ?? 0)
    const asked = Math.min(count, left)
    if (asked < count) this.#asked = asked
    return { ...acquireToWire(operation, asked, this.#random), begun: got !== null }
  }

  #gather(leases: Lease[]): void {
    this.#partial = [...(this.#partial ?? []), ...leases]
  }

  /** With what an acquire got by earlier calls, without what is over by now. */
  #whole(result: Result, now: number): Result {
    const partial = this.#partial
    this.#partial = null
    if (partial === null || !('leases' in result)) return result
    return { leases: [...partial.filter(({ expiresAt }) => expiresAt > now), ...result.leases] }
  }

  #weigh(operation: Operation): number {
    switch (operation.op) {
      case 'create':
        return operation.count
      case 'import':
        return operation.keys.length
      case 'acquire':
        return Math.max(1, operation.count ?? 1)
      case 'list':
      case 'listLeases':
      case 'revokeLeases':
        return operation.limit
      default:
        return 1
    }
  }
}

function leasesIn({ leases }: WireResult): number {
  return Array.isArray(leases) ? leases.length : 0
}
