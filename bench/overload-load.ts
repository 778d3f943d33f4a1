/** A load that comes at its own rate, whatever becomes of it: as many callers as there are, and no end of them. */
import { answerParent } from './child.ts'
import { Connection, leaseIdOf, requestOf } from './connection.ts'
import { Latencies } from './latencies.ts'

/** Who has no key by then has gone elsewhere. */
const DEADLINE_MS = 1000
const PATH = '/v1/pools/default/leases'

const tasks = {
  /**
   * Leases and their releases at that many a second, whether or not those before are answered. Who is refused does
   * not come again. What comes in the first `warmUpMs` does not count.
   */
  async offer(
    port: number,
    maxConnections: number,
    perSecond: number,
    warmUpMs: number,
    forMs: number,
  ) {
    const buffer = Buffer.alloc(64 * 1024)
    const connections: Connection[] = []
    const free: Connection[] = []
    const open = (): Connection | undefined => {
      if (connections.length === maxConnections) return undefined
      const connection = new Connection(port, buffer)
      connections.push(connection)
      return connection
    }
    const acquire = requestOf(port, 'POST', PATH, '{"ttlMs":60000}')
    const good = new Latencies()
    const releases = new Latencies()
    const counts = { late: 0, refused: 0, unsent: 0 }
    const start = performance.now()
    const lease = (connection: Connection, dueAt: number): void => {
      const isCounted = dueAt - start >= warmUpMs
      connection.onAnswer = (status, body) => {
        if (status === 503) {
          if (isCounted) counts.refused++
          free.push(connection)
          return
        }
        if (status !== 201) throw new Error(`a lease was answered ${status}: ${body}`)
        const ms = performance.now() - dueAt
        if (isCounted && ms <= DEADLINE_MS) good.add(ms)
        else if (isCounted) counts.late++
        release(connection, leaseIdOf(body), isCounted)
      }
      connection.send(acquire)
    }
    const release = (connection: Connection, leaseId: string, isCounted: boolean): void => {
      const sentAt = performance.now()
      connection.onAnswer = (status, body) => {
        if (status !== 200) throw new Error(`a release was answered ${status}: ${body}`)
        if (isCounted) releases.add(performance.now() - sentAt)
        free.push(connection)
      }
      connection.send(requestOf(port, 'POST', `${PATH}/${leaseId}/release`, '{"outcome":"ok"}'))
    }
    const cpuBefore = process.cpuUsage()
    let offered = 0
    for (let elapsed = 0; elapsed < warmUpMs + forMs; elapsed = performance.now() - start) {
      for (; offered < (elapsed / 1000) * perSecond; offered++) {
        const dueAt = start + (offered / perSecond) * 1000
        const connection = free.pop() ?? open()
        if (connection !== undefined) lease(connection, dueAt)
        else if (dueAt - start >= warmUpMs) counts.unsent++
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    while (free.length < connections.length) await new Promise((resolve) => setTimeout(resolve, 1))
    for (const connection of connections) connection.close()
    const rate = (count: number): number => (count / (elapsedMs - warmUpMs)) * 1000
    return {
      good: rate(good.total),
      late: rate(counts.late),
      refused: rate(counts.refused),
      unsent: rate(counts.unsent),
      goodP50: good.quantile(0.5),
      goodP99: good.quantile(0.99),
      releaseP99: releases.quantile(0.99),
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },
}

export type OverloadTasks = typeof tasks
answerParent(tasks)
