/**
 * Requests that come without waiting for the answers to those before. One of a connection is worked on at a time, or
 * each would have an answer in memory that nobody reads; and all of them together leave others most of each turn of the
 * event loop, and most turns where one of them takes long.
 */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Answers that a connection may be owed. A request takes memory before anybody has looked at it. */
const MAX_OWED = 128
/** So long, in each turn of the event loop, those are worked on who did not wait. */
const SLICE_MS = 0.25
/** Where that takes longer, others who ask have so many times as long for themselves: few of them come across it. */
const REST = 20
/** No timer is more exact. */
const SHORTEST_REST_MS = 1
/** However long it was: the process may have slept in the midst of it. */
const LONGEST_REST_MS = 200

/** By connection, in their order; those in front may be over. */
const owed = new WeakMap<Socket, ServerResponse[]>()

/** The last answer that the connection is still owed to a request that came whole. */
export function lastOwed(socket: Socket): ServerResponse | undefined {
  return owed.get(socket)?.findLast(({ req, closed }) => req.complete && !closed)
}

/** Whether another request has come behind this one on its connection. */
export function owesMore(answer: ServerResponse): boolean {
  return owed.get(answer.req.socket)?.at(-1) !== answer
}

export class Pipelining {
  /** Work on requests whose turn has come, oldest first. */
  readonly #waiting: (() => void)[] = []
  #isRunning = false
  /** Whether anybody who did wait has asked since those were last worked on. */
  #othersAsk = false
  #restUntil = 0
  readonly #stopwatch: () => number
  readonly #callAfter: (call: () => void, ms: number) => void

  /** `stopwatch` reads in ms. */
  constructor(
    stopwatch: () => number = () => performance.now(),
    callAfter: (call: () => void, ms: number) => void = setTimeout,
  ) {
    this.#stopwatch = stopwatch
    this.#callAfter = callAfter
  }

  /** Has a request worked on: now, or when what came before it on its connection is answered. It may be too many. */
  take(answer: ServerResponse, work: () => void): void {
    const { socket } = answer.req
    if (socket.destroyed) return
    const answers = owed.get(socket)
    if (answers === undefined) {
      owed.set(socket, [answer])
      this.#workNow(work)
      return
    }
    while (answers[0]?.closed === true) answers.shift()
    const last = answers.at(-1)
    answers.push(answer)
    if (last === undefined) this.#workNow(work)
    else if (answers.length > MAX_OWED) socket.destroy()
    else {
      last.once('close', () => {
        this.#wait(work)
      })
    }
  }

  #workNow(work: () => void): void {
    this.#othersAsk = true
    work()
  }

  #wait(work: () => void): void {
    this.#waiting.push(work)
    if (this.#isRunning) return
    this.#isRunning = true
    setImmediate(this.#run)
  }

  readonly #run = (): void => {
    const begun = this.#stopwatch()
    const rest = this.#restUntil - begun
    if (this.#othersAsk && rest >= SHORTEST_REST_MS) {
      this.#callAfter(this.#run, rest)
      return
    }
    this.#othersAsk = false
    const end = begun + SLICE_MS
    const goOn = (): void => {
      const work = this.#waiting.shift()
      this.#isRunning = work !== undefined
      if (work === undefined) return
      work()
      // What it does without waiting for anything is done by then, its promises too.
      queueMicrotask(() => {
        process.nextTick(goOnOrPause)
      })
    }
    const goOnOrPause = (): void => {
      const now = this.#stopwatch()
      if (now < end) {
        goOn()
        return
      }
      this.#restUntil = now + Math.min((now - end) * REST, LONGEST_REST_MS)
      setImmediate(this.#run)
    }
    goOn()
  }
}
