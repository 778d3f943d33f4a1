/**
 * The load of the storm benchmark: so many requests a second, whether or not the answers keep up. A
 * latency counts from the instant at which the request was to be sent. Every answer that tells the death
 * of a key is checked against the instant at which it was asked for.
 */
import { SystemClock } from '../src/clock.ts'
import { answerParent } from './child.ts'
import { type Connection, keyIdOf, openConnections, Template } from './connection.ts'
import { Latencies } from './latencies.ts'

/** Two processes read the same clock, but each has rounded it once. */
const CLOCK_ERROR_MS = 2

const clock = new SystemClock()

type Step = 'draw' | 'show' | 'unblock'

/** Draws, shows and unblocks one key after another, a request each time that it is called. */
class Caller {
  readonly #connection: Connection
  readonly #draw: Template
  readonly #show: Template
  readonly #unblock: Template
  #step: Step = 'draw'
  #keyId = ''

  constructor(port: number, connection: Connection) {
    this.#connection = connection
    this.#draw = new Template(port, 'GET', '/keys', false)
    this.#show = new Template(port, 'GET', '/keys/', true)
    this.#unblock = new Template(port, 'PUT', '/keys/', true)
  }

  call(done: (diesAt: number | null) => void): void {
    const step = this.#step
    this.#connection.onAnswer = (status, body) => {
      const died = status === 404 && step !== 'draw' // keys die in their holder's hands
      if (status !== 200 && !died) throw new Error(`${step} was answered ${status}: ${body}`)
      if (step === 'draw') this.#keyId = keyIdOf(body)
      const diesAt = step === 'unblock' || died ? null : deathIn(body, step)
      this.#step = died || step === 'unblock' ? 'draw' : step === 'draw' ? 'show' : 'unblock'
      done(diesAt)
    }
    if (step === 'draw') this.#connection.send(this.#draw.bytes)
    else this.#connection.send((step === 'show' ? this.#show : this.#unblock).with(this.#keyId))
  }
}

/** Leases end with their key here, so that the draw tells its death too. */
function deathIn(body: string, step: 'draw' | 'show'): number {
  const answer = JSON.parse(body) as { blockedUntil: string; expiresAt: string }
  return Date.parse(step === 'draw' ? answer.blockedUntil : answer.expiresAt)
}

interface Latency {
  p50: number
  p99: number
  max: number
  requests: number
  /** Answers that told the death of a key of the storm; and those that came after it. */
  mortalAnswers: number
  deadAnswers: number
}

let callers: Caller[] = []

const tasks = {
  connect(port: number, count: number): void {
    callers = openConnections(port, count).map((connection) => new Caller(port, connection))
  },

  /** Sends from one instant to another, `perSecond`; `mortalUntil` tells the keys of the storm. */
  run(perSecond: number, from: number, until: number, mortalUntil: number) {
    const latencies = new Latencies()
    const idle = [...callers]
    const startsIn = from - clock.now()
    const start = performance.now() + startsIn
    const count = Math.floor(((until - from) / 1000) * perSecond)
    let sent = 0
    let answered = 0
    let mortalAnswers = 0
    let deadAnswers = 0

    const send = (): void => {
      const dueAt = start + (sent / perSecond) * 1000
      const caller = idle.shift()!
      const askedAt = clock.now()
      sent++
      caller.call((diesAt) => {
        latencies.add(performance.now() - dueAt)
        idle.push(caller)
        answered++
        if (diesAt === null || diesAt > mortalUntil) return
        mortalAnswers++
        if (diesAt < askedAt - CLOCK_ERROR_MS) deadAnswers++
      })
    }

    const { promise, resolve } = Promise.withResolvers<Latency>()
    const turn = (): void => {
      const due = ((performance.now() - start) / 1000) * perSecond
      while (sent < count && sent <= due && idle.length > 0) send()
      if (answered < count) {
        setImmediate(turn) // spins: a timer would be late by more than an answer takes
        return
      }
      resolve({
        p50: latencies.quantile(0.5),
        p99: latencies.quantile(0.99),
        max: latencies.quantile(1),
        requests: count,
        mortalAnswers,
        deadAnswers,
      })
    }
    turn()
    return promise
  },
}

export type StormLoadTasks = typeof tasks
answerParent(tasks)
