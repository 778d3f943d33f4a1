/** The load of the HTTP benchmarks: each connection does the same few requests again and again. */
import { answerParent } from './child.ts'
import { keyIdOf, leaseIdOf, openConnections, requestOf, Template } from './connection.ts'
import { Latencies } from './latencies.ts'

/** A request, made of what the one before was answered, and the status that it must get. */
interface Step {
  status: number
  request: (answer: string) => Buffer
}

const CYCLES = {
  /** Draws a key, keeps it alive, unblocks it. */
  keepAlive(port: number): Step[] {
    const draw = new Template(port, 'GET', '/keys', false).bytes
    const keepAlive = new Template(port, 'PUT', '/keepalive/', true)
    const unblock = new Template(port, 'PUT', '/keys/', true)
    let keyId = ''
    return [
      { status: 200, request: () => draw },
      { status: 200, request: (drawn) => keepAlive.with((keyId = keyIdOf(drawn))) },
      { status: 200, request: () => unblock.with(keyId) },
    ]
  },

  /** Draws a key and unblocks it, whoever holds it by then. */
  plain(port: number): Step[] {
    const draw = new Template(port, 'GET', '/keys', false).bytes
    const unblock = new Template(port, 'PUT', '/keys/', true)
    return [
      { status: 200, request: () => draw },
      { status: 200, request: (drawn) => unblock.with(keyIdOf(drawn)) },
    ]
  },

  /** Draws a key and unblocks it if it still holds it. */
  classic(port: number): Step[] {
    const draw = requestOf(port, 'GET', '/keys')
    const unblock = (drawn: string): Buffer =>
      requestOf(port, 'PUT', `/keys/${keyIdOf(drawn)}?leaseId=${leaseIdOf(drawn)}`)
    return [
      { status: 200, request: () => draw },
      { status: 200, request: unblock },
    ]
  },

  /** Leases a key and releases it. */
  v1(port: number): Step[] {
    const path = '/v1/pools/default/leases'
    const acquire = requestOf(port, 'POST', path, '{"ttlMs":60000}')
    const release = (acquired: string): Buffer =>
      requestOf(port, 'POST', `${path}/${leaseIdOf(acquired)}/release`, '{"outcome":"ok"}')
    return [
      { status: 201, request: () => acquire },
      { status: 200, request: release },
    ]
  },
}

const tasks = {
  /** Runs until `forMs` are over and every cycle that was begun is complete. */
  async cycle(port: number, connectionCount: number, forMs: number, name: CycleName = 'keepAlive') {
    const latencies = new Latencies()
    const connections = openConnections(port, connectionCount)
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    await Promise.all(
      connections.map(
        (connection) =>
          new Promise<void>((resolve, reject) => {
            const steps = CYCLES[name](port)
            let step = 0
            let sentAt = performance.now()
            connection.onAnswer = (status, body) => {
              const now = performance.now()
              latencies.add(now - sentAt)
              if (status !== steps[step]!.status)
                reject(new Error(`step ${step} was answered ${status}: ${body}`))
              sentAt = now
              step = (step + 1) % steps.length
              if (step > 0 || now - start < forMs) connection.send(steps[step]!.request(body))
              else resolve()
            }
            connection.send(steps[0]!.request(''))
          }),
      ),
    )
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    for (const connection of connections) connection.close()
    return {
      requests: latencies.total,
      perSecond: (latencies.total / elapsedMs) * 1000,
      p50: latencies.quantile(0.5),
      p90: latencies.quantile(0.9),
      p99: latencies.quantile(0.99),
      p999: latencies.quantile(0.999),
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },
}

export type CycleName = keyof typeof CYCLES
export type LoadTasks = typeof tasks
answerParent(tasks)
