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

/** How somebody waits. */
export interface Patience {
  readonly waitMs: number
  /** Aborted once nobody is left to take what comes. */
  readonly gone: AbortSignal
  /** Whether he may still have it, or what he is told instead. */
  readonly bar: () => Refusal | null
}

interface Waiter extends Request, Pick<Patience, 'bar'> {
  readonly place: number
  /** He has been answered, or is not there any more. */
  done: boolean
  readonly answer: (acquired: Acquired) => void
  readonly fail: (error: Error) => void
}

/** Somebody who is told whether everybody before that place has got something, or nothing was left. */
interface Onlooker {
  readonly place: number
  readonly tell: (servedAll: boolean) => void
}

/** The callers who wait for a key of one pool, oldest first. */
class Queue {
  readonly waiting = new Set<Waiter>()
  onlookers: Onlooker[] = []
  /** Keys may have come since those who wait were last served. */
  hinted = false
  serving = false
  /** The place of who comes next. */
  nextPlace = 0
  /** Nobody has to tell any more of keys that others have freed. */
  readonly unwatch: () => void

  constructor(unwatch: () => void) {
    this.unwatch = unwatch
  }
}

/**
 * Callers who found no key and wait for one, first come first served. While anybody waits for a key of a
 * pool no other draw gets one.
 */
export class Waiters {
  readonly #clock: Clock
  readonly #run: RunPool
  readonly #watch: (pool: string) => () => void
  readonly #queues = new Map<string, Queue>()
  readonly #underWay = new Set<Promise<void>>()
  #closed = false

  /** `watch` has `available` called for a pool, whoever frees its keys, until what it returns is called. */
  constructor(clock: Clock, run: RunPool, watch: (pool: string) => () => void) {
    this.#clock = clock
    this.#run = run
    this.#watch = watch
  }

  /** Callers who wait for a key of that pool. */
  count(pool: string): number {
    return this.#queues.get(pool)?.waiting.size ?? 0
  }

  /** Callers who wait for a key of any pool. */
  get total(): number {
    return this.#queues.values().reduce((total, { waiting }) => total + waiting.size, 0)
  }

  /** Whether a draw of now might overtake somebody. */
  isAhead(pool: string): boolean {
    return this.#queues.size > 0 && this.#queues.has(pool)
  }

  /** Whether there is something left for a draw of now once those before it are served. */
  mayDraw(pool: string): Promise<boolean> {
    const queue = this.#queues.get(pool)
    if (queue === undefined) return Promise.resolve(true)
    if (!queue.serving) return Promise.resolve(false)
    return new Promise((resolve) => {
      queue.onlookers.push({ place: queue.nextPlace, tell: resolve })
    })
  }

  /**
   * Waits for what is asked for, as long as he said. Who is gone gets nothing: what was taken for him is given
   * back at once, unless it is remembered for when he asks again.
   */
  wait(pool: string, request: Request, patience: Patience): Promise<Acquired> {
    if (this.#closed) return Promise.resolve(REFUSED.draining)
    if (this.count(pool) >= MAX_WAITERS_PER_POOL) return Promise.resolve(REFUSED.too_many_waiters)
    let queue = this.#queues.get(pool)
    const isFirst = queue === undefined
    if (queue === undefined) {
      queue = new Queue(this.#watch(pool))
      this.#queues.set(pool, queue)
    }
    return new Promise((resolve, reject) => {
      const waiter = this.#enter(pool, queue, request, patience, resolve, reject)
      if (waiter.done) return
      if (isFirst) this.available(pool)
      else void this.#check(pool, waiter)
    })
  }

  /** Keys of the pool may have become available. */
  available(pool: string): void {
    const queue = this.#queues.get(pool)
    if (queue === undefined) return
    queue.hinted = true
    if (!queue.serving) this.#keepTrack(this.#serve(pool, queue))
  }

  /** Nobody waits for that pool any more. */
  dismiss(pool: string, refusal: Refusal): void {
    for (const waiter of this.#queues.get(pool)?.waiting ?? []) waiter.answer(refusal)
  }

  /** Nobody waits any more, nor will. Who is being served is still told what he got. */
  close(): void {
    this.#closed = true
    for (const [pool, { serving }] of this.#queues) {
      if (!serving) this.dismiss(pool, REFUSED.draining)
    }
  }

  /** Resolves when nothing is being given or given back. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }

  /** Operations of which none overtakes: those that acquire leave a key for everybody who waits. */
  runBehind(pool: string, operations: readonly Operation[]): Promise<readonly Result[]> {
    const leave = this.count(pool)
    const behind = operations.map((operation) =>
      operation.op === 'acquire' ? { ...operation, leave } : operation,
    )
    return this.#run(pool, behind)
  }

  /** What a draw is told that must not overtake. */
  async refusal(pool: string, operation: AcquireOperation): Promise<Acquired> {
    const [refusal] = await this.#run(pool, [{ ...operation, count: 0 }])
    return refusal as Acquired
  }

  #enter(
    pool: string,
    queue: Queue,
    request: Request,
    { waitMs, gone, bar }: Patience,
    resolve: (acquired: Acquired | Promise<Acquired>) => void,
    reject: (error: Error) => void,
  ): Waiter {
    const leave = (): void => {
      waiter.done = true
      queue.waiting.delete(waiter)
      if (queue.waiting.size === 0 && !queue.serving) this.#end(pool, queue)
      cancel()
      gone.removeEventListener('abort', abandon)
    }
    const waiter: Waiter = {
      ...request,
      bar,
      place: queue.nextPlace++,
      done: false,
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
      leave()
      const end = (): void => {
        resolve(REFUSED.pool_exhausted) // which nobody reads
      }
      // If he asks again he is not a new one before it is known what became of this.
      if (waiter.remember === null || !queue.serving) end()
      else queue.onlookers.push({ place: waiter.place + 1, tell: end })
    }
    const timeOut = (): void => {
      if (waiter.done) return
      leave()
      resolve(bar() ?? this.refusal(pool, waiter.operation))
    }
    const cancel = this.#clock.callAt(this.#clock.now() + waitMs, () => {
      // What is being given may be his: not before there is nothing left he goes without.
      if (queue.serving) queue.onlookers.push({ place: Infinity, tell: timeOut })
      else timeOut()
    })
    queue.waiting.add(waiter)
    gone.addEventListener('abort', abandon)
    if (gone.aborted) abandon()
    return waiter
  }

