/** The load of the waiters' benchmark: connections that wait for a key, and one that makes them. */
import { answerParent } from './child.ts'
import { type Connection, keyIdOf, openConnections, requestOf } from './connection.ts'
import { Held } from './held.ts'
import { figure } from './report.ts'

const POOL = '/v1/pools/default'
const WAIT_MS = 60_000
const LOOKS = 1000

let port = 0
let maker!: Connection
let waiters: Connection[] = []

function ask(connection: Connection, request: Buffer, expected: number): Promise<string> {
  return new Promise((resolve, reject) => {
    connection.onAnswer = (status, body) => {
      if (status === expected) resolve(body)
      else reject(new Error(`answered ${status} instead of ${expected}: ${body}`))
    }
    connection.send(request)
  })
}

/** Who has been given a key, when it was: filled as the answers come. */
let served: { keyId: string; at: number }[] = []
let onServed: () => void = () => undefined

const tasks = {
  async connect(toPort: number, count: number): Promise<void> {
    port = toPort
    ;[maker, ...waiters] = openConnections(port, count + 1) as [Connection, ...Connection[]]
    await ask(maker, requestOf(port, 'GET', POOL), 200)
  },

  /** Begins to wait on all connections, and ends when the server says so. */
  async wait(): Promise<void> {
    served = []
    const request = requestOf(port, 'POST', `${POOL}/leases`, `{"waitMs":${WAIT_MS}}`)
    for (const waiter of waiters) {
      waiter.onAnswer = (status, body) => {
        if (status !== 201) throw new Error(`a waiter was answered ${status}: ${body}`)
        served.push({ keyId: keyIdOf(body), at: performance.now() })
        onServed()
      }
      waiter.send(request)
    }
    for (let look = 0; look < LOOKS; look++) {
      const shown = await ask(maker, requestOf(port, 'GET', POOL), 200)
      if (shown.includes(`"waiters":${waiters.length},`)) return
    }
    throw new Error('not all came to wait')
  },

  /** Makes a key for each who waits, one after the other. */
  async serve() {
    const request = requestOf(port, 'POST', `${POOL}/keys`, '{"count":1}')
    const fromSending: number[] = []
    const fromAnswer: number[] = []
    for (let made = 1; made <= waiters.length; made++) {
      const given = new Promise<void>((resolve) => {
        onServed = resolve
      })
      const sentAt = performance.now()
      await ask(maker, request, 201)
      const answeredAt = performance.now()
      if (served.length < made) await given
      if (served.length !== made) throw new Error(`${served.length} got one of ${made} keys`)
      const { at } = served.at(-1)!
      fromSending.push(at - sentAt)
      fromAnswer.push(at - answeredAt)
    }
    new Held().take(served.map(({ keyId }) => keyId))
    const path = `${POOL}?force=true`
    const emptied = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'DELETE' })
    if (emptied.status !== 204) throw new Error(`not emptied: ${await emptied.text()}`)
    const p99 = (samples: number[]): number =>
      samples.toSorted((a, b) => a - b)[Math.ceil(samples.length * 0.99) - 1]!
    return {
      sendingP50: figure(fromSending).median,
      sendingP99: p99(fromSending),
      answerP50: figure(fromAnswer).median,
      answerP99: p99(fromAnswer),
    }
  },
}

export type WaitersTasks = typeof tasks
answerParent(tasks)
