/** Holders that lease and release one key at a time, whatever they ask for it. */
import { Latencies } from './latencies.ts'

/** What a load did, and how long one answer took. */
export interface Load {
  perSecond: number
  p50: number
  p99: number
  /** Of its time; at 1 the load and not the server is what was measured. */
  loadBusy: number
}

/** One that asks for the next when it has been answered. */
export interface Holder<Lease> {
  lease: () => Promise<Lease>
  /** Rejects if it was not that holder's lease any more. */
  release: (lease: Lease) => Promise<void>
}

/** Runs until `forMs` are over and all is released. */
export async function cycles<Lease>(
  holders: readonly Holder<Lease>[],
  forMs: number,
): Promise<Load> {
  const latencies = new Latencies()
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  const run = async ({ lease, release }: Holder<Lease>): Promise<void> => {
    let sentAt = performance.now()
    const answered = (): void => {
      const now = performance.now()
      latencies.add(now - sentAt)
      sentAt = now
    }
    while (sentAt - start < forMs) {
      const leased = await lease()
      answered()
      await release(leased)
      answered()
    }
  }
  await Promise.all(holders.map(run))
  const elapsedMs = performance.now() - start
  const cpu = process.cpuUsage(cpuBefore)
  return {
    perSecond: (latencies.total / elapsedMs) * 1000,
    p50: latencies.quantile(0.5),
    p99: latencies.quantile(0.99),
    loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
  }
}
