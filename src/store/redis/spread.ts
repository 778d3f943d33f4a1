/** What a caller asks of a pool of several shards: each operation goes where its key is, or to all. */
import type { Refusal } from '../../engine/errors.ts'
import { parseLeaseId } from '../../engine/ids.ts'
import {
  isRefusal,
  type ListLeasesOperation,
  type ListOperation,
  type Operation,
  type RememberOperation,
  type Result,
  type RevokeLeasesOperation,
} from '../../engine/operations.ts'
import { parsePackedLeaseId, unpackKeyId } from '../../engine/packed-ids.ts'
import { StoreFailure } from '../store.ts'
import { type AllShards, countsOf, Gone } from './all-shards.ts'
import { acquireFromAll } from './draws.ts'
import { shardOfKey } from './layout.ts'
import { createInAll, importIntoAll } from './newcomers.ts'
import { Repeats } from './repeats.ts'
import type { Run } from './run.ts'

/** One caller's operations. */
export class Spread {
  readonly #all: AllShards
  readonly #repeats: Repeats

  constructor(all: AllShards) {
    this.#all = all
    this.#repeats = new Repeats(all, (operations, results) => this.#do(operations, results))
  }

  /** As Shard.run. */
  async run(run: Run): Promise<boolean> {
    try {
      await this.#do(run.rest, run.results)
      return false
    } catch (error) {
      if (error instanceof Gone) return true
      const isKnown = error instanceof StoreFailure && error.code !== 'storage_failed'
      throw isKnown && this.#all.changes > 0 ? new StoreFailure('storage_failed', error) : error
    }
  }

