/**
 * Requests to a pool of several shards that may be repeated. Each has a shard by its key, where it is claimed before it is
 * done and written down after: done once at most. Of one whose server died between, nobody knows what came of it.
 */
import type { Refusal } from '../../engine/errors.ts'
import { type Reference, referenceTo } from '../../engine/idempotency.ts'
import {
  isRefusal,
  type Operation,
  type RecallOperation,
  type RememberOperation,
  type Result,
} from '../../engine/operations.ts'
import { StoreFailure } from '../store.ts'
import { shardOfText } from './layout.ts'
import type { AllShards } from './all-shards.ts'

type Perform = (operations: readonly Operation[], results: Result[]) => Promise<void>
type Request = Pick<RememberOperation, 'key' | 'body'>

export class Repeats {
  readonly #all: AllShards
  readonly #perform: Perform

  /** `perform` does operations in order, and puts their results to `results`. */
  constructor(all: AllShards, perform: Perform) {
    this.#all = all
    this.#perform = perform
  }

  /** What a request came to that was done; null: it is a new one. */
  async recall({ key, body }: RecallOperation): Promise<Result> {
    const memory = await this.#claim({ key, body }, false)
    return memory !== null && 'code' in memory ? memory : { results: memory }
  }

  /** The last results came of a request. */
  async remember(operation: RememberOperation, before: readonly Result[]): Promise<Result> {
    const { count } = operation
    const results = before.slice(before.length - count)
    if (count === 1 && isRefusal(results[0]!)) return { remembered: false }
    await this.#keep(operation, results)
    return { remembered: true }
  }

  /** Does operations that are a request, unless they were done, and puts the results of all and of `request` to `results`. */
  async once(
    request: RememberOperation,
    operations: readonly Operation[],
    results: Result[],
  ): Promise<void> {
    const memory = await this.#claim(request, true)
    if (memory !== null) {
      results.push(...('code' in memory ? operations.map(() => memory) : memory))
      results.push({ remembered: false })
      return
    }
    const done: Result[] = []
    const { changes } = this.#all
    try {
      await this.#perform(operations, done)
    } catch (error) {
      if (this.#all.changes === changes && isKnown(error)) await this.#forget(request)
      throw error
    }
    const isRefused = operations.length === 1 && isRefusal(done[0]!)
    if (isRefused) await this.#forget(request)
    else await this.#keep(request, done)
    results.push(...done, { remembered: !isRefused })
  }

  /** Null: it is a new one, and with `take` the caller's to do. */
  async #claim({ key, body }: Request, take: boolean): Promise<Result[] | Refusal | null> {
    const result = await this.#all.ask(this.#shardOf(key), { op: 'claim', key, body, take })
    if (result.code !== undefined) return result as Refusal
    const { memory } = result
    if (typeof memory !== 'string') return null
    return this.#asOfNow(JSON.parse(memory) as Reference[])
  }

  async #keep({ key, body }: Request, results: readonly Result[]): Promise<void> {
    const text = JSON.stringify(results.map(referenceTo))
    await this.#all.ask(this.#shardOf(key), { op: 'keep', key, body, text })
  }

  async #forget({ key }: Request): Promise<void> {
    // If that fails it is in progress for as long as it would be remembered.
    await this.#all.ask(this.#shardOf(key), { op: 'forget', key }).catch(() => undefined)
  }

  #shardOf(key: string): number {
    return shardOfText(key, this.#all.count)
  }

  /** What was granted is shown as it is now; what has ended is left out, or refused if it was all. */
  async #asOfNow(references: readonly Reference[]): Promise<Result[]> {
    const operations = references
      .flatMap((reference) => leaseIdsIn(reference))
      .map((leaseId) => ({ op: 'showLease', leaseId }) as const)
    const looks: Result[] = []
    await this.#perform(operations, looks)
    let at = 0
    return references.map((reference): Result => {
      const count = leaseIdsIn(reference).length
      const own = looks.slice(at, (at += count))
      const leases = own.flatMap((look) => ('lease' in look ? [look.lease] : []))
      if ('leaseIds' in reference) return leases.length === 0 ? own[0]! : { leases }
      if ('leaseId' in reference) return own[0]!
      return 'result' in reference ? reference.result : reference
    })
  }
}

function leaseIdsIn(reference: Reference): string[] {
  if ('leaseIds' in reference) return reference.leaseIds
  return 'leaseId' in reference ? [reference.leaseId] : []
}

/** Nothing was done. */
function isKnown(error: unknown): boolean {
  return error instanceof StoreFailure && error.code !== 'storage_failed'
}
