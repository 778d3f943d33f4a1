import type { Clock } from '../clock.ts'
import { REFUSED, type Refusal } from '../engine/errors.ts'
import {
  type AcquireOperation,
  type Answers,
  isRefusal,
  type Operation,
  type RememberOperation,
  type Result,
} from '../engine/operations.ts'

export type RunPool = (pool: string, operations: readonly Operation[]) => Promise<readonly Result[]>
export type Acquired = Answers['acquire'] | Refusal

const MAX_WAITERS_PER_POOL = 10_000
/** Waiters who are served with one commit. */
const SERVED_AT_A_TIME = 256

/** What is asked for, and what else is done with it in one commit. */
export interface Request {
  readonly operation: AcquireOperation
  readonly remember: RememberOperation | null
}

interface Waiter extends Request {
  /** Whether anybody is left to be answered. */
  gone: boolean
  readonly answer: (acquired: Acquired) => void
  readonly fail: (error: Error) => void
}

/** The callers who wait for a key of one pool, oldest first. */
class Queue {
  readonly waiting = new Set<Waiter>()
  /** Keys may have come since those who wait were last served. */
  hinted = false
  serving = false
}

/**
 * Callers who found no key and wait for one, first come first served. While anybody waits for a key of a
 * pool no other draw gets one.
 */
export class Waiters {
  readonly #clock: Clock
  readonly #run: RunPool
  readonly #queues = new Map<string, Queue>()
  #closed = false

  constructor(clock: Clock, run: RunPool) {
    this.#clock = clock
    this.#run = run
  }

  /** Callers who wait for a key of that pool. */
  count(pool: string): number {
    return this.#queues.get(pool)?.waiting.size ?? 0
  }

  /** Whether a draw of now would overtake somebody. */
  isAhead(pool: string): boolean {
    return this.#queues.size > 0 && this.#queues.has(pool)
  }

  /**
   * Waits up to `waitMs` for what is asked for. Who is gone gets nothing: what was taken for him is given
   * back at once, unless it is remembered for when he asks again.
   */
  wait(pool: string, request: Request, waitMs: number, gone: AbortSignal): Promise<Acquired> {
    if (this.#closed) return Promise.resolve(REFUSED.draining)
    if (this.count(pool) >= MAX_WAITERS_PER_POOL) return Promise.resolve(REFUSED.too_many_waiters)
    let queue = this.#queues.get(pool)
    if (queue === undefined) {
      queue = new Queue()
      this.#queues.set(pool, queue)
    }
    return this.#enter(pool, queue, request, waitMs, gone)
  }

  /** Keys of the pool may have become available. */
  available(pool: string): void {
    const queue = this.#queues.get(pool)
    if (queue === undefined) return
    queue.hinted = true
    if (!queue.serving) void this.#serve(pool, queue)
  }

  /** Nobody waits for that pool any more. */
  dismiss(pool: string, refusal: Refusal): void {
    for (const waiter of this.#queues.get(pool)?.waiting ?? []) waiter.answer(refusal)
  }

  /** Nobody waits any more, nor will. */
  close(): void {
    this.#closed = true
    for (const pool of this.#queues.keys()) this.dismiss(pool, REFUSED.draining)
  }

  /** What a draw is told that must not overtake. */
  async refusal(pool: string): Promise<Refusal> {
    const [described] = await this.#run(pool, [{ op: 'describe' }])
    return this.#toRefusal(described!)
  }

  /** Operations of which none overtakes: where somebody waits, those that acquire are refused. */
  async runBehind(pool: string, operations: readonly Operation[]): Promise<readonly Result[]> {
    const described = operations.map((operation) =>
      operation.op === 'acquire' ? ({ op: 'describe' } as const) : operation,
    )
    const results = await this.#run(pool, described)
    return results.map((result, at) =>
      operations[at]!.op === 'acquire' ? this.#toRefusal(result) : result,
    )
  }

  #enter(
    pool: string,
    queue: Queue,
    request: Request,
    waitMs: number,
    gone: AbortSignal,
  ): Promise<Acquired> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        queue.waiting.delete(waiter)
        if (queue.waiting.size === 0 && !queue.serving) this.#queues.delete(pool)
        cancel()
        gone.removeEventListener('abort', abandon)
      }
      const waiter: Waiter = {
        ...request,
        gone: false,
        answer: (acquired) => {
          leave()
          resolve(acquired)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      const abandon = (): void => {
        waiter.gone = true
        waiter.answer(REFUSED.pool_exhausted) // which nobody reads
      }
      const cancel = this.#clock.callAt(this.#clock.now() + waitMs, () => {
        waiter.gone = true
        leave()
        resolve(this.refusal(pool))
      })
      queue.waiting.add(waiter)
      gone.addEventListener('abort', abandon)
      if (gone.aborted) abandon()
      else this.available(pool) // one may have come since the caller looked
    })
  }

  async #serve(pool: string, queue: Queue): Promise<void> {
    queue.serving = true
    await Promise.resolve() // the hint comes from the midst of what makes the key available
    while (queue.hinted && queue.waiting.size > 0) {
      queue.hinted = false
      const served = [...queue.waiting.values().take(SERVED_AT_A_TIME)]
      try {
        const operations = served.flatMap(operationsOf)
        const results = (await this.#run(pool, operations)).values()
        for (const waiter of served) {
          const acquired = results.next().value as Acquired
          if (waiter.remember !== null) results.next()
          if (this.#deliver(pool, waiter, acquired)) queue.hinted = true
        }
      } catch (error) {
        for (const waiter of served) if (!waiter.gone) waiter.fail(error as Error)
      }
    }
    queue.serving = false
    if (queue.waiting.size === 0) this.#queues.delete(pool)
  }

  /** Gives a waiter what came of his operation. Returns whether another may get something too. */
  #deliver(pool: string, waiter: Waiter, acquired: Acquired): boolean {
    if (isRefusal(acquired)) {
      const mayCome = acquired.code === 'pool_exhausted' || acquired.code === 'pool_empty'
      if (!mayCome && !waiter.gone) waiter.answer(acquired)
      return !mayCome
    }
    if (!waiter.gone) waiter.answer(acquired)
    else if (waiter.remember === null) this.#giveBack(pool, acquired)
    return true
  }

  #giveBack(pool: string, { leases }: Answers['acquire']): void {
    const releases = leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const)
    // If it fails the leases end by time, as those of any holder who is gone.
    this.#run(pool, releases).catch(() => undefined)
  }

  /** Why a settled pool gives nothing to who comes now. */
  #toRefusal(described: Result): Refusal {
    if (isRefusal(described)) return described
    const { leased, cooling, disabled, nextAvailableAt } = (described as Answers['describe']).counts
    const counts = { leased, cooling, disabled }
    if (nextAvailableAt === null) return { code: 'pool_exhausted', counts }
    const retryAfterMs = Math.max(0, nextAvailableAt - this.#clock.now())
    return { code: 'pool_exhausted', counts, retryAfterMs }
  }
}

export function operationsOf({ operation, remember }: Request): Operation[] {
  return remember === null ? [operation] : [operation, remember]
}
