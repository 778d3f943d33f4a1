/** One who does to the keys of a pool what comes to his mind, and writes down what he was told. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type HttpAnswer } from '../support/connection.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Act, Operation } from './model.ts'

/** Some leases end by time, most do not. */
const TTLS_MS = [40, 200, 200, 60_000, 60_000, 60_000]
/** Nothing was done, and the answer says so. */
const NOT_DONE = /"code":"(overloaded|draining|store_unavailable|storage_full)"/
/** It may have been done. */
const UNKNOWN = /"code":"(storage_failed|internal_error)"/

/** Before something else is asked of a server that does nothing now. */
const NOT_NOW_MS = 20

interface Mine {
  key: string
  leaseId: string
}

export class Caller {
  readonly #pool: string
  readonly #keys: readonly string[]
  readonly #random: SeededRandom
  readonly #history: Operation[]
  readonly #connection: Connection
  #mine: Mine[] = []

  constructor(
    port: number,
    pool: string,
    keys: readonly string[],
    random: SeededRandom,
    history: Operation[],
  ) {
    this.#pool = `/v1/pools/${pool}`
    this.#keys = keys
    this.#random = random
    this.#history = history
    this.#connection = new Connection(port)
  }

  /** Goes on until the server is gone, or `isOver` says so. */
  async work(isOver: () => boolean): Promise<void> {
    while (!isOver() && (await this.#doSomething()));
    this.#connection.close()
  }

  /** False: the server is gone. */
  async #doSomething(): Promise<boolean> {
    const random = this.#random
    const dice = random.below(20)
    const ttlMs = random.pick(TTLS_MS)!
    const mine = random.pick(this.#mine)
    if (mine === undefined || dice < 8) return this.#acquire(random.pick(this.#keys)!, ttlMs)
    if (dice < 9) {
      const key = random.pick(this.#keys)!
      return this.#ask(key, 'DELETE', `/keys/${key}/lease`, undefined, (answer) => ({
        op: 'revoke',
        told: answer === null ? null : answer.status === 204,
      }))
    }
    const { key, leaseId } = mine
    if (dice < 13) {
      return this.#ask(key, 'POST', `/leases/${leaseId}/renew`, { ttlMs }, (answer) => ({
        ...{ op: 'renew', leaseId, ttlMs },
        told: answer === null ? null : answer.status === 200,
      }))
    }
    // Now and then it asks again later for what it has given back.
    if (!random.chance(0.1)) this.#mine = this.#mine.filter((other) => other !== mine)
    return this.#ask(key, 'POST', `/leases/${leaseId}/release`, {}, (answer) => ({
      ...{ op: 'release', leaseId },
      told: answer === null ? null : answer.text.includes('"released":true'),
    }))
  }

  #acquire(key: string, ttlMs: number): Promise<boolean> {
    return this.#ask(key, 'POST', '/leases', { keyId: key, ttlMs }, (answer) => {
      if (answer === null) return { op: 'acquire', ttlMs, told: null }
      if (answer.status !== 201) return { op: 'acquire', ttlMs, told: false }
      const { leaseId, fencingToken } = JSON.parse(answer.text) as {
        leaseId: string
        fencingToken: number
      }
      this.#mine.push({ key, leaseId })
      return { op: 'acquire', ttlMs, told: { leaseId, token: fencingToken } }
    })
  }

  async #ask(
    key: string,
    method: string,
    path: string,
    body: object | undefined,
    read: (answer: HttpAnswer | null) => Act,
  ): Promise<boolean> {
    const calledAt = performance.now()
    const answer = await this.#connection.ask(method, `${this.#pool}${path}`, body)
    const answeredAt = performance.now()
    if (answer !== null && NOT_DONE.test(answer.text)) {
      await sleep(NOT_NOW_MS)
      return true
    }
    const isUnknown = answer === null || UNKNOWN.test(answer.text)
    const isExpected = isUnknown || [200, 201, 204, 404, 409, 410].includes(answer.status)
    assert(isExpected, `${method} ${path}: ${answer?.text}`)
    const returnedAt = isUnknown ? Infinity : answeredAt
    // A server that is gone does nothing any more.
    const until = answer === null ? answeredAt : returnedAt
    this.#history.push({ key, calledAt, returnedAt, until, act: read(isUnknown ? null : answer) })
    return answer !== null
  }
}
