/** Calls of one moment, asked of the server together: a request costs far more than what it asks for. */
import { afterTurn, type ClientClock } from './clock.ts'
import { ProblemError, UnreachableError } from './errors.ts'

/** One of several that were asked together was not answered: it is to be asked with others again, or alone. */
export type Unanswered = 'again' | 'alone'

export interface Asks<Q, A> {
  /** Only those of one lane are asked together. */
  lane: (question: Q) => string
  alone: (question: Q, signal?: AbortSignal) => Promise<A>
  together: (
    questions: readonly Q[],
    signal: AbortSignal,
  ) => Promise<readonly (A | ProblemError | Unanswered)[]>
  /** Hears of answers to who has given up. */
  unwanted?: (question: Q, answer: A) => void
}

interface Call<Q, A> {
  question: Q
  signal: AbortSignal | undefined
  resolve: (answer: A) => void
  reject: (error: unknown) => void
}

interface Lane<Q, A> {
  waiting: Call<Q, A>[]
  underWay: number
  isDue: boolean
}

/** Of a request: so the server works on one while the client does on the other, and neither stands still for long. */
const MOST_CALLS = 500
/** While so many are under way, calls wait for one to come back, to be joined. */
const MOST_UNDER_WAY = 4
/** But not for longer, for it may never come back. */
const LONGEST_HELD_MS = 5
/** Refused as it stands, perhaps because of one call only. */
const TOGETHER_REFUSED: readonly (number | null)[] = [400, 413]

export class Joined<Q, A> {
  readonly #asks: Asks<Q, A>
  readonly #clock: ClientClock
  readonly #lanes = new Map<string, Lane<Q, A>>()

  constructor(clock: ClientClock, asks: Asks<Q, A>) {
    this.#clock = clock
    this.#asks = asks
  }

  /** At the end of this turn of the event loop: alone, if nobody else has come. */
  ask(question: Q, signal?: AbortSignal): Promise<A> {
    const answer = new Promise<A>((resolve, reject) => {
      this.#enter({ question, signal, resolve, reject })
    })
    return signal === undefined ? answer : unlessAborted(answer, signal)
  }

  #enter(call: Call<Q, A>): void {
    const name = this.#asks.lane(call.question)
    let lane = this.#lanes.get(name)
    if (lane === undefined) {
      lane = { waiting: [], underWay: 0, isDue: false }
      this.#lanes.set(name, lane)
    }
    lane.waiting.push(call)
    this.#sendSoon(name, lane)
  }

  #sendSoon(name: string, lane: Lane<Q, A>): void {
    if (lane.isDue) return
    lane.isDue = true
    afterTurn(() => {
      lane.isDue = false
      lane.waiting = lane.waiting.filter(isWanted)
      while (lane.waiting.length > 0 && lane.underWay < MOST_UNDER_WAY) {
        this.#send(name, lane, lane.waiting.splice(0, MOST_CALLS))
      }
      if (lane.waiting.length === 0 && lane.underWay === 0) this.#lanes.delete(name)
    })
  }

  #send(name: string, lane: Lane<Q, A>, calls: readonly Call<Q, A>[]): void {
    lane.underWay++
    let isAwaited = true
    const goOn = (): void => {
      if (!isAwaited) return
      isAwaited = false
      cancel()
      lane.underWay--
      this.#sendSoon(name, lane)
    }
    const cancel = this.#clock.callAfter(LONGEST_HELD_MS, goOn)
    const asked = calls.length === 1 ? this.#askAlone(calls[0]!) : this.#askTogether(calls)
    void asked.finally(goOn)
  }

  async #askAlone({ question, signal, resolve, reject }: Call<Q, A>): Promise<void> {
    try {
      resolve(await this.#asks.alone(question, signal))
    } catch (error) {
      reject(error)
    }
  }

  async #askTogether(calls: readonly Call<Q, A>[]): Promise<void> {
    const everybodyGone = new AbortController()
    const look = (): void => {
      if (!calls.some(isWanted)) everybodyGone.abort()
    }
    for (const { signal } of calls) signal?.addEventListener('abort', look)
    try {
      const questions = calls.map(({ question }) => question)
      const answers = await this.#asks.together(questions, everybodyGone.signal)
      for (let at = 0; at < calls.length; at++) this.#answer(calls[at]!, answers[at]!)
    } catch (error) {
      const isRefused =
        (error instanceof ProblemError || error instanceof UnreachableError) &&
        TOGETHER_REFUSED.includes(error.status)
      for (const call of calls) {
        if (isRefused) this.#answer(call, 'alone')
        else call.reject(error)
      }
    } finally {
      for (const { signal } of calls) signal?.removeEventListener('abort', look)
    }
  }

  #answer(call: Call<Q, A>, answer: A | ProblemError | Unanswered): void {
    if (answer instanceof ProblemError) call.reject(answer)
    else if (answer === 'again') this.#enter(call)
    else if (answer === 'alone') void this.#askAlone(call)
    else if (isWanted(call)) call.resolve(answer)
    else this.#asks.unwanted?.(call.question, answer)
  }
}

/** @throws the signal's reason as soon as it is aborted. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function isWanted({ signal }: { signal: AbortSignal | undefined }): boolean {
  return signal?.aborted !== true
}
