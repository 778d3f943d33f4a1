/** The load of the HTTP benchmark: each connection draws a key, keeps it alive, unblocks it, again. */
import { answerParent } from './child.ts'
import { keyIdOf, openConnections, Template } from './connection.ts'
import { Latencies } from './latencies.ts'

const tasks = {
  /** Runs until `forMs` are over and every cycle that was begun is complete. */
  async cycle(port: number, connectionCount: number, forMs: number) {
    const latencies = new Latencies()
    const connections = openConnections(port, connectionCount)
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    await Promise.all(
      connections.map(
        (connection) =>
          new Promise<void>((resolve, reject) => {
            const draw = new Template(port, 'GET', '/keys', false).bytes
            const keepAlive = new Template(port, 'PUT', '/keepalive/', true)
            const unblock = new Template(port, 'PUT', '/keys/', true)
            let keyId = ''
            let step = 0
            let sentAt = performance.now()
            connection.onAnswer = (status, body) => {
              const now = performance.now()
              latencies.add(now - sentAt)
              if (status !== 200) reject(new Error(`step ${step} was answered ${status}: ${body}`))
              sentAt = now
              step = (step + 1) % 3
              if (step === 1) {
                keyId = keyIdOf(body)
                connection.send(keepAlive.with(keyId))
              } else if (step === 2) {
                connection.send(unblock.with(keyId))
              } else if (now - start < forMs) {
                connection.send(draw)
              } else {
                resolve()
              }
            }
            connection.send(draw)
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

export type LoadTasks = typeof tasks
answerParent(tasks)