  /** Who could get nothing however long he waits is told so at once. */
  async #check(pool: string, waiter: Waiter): Promise<void> {
    try {
      const refusal = await this.refusal(pool, waiter.operation)
      if (!waiter.done && isRefusal(refusal) && !mayCome(refusal)) waiter.answer(refusal)
    } catch {
      // He goes on waiting: it will be seen when he is served.
    }
  }

  async #serve(pool: string, queue: Queue): Promise<void> {
    queue.serving = true
    await Promise.resolve() // the hint comes from the midst of what makes the key available
    while (queue.hinted && queue.waiting.size > 0 && !this.#closed) {
      queue.hinted = false
      const exhausted = await this.#serveOldest(pool, queue)
      this.#tell(queue, exhausted)
    }
    queue.serving = false
    if (queue.waiting.size === 0) this.#end(pool, queue)
    if (this.#closed) this.dismiss(pool, REFUSED.draining)
    this.#tell(queue, true)
  }

  /** Returns whether the pool had nothing left. */
  async #serveOldest(pool: string, queue: Queue): Promise<boolean> {
    let exhausted = false
    const served = this.#admit([...queue.waiting.values().take(SERVED_AT_A_TIME)])
    if (served.length === 0) {
      queue.hinted = true // what came is for those behind them
      return false
    }
    try {
      const results = (await this.#run(pool, served.flatMap(operationsOf))).values()
      for (const waiter of served) {
        const acquired = results.next().value as Acquired
        if (waiter.remember !== null) results.next()
        this.#deliver(pool, waiter, acquired)
        if (isRefusal(acquired) && mayCome(acquired)) exhausted = true
        else queue.hinted = true // there may be something for another too
      }
    } catch (error) {
      for (const waiter of served) if (!waiter.done) waiter.fail(error as Error)
      queue.hinted = true
    }
    return exhausted
  }

  #end(pool: string, queue: Queue): void {
    this.#queues.delete(pool)
    queue.unwatch()
  }

  /** Those who may still have something; the others are told so, and wait no more. */
  #admit(waiters: Waiter[]): Waiter[] {
    return waiters.filter((waiter) => {
      const refusal = waiter.bar()
      if (refusal !== null) waiter.answer(refusal)
      return refusal === null
    })
  }

  #deliver(pool: string, waiter: Waiter, acquired: Acquired): void {
    if (isRefusal(acquired)) {
      if (!mayCome(acquired) && !waiter.done) waiter.answer(acquired)
    } else if (!waiter.done) waiter.answer(acquired)
    else if (waiter.remember === null) this.#giveBack(pool, acquired)
  }

  /** Tells those who look on what they can know by now. */
  #tell(queue: Queue, exhausted: boolean): void {
    const { onlookers } = queue
    if (onlookers.length === 0) return
    const [oldest] = queue.waiting
    queue.onlookers = []
    for (const onlooker of onlookers) {
      const servedAll = oldest === undefined || oldest.place >= onlooker.place
      if (exhausted || servedAll) onlooker.tell(servedAll)
      else queue.onlookers.push(onlooker)
    }
  }

  #giveBack(pool: string, { leases }: Answers['acquire']): void {
    const releases = leases.map(({ leaseId }) => ({ op: 'release', leaseId }) as const)
    // If it fails the leases end by time, as those of any holder who is gone.
    const done = (): void => undefined
    this.#keepTrack(this.#run(pool, releases).then(done, done))
  }

  #keepTrack(work: Promise<void>): void {
    this.#underWay.add(work)
    void work.then(() => this.#underWay.delete(work))
  }
}

/** Whether that refusal may be another answer a moment later. */
function mayCome({ code }: Refusal): boolean {
  return code === 'pool_exhausted' || code === 'pool_empty'
}

export function operationsOf({ operation, remember }: Request): Operation[] {
  return remember === null ? [operation] : [operation, remember]
}
