/**
 * What becomes of requests when more are asked for than can be answered. Without this all are answered too late,
 * renewals too, and leases end under their holders' hands.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Route } from './contract/common.ts'
import { sendProblem } from './problem.ts'

/** How often it is looked whether the event loop comes round, while requests come. */
const LOOK_MS = 10
/** The event loop is late when what is due waits longer. */
const LATE_MS = 100
/** So long it may be late all the time: a burst is worked off. */
const PATIENCE_MS = 500
/** So few in a turn of the loop are not what makes it late, but other programs on the machine: to refuse them helps nobody. */
const FEW = 16
/** A refusal takes a good part of the work that a lease does, so that refusing all at once would leave none. */
const REFUSALS_PER_MS = 2
/** Who comes when so many wait to be refused is not even told. */
const MAX_WAITING = 10_000
const RETRY_AFTER_S = 1

/** Whether it is refused in an overload. Nor is what anybody may ask: health, the documents, pages. */
export function isSheddable({ scopes, essential }: Partial<Route>): boolean {
  return scopes !== null && essential !== true
}

/**
 * Whether the event loop keeps up. As in CoDel (Nichols, Jacobson: Controlling Queue Delay, ACM Queue 10(5), 2012) what
 * counts is how long the oldest has waited, not how many there are: neither a burst nor a single pause is an overload.
 * Instants are in ms, by a stopwatch.
 */
export class Lateness {
  /** Infinity: nothing is due. */
  #dueAt = Infinity
  /** Infinity: it was in time when it last came round. */
  #lateSince = Infinity
  /** How many have asked since it last came round. */
  #asked = 0

  /** The event loop should come round by then. */
  expect(instant: number): void {
    this.#dueAt = instant
  }

  /** The event loop has come round. */
  cameRound(now: number): void {
    if (now - this.#dueAt <= LATE_MS) this.#lateSince = Infinity
    else if (this.#lateSince === Infinity) this.#lateSince = this.#dueAt
    this.#dueAt = Infinity
    this.#asked = 0
  }

  /** Somebody asks. Returns whether he is one of many, and has waited too long already, as have others for a while. */
  isTooMany(now: number): boolean {
    if (++this.#asked <= FEW) return false
    return now - this.#dueAt > LATE_MS && now - this.#lateSince > PATIENCE_MS
  }
}

/** Refuses what is asked for in an overload, but for the routes that help to end it. */
export class Overload {
  /** Since the start. */
  refusals = 0
  readonly #lateness = new Lateness()
  /** Those to be refused, oldest first. Their callers ask for nothing else meanwhile. */
  readonly #waiting: FastifyReply[] = []
  #lookedAt = 0
  #isLooking = false
  /** Since the last look. */
  #wasAsked = false
  readonly #stopwatch: () => number

  /** `stopwatch` reads in ms. */
  constructor(stopwatch: () => number) {
    this.#stopwatch = stopwatch
  }

  /** Every route that is registered from now on, and takes an access token, is held to this. */
  watch(app: FastifyInstance): void {
    app.addHook('onRoute', (route) => {
      if (!isSheddable(route as Partial<Route>)) return
      route.onRequest = (_request, reply, done) => {
        const now = this.#stopwatch()
        this.#wasAsked = true
        if (!this.#isLooking) this.#lookAgain(now)
        if (!this.#lateness.isTooMany(now)) done()
        else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(reply)
        else this.#hangUp(reply)
      }
    })
  }

  #lookAgain(now: number): void {
    this.#isLooking = true
    this.#wasAsked = false
    this.#lookedAt = now
    this.#lateness.expect(now + LOOK_MS)
    setTimeout(this.#look, LOOK_MS)
  }

  readonly #look = (): void => {
    const now = this.#stopwatch()
    this.#lateness.cameRound(now)
    this.#refuse(Math.ceil((now - this.#lookedAt) * REFUSALS_PER_MS))
    this.#isLooking = false
    if (this.#wasAsked || this.#waiting.length > 0) this.#lookAgain(now)
  }

  #refuse(count: number): void {
    for (const reply of this.#waiting.splice(0, count)) {
      this.refusals++
      if (reply.raw.closed) continue
      reply.header('retry-after', RETRY_AFTER_S)
      sendProblem(reply, 'overloaded')
    }
  }

  #hangUp(reply: FastifyReply): void {
    this.refusals++
    reply.hijack()
    reply.raw.destroy()
  }
}