  /** Does them in order, and puts the result of each to `results`. @throws Gone, StoreFailure */
  async #do(operations: readonly Operation[], results: Result[]): Promise<void> {
    const requests = requestsIn(operations)
    for (let at = 0; at < operations.length;) {
      const before = results.length
      const request = requests.get(at)
      if (request !== undefined) {
        await this.#repeats.once(request, operations.slice(at, at + request.count), results)
      } else {
        const together = operations.slice(at, this.#endOfKeys(operations, at, requests))
        const isDraw = together.length === 0 && operations[at]!.op === 'acquire'
        if (!isDraw) this.#all.nothing = null
        if (together.length > 0) results.push(...(await this.#ofKeys(together)))
        else results.push(await this.#ofAll(operations[at]!, results))
      }
      at += results.length - before
    }
  }

  /** Up to where operations are each about one key, whose shard is known. */
  #endOfKeys(
    operations: readonly Operation[],
    from: number,
    requests: ReadonlyMap<number, RememberOperation>,
  ): number {
    let at = from
    while (at < operations.length && !requests.has(at) && this.#shardOf(operations[at]!) !== null) {
      at++
    }
    return at
  }

  /** Null: it is not about one key, or where that is, is not known. */
  #shardOf(operation: Operation): number | null {
    switch (operation.op) {
      case 'acquire':
        if (operation.keyId === undefined || (operation.leave ?? 0) > 0) return null
        return shardOfKey(operation.keyId, this.#all.count)
      case 'renew':
      case 'release':
      case 'showLease': {
        const { leaseId } = operation
        const parsed = parsePackedLeaseId(leaseId)
        if (parsed !== null) return shardOfKey(unpackKeyId(parsed.id), this.#all.count)
        return parseLeaseId(leaseId) === null ? 0 : null
      }
      case 'unblock':
      case 'revoke':
      case 'keepAlive':
      case 'update':
      case 'remove':
      case 'show':
      case 'history':
        return shardOfKey(operation.keyId, this.#all.count)
      default:
        return null
    }
  }

  async #ofKeys(operations: readonly Operation[]): Promise<Result[]> {
    const places = Map.groupBy(operations.keys(), (at) => this.#shardOf(operations[at]!)!)
    const parts = [...places].map(([shard, ats]) => {
      return { shard, operations: ats.map((at) => operations[at]!) }
    })
    const told = await this.#all.run(parts)
    const results: Result[] = []
    for (const [place, ats] of [...places.values()].entries()) {
      for (const [index, at] of ats.entries()) results[at] = told[place]![index]!
    }
    return results
  }

  async #ofAll(operation: Operation, before: readonly Result[]): Promise<Result> {
    switch (operation.op) {
      case 'create':
        return createInAll(this.#all, operation)
      case 'import':
        return importIntoAll(this.#all, operation)
      case 'acquire':
        return acquireFromAll(this.#all, operation)
      case 'list':
      case 'listLeases':
        return this.#list(operation)
      case 'revokeLeases':
        return this.#revokeLeases(operation)
      case 'recall':
        return this.#repeats.recall(operation)
      case 'remember':
        return this.#repeats.remember(operation, before)
      case 'describe':
        return { counts: countsOf(await this.#all.look()) }
      default:
        return this.#ofMovedLease(operation)
    }
  }

  /** Ids have the order of their shards. A page is short only where a shard's was. */
  async #list(operation: ListOperation | ListLeasesOperation): Promise<Result> {
    const { limit } = operation
    const found: unknown[] = []
    let { cursor } = operation
    let nextCursor: string | null = null
    const field = operation.op === 'list' ? 'keys' : 'heldLeases'
    let shard = cursor === undefined ? 0 : shardOfKey(cursor, this.#all.count)
    for (; shard < this.#all.count && nextCursor === null; shard++) {
      const part = { ...operation, cursor, limit: limit - found.length }
      const [result] = (await this.#all.run([{ shard, operations: [part] }]))[0]!
      if (isRefusal(result!)) return result
      const page = result as unknown as Record<typeof field, unknown[]> & { nextCursor: string }
      found.push(...page[field])
      nextCursor = page.nextCursor
      cursor = undefined
    }
    return { [field]: found, nextCursor } as unknown as Result
  }

  /** The oldest first in each shard. */
  async #revokeLeases(operation: RevokeLeasesOperation): Promise<Result> {
    let { grantedBy } = operation
    let revoked = 0
    for (let shard = 0; shard < this.#all.count; shard++) {
      const part = { ...operation, grantedBy, limit: operation.limit - revoked }
      const [result] = (await this.#all.run([{ shard, operations: [part] }]))[0]!
      if (!('revoked' in result!)) return result!
      revoked += result.revoked
      grantedBy = result.grantedBy
      if (result.more) return { revoked, more: true, grantedBy }
    }
    return { revoked, more: false, grantedBy: grantedBy! }
  }

  /** Its id names a place in an embedded store, not its key: the shard that knows it is looked for. */
  async #ofMovedLease(operation: Operation): Promise<Result> {
    const answers: Result[] = []
    for (let shard = 0; shard < this.#all.count; shard++) {
      const [result] = (await this.#all.run([{ shard, operations: [operation] }]))[0]!
      if (!isOfNoLeaseHere(result!)) return result!
      answers.push(result!)
    }
    // Those that do not know it say that it has ended; the one that has it, if the secret is wrong, that it is none.
    return answers.find((result) => 'code' in result && isNotFound(result)) ?? answers[0]!
  }
}

function isOfNoLeaseHere(result: Result): boolean {
  if ('released' in result) return !result.released && result.reason === 'unknown'
  if (!isRefusal(result)) return false
  return isNotFound(result) || (result.code === 'lease_ended' && result.reason === undefined)
}

function isNotFound({ code }: Refusal): boolean {
  return code === 'lease_not_found'
}

/** Requests that another process may do meanwhile, by where they begin. */
function requestsIn(operations: readonly Operation[]): Map<number, RememberOperation> {
  const requests = new Map<number, RememberOperation>()
  for (const [at, operation] of operations.entries()) {
    if (operation.op === 'remember' && operation.once) requests.set(at - operation.count, operation)
  }
  return requests
}
