/** Who waits and hangs up about when he is given the only key: either he has it, or the next one does. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Scratch } from '../crash/scratch.ts'
import { Connection, type HttpAnswer, insist } from '../support/connection.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { dial, received } from '../support/server.ts'
import { startTried } from './tried-server.ts'

const ROUNDS = 200
/** Longer than anybody here has patience: a key that is held by nobody does not come back. */
const TTL_MS = 3_600_000
/** Between the hang-up and what makes the key available, whichever is first. */
const MOST_TURNS = 60
const PATH = '/v1/pools/one'
const WAITING = JSON.stringify({ waitMs: 60_000, ttlMs: TTL_MS })
const REQUEST = [
  `POST ${PATH}/leases HTTP/1.1`,
  'Host: localhost',
  'Content-Type: application/json',
  `Content-Length: ${WAITING.length}`,
  '',
  WAITING,
].join('\r\n')

class Owner {
  readonly #connection: Connection

  constructor(port: number) {
    this.#connection = new Connection(port)
  }

  async ask(method: string, path: string, body?: object): Promise<HttpAnswer> {
    const answer = await insist(this.#connection, method, PATH + path, body)
    assert(answer.status < 300, answer.text)
    return answer
  }

  async waiters(): Promise<number> {
    const { text } = await this.ask('GET', '')
    return (JSON.parse(text) as { waiters: number }).waiters
  }

  /** Waits for the key; it must come before its last holder's time is over. */
  async acquire(): Promise<string> {
    const { text } = await this.ask('POST', '/leases', { ttlMs: TTL_MS, waitMs: 20_000 })
    return (JSON.parse(text) as { leaseId: string }).leaseId
  }

  release(leaseId: string): Promise<HttpAnswer> {
    return this.ask('POST', `/leases/${leaseId}/release`)
  }

  close(): void {
    this.#connection.close()
  }
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate)
}

for (const where of ['in memory', 'on disk'] as const) {
  test(`${ROUNDS} times, ${where}`, async (t) => {
    using scratch = new Scratch()
    const data = `--data-dir=${join(scratch.path, 'data')}` as const
    await using served = await startTried(where === 'on disk' ? data : '--memory')
    const random = new SeededRandom(1)
    const owner = new Owner(served.port)
    await owner.ask('PUT', '', { keyLifetimeMs: null })
    await owner.ask('POST', '/keys', { count: 1 })
    let leaseId = await owner.acquire()
    const outcomes = { served: 0, gone: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const socket = await dial(served.port)
      socket.write(REQUEST)
      while ((await owner.waiters()) === 0);
      // Only his sending side is closed: he hears what the server says all the same.
      const answer = received(socket)
      const isFirst = round % 2 === 0
      if (isFirst) {
        socket.end()
        await turns(random.below(MOST_TURNS))
        if (round % 20 === 0) while ((await owner.waiters()) > 0);
      }
      const released = owner.release(leaseId)
      if (!isFirst) {
        await turns(random.below(MOST_TURNS))
        if (round % 20 === 1) await released.then(() => owner.waiters())
        socket.end()
      }
      await released
      const lease = /^HTTP\/1\.1 201 .*"leaseId":"([\w-]{32})".*\}$/s.exec(await answer)
      outcomes[lease === null ? 'gone' : 'served']++
      if (lease !== null) await owner.release(lease[1]!)
      leaseId = await owner.acquire()
    }
    owner.close()
    t.diagnostic(`${outcomes.served} were served, ${outcomes.gone} were gone before`)
    assert(outcomes.served > 0 && outcomes.gone > 0)
  })
}
