/**
 * The load of the batch benchmark, over HTTP: each connection sends a batch that leases keys and releases
 * those of its batch before, and checks that it got what it asked for and that nobody else holds it.
 */
import { answerParent } from './child.ts'
import { type Connection, openConnections, requestOf } from './connection.ts'
import { Held } from './held.ts'
import { Latencies } from './latencies.ts'

const TTL_MS = 60_000
const PATH = '/v1/pools/default/batch'

const ACQUIRES = {
  atOnce: (leases: number) => `{"op":"acquire","count":${leases},"ttlMs":${TTL_MS}}`,
  oneByOne: (leases: number) => Array(leases).fill(`{"op":"acquire","ttlMs":${TTL_MS}}`).join(),
}
/** How the leases of a batch are asked for: by one operation or by one each. */
export type Asked = keyof typeof ACQUIRES

const RELEASED = '{"status":200,"released":true}'
const LEASE = /"leaseId":"([\w-]{32})","keyId":"([\da-f-]{36})"/g

/** One connection's leases: those of one batch are released with the next. */
class Holder {
  readonly #held: Held
  readonly #port: number
  readonly #leases: number
  readonly #acquires: string
  readonly #allReleased: string
  #leaseIds: string[] = []
  #keyIds: string[] = []

  /** `leases` in a batch, and releases: together twice as many. */
  constructor(held: Held, port: number, leases: number, asked: Asked) {
    this.#held = held
    this.#port = port
    this.#leases = leases
    this.#acquires = ACQUIRES[asked](leases)
    this.#allReleased = Array(leases).fill(RELEASED).join()
  }

  /** Releases all that it holds; before that it leases as many, unless it is the last one. */
  batch(isLast: boolean): Buffer {
    this.#held.giveUp(this.#keyIds)
    const releases = this.#leaseIds.map((leaseId) => `{"op":"release","leaseId":"${leaseId}"}`)
    const operations = isLast ? releases : [this.#acquires, ...releases]
    return requestOf(this.#port, 'POST', PATH, `{"operations":[${operations.join()}]}`)
  }

  /** Takes what an answer gives. Returns how many were leased and released. */
  take(status: number, body: string, isLast: boolean): number {
    const released = this.#leaseIds.length
    const leases = isLast ? [] : [...body.matchAll(LEASE)]
    this.#leaseIds = leases.map(([, leaseId]) => leaseId!)
    this.#keyIds = leases.map(([, , keyId]) => keyId!)
    const good =
      status === 200 &&
      leases.length === (isLast ? 0 : this.#leases) &&
      (released === 0 || body.endsWith(`${isLast ? '[' : ','}${this.#allReleased}]}`))
    if (!good) throw new Error(`a batch was answered ${status}: ${body.slice(0, 500)}`)
    this.#held.take(this.#keyIds)
    return leases.length + released
  }
}

const tasks = {
  /** Runs until `forMs` are over and everything is released. */
  async batches(
    port: number,
    connectionCount: number,
    forMs: number,
    leases: number,
    asked: Asked,
  ) {
    const held = new Held()
    const latencies = new Latencies()
    const connections = openConnections(port, connectionCount)
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const drive = (connection: Connection): Promise<number> =>
      new Promise((resolve) => {
        const holder = new Holder(held, port, leases, asked)
        let operations = 0
        let isLast = false
        let sentAt = performance.now()
        connection.onAnswer = (status, body) => {
          latencies.add(performance.now() - sentAt)
          operations += holder.take(status, body, isLast)
          if (isLast) {
            resolve(operations)
            return
          }
          isLast = performance.now() - start >= forMs
          const batch = holder.batch(isLast)
          sentAt = performance.now()
          connection.send(batch)
        }
        connection.send(holder.batch(false))
      })
    const counts = await Promise.all(connections.map(drive))
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    for (const connection of connections) connection.close()
    const operations = counts.reduce((sum, count) => sum + count)
    return {
      operations,
      perSecond: (operations / elapsedMs) * 1000,
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },
}

export type BatchTasks = typeof tasks
answerParent(tasks)
