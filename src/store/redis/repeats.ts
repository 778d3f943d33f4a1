/**
 * Requests to a pool of several shards that may be repeated. Each has a shard by its key, its home, where it is claimed
 * before it is done.
 *
 * A single draw is remembered in the same step in which it is done, wherever the key is drawn, as a turn of the request.
 * Who repeats it finds at home where the last turn is, and asks there what came of it; if nothing has, nothing will.
 *
 * What may take several shards is written down at home once it is done. If its server dies before, nobody knows what came
 * of it: it is in progress for as long as it would be remembered, and never done again.
 */
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import { type Reference, referenceTo } from '../../engine/idempotency.ts'
import {
  type AcquireOperation,
  type Answers,
  isRefusal,
  type Operation,
  type RecallOperation,
  type RememberOperation,
  type Result,
} from '../../engine/operations.ts'
import { StoreFailure } from '../store.ts'
import type { AllShards } from './all-shards.ts'
import { mayCome, placeToDraw } from './draws.ts'
import { shardOfKey, shardOfText } from './layout.ts'
import { fromWire, type Turn, type WireResult } from './wire.ts'

type Perform = (operations: readonly Operation[], results: Result[]) => Promise<void>
type Request = Pick<RememberOperation, 'key' | 'body'>

/** After so many turns, of this call or of others, it is left to others. */
const MAX_TURNS = 20

export class Repeats {
  readonly #all: AllShards
  readonly #perform: Perform

  /** `perform` does operations in order, and puts their results to `results`. */
  constructor(all: AllShards, perform: Perform) {
    this.#all = all
    this.#perform = perform
  }

  /** What a request came to that was done; null: it is a new one. */
  async recall({ key, body }: RecallOperation): Promise<Answers['recall'] | Refusal> {
    const claim = await this.#atHome({ op: 'claim', key, body, take: false })
    if (claim.open !== undefined) return this.#ofTurn('recall', { key, body }, claim.open)
    return this.#toldBy(claim)
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
    const [only] = operations
    const isDraw = only?.op === 'acquire' && (only.count ?? 1) === 1 && !only.leave
    if (isDraw && operations.length === 1) {
      results.push(...(await this.#drawOnce(request, only)))
      return
    }
    const turn = await this.#begin(request, 0)
    if (typeof turn !== 'number') {
      results.push(...('code' in turn ? operations.map(() => turn) : turn), { remembered: false })
      return
    }
    const done: Result[] = []
    await this.#orForget(request, turn, () => this.#perform(operations, done))
    const isRefused = operations.length === 1 && isRefusal(done[0]!)
    if (isRefused) await this.#forget(request, turn)
    else await this.#keep(request, done)
    results.push(...done, { remembered: !isRefused })
  }

  /** Returns the results of the draw and of remembering it. */
  async #drawOnce(request: RememberOperation, draw: AcquireOperation): Promise<Result[]> {
    let turn = 0
    let refusal = REFUSED.request_in_progress
    for (let turns = 0; turns < MAX_TURNS; turns++) {
      const { keyId } = draw
      const shard =
        keyId === undefined
          ? await placeToDraw(this.#all, draw, turns > 0)
          : shardOfKey(keyId, this.#all.count)
      if (typeof shard !== 'number') {
        refusal = shard
        break
      }
      const begun = await this.#begin(request, turn, shard)
      if (typeof begun !== 'number') return ['code' in begun ? begun : begun[0]!, NOT_REMEMBERED]
      turn = begun
      const ofTurn = { ...request, key: keyOf(request, turn) }
      const operations = [draw, ofTurn]
      let results: Result[] = []
      await this.#orForget(request, turn, async () => {
        ;[results] = (await this.#all.run([{ shard, operations }])) as [Result[]]
      })
      const [result] = results
      // Another has ended this turn, and goes on with the request.
      if (!isRefusal(result!) || result.code === 'request_in_progress') return results
      refusal = result
      if (keyId !== undefined || !mayCome(refusal)) break
    }
    if (turn > 0) {
      await this.#forget(request, turn)
      return [refusal, NOT_REMEMBERED]
    }
    const memory = await this.recall({ ...request, op: 'recall' })
    return ['code' in memory ? memory : (memory.results?.[0] ?? refusal), NOT_REMEMBERED]
  }

  /**
   * Makes a request the caller's to do, in that shard or in several, after a turn of his own or 0, and returns the number
   * of the turn; or what came of it already.
   */
  async #begin(
    { key, body }: Request,
    after: number,
    shard?: number,
  ): Promise<number | readonly Result[] | Refusal> {
    let turn = after
    for (let turns = 0; turns < MAX_TURNS; turns++) {
      const claim = await this.#atHome({ op: 'claim', key, body, take: true, shard, turn })
      if (claim.turn !== undefined) return claim.turn
      const told =
        claim.open === undefined
          ? await this.#toldBy(claim)
          : await this.#ofTurn('conclude', { key, body }, claim.open)
      if ('code' in told) return told
      if (told.results !== null) return told.results
      turn = claim.open!.turn
    }
    return REFUSED.request_in_progress
  }

  /** What came of a turn. Of one that is concluded nothing comes from then on, unless something has. */
  async #ofTurn(
    op: 'recall' | 'conclude',
    { key, body }: Request,
    { shard, turn }: Turn,
  ): Promise<Answers['recall'] | Refusal> {
    const asked = { op, key: keyOf({ key }, turn), body }
    const result = await this.#all.ask(shard, asked)
    return fromWire(result, this.#all.uid) as Answers['recall'] | Refusal
  }

  /** What is written down at home. */
  async #toldBy({ code, memory }: WireResult): Promise<Answers['recall'] | Refusal> {
    if (code !== undefined) return { code }
    if (typeof memory !== 'string') return { results: null }
    return { results: await this.#asOfNow(JSON.parse(memory) as Reference[]) }
  }

  async #keep({ key, body }: Request, results: readonly Result[]): Promise<void> {
    await this.#atHome({ op: 'keep', key, body, text: JSON.stringify(results.map(referenceTo)) })
  }

  async #forget({ key }: Request, turn: number): Promise<void> {
    // If that fails it is found out, or in progress for as long as it would be remembered.
    await this.#atHome({ op: 'forget', key, turn }).catch(() => undefined)
  }

  /** Does a turn of a request, which is a new one again if that fails and nothing was done. */
  async #orForget(request: Request, turn: number, work: () => Promise<void>): Promise<void> {
    const { changes } = this.#all
    try {
      await work()
    } catch (error) {
      const isUndone = error instanceof StoreFailure && error.code !== 'storage_failed'
      if (isUndone && this.#all.changes === changes) await this.#forget(request, turn)
      throw error
    }
  }

  #atHome(operation: { op: string; key: string; [field: string]: unknown }): Promise<WireResult> {
    return this.#all.ask(shardOfText(operation.key, this.#all.count), operation)
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

const NOT_REMEMBERED: Result = { remembered: false }

/** By which a turn is remembered where it is done. */
function keyOf({ key }: Pick<Request, 'key'>, turn: number): string {
  return `${key}\n${String(turn)}`
}

function leaseIdsIn(reference: Reference): string[] {
  if ('leaseIds' in reference) return reference.leaseIds
  return 'leaseId' in reference ? [reference.leaseId] : []
}
