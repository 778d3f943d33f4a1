/**
 * The load of the SDK's benchmark: so many workers of one process lease a key, look at it and give it back, over and
 * over, by the client or by plain fetch; and check that nobody else holds it.
 */
import { TokenOrchestrator } from '../src/client/client.ts'
import { answerParent } from './child.ts'
import { Held } from './held.ts'
import { Latencies } from './latencies.ts'

const POOL = 'default'

/** By what the workers ask. */
export type Means = 'batches' | 'requests' | 'fetch'

type Cycle = (work: (keyId: string) => void) => Promise<void>

function cycleOf(means: Means, url: string): Cycle {
  if (means === 'fetch') {
    const leases = `${url}/v1/pools/${POOL}/leases`
    const ask = async (path: string, status: number): Promise<unknown> => {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(path, { method: 'POST', headers, body: '{}' })
      const text = await response.text()
      if (response.status !== status) throw new Error(`${response.status}: ${text}`)
      return JSON.parse(text)
    }
    return async (work) => {
      const { leaseId, keyId } = (await ask(leases, 201)) as { leaseId: string; keyId: string }
      work(keyId)
      await ask(`${leases}/${leaseId}/release`, 200)
    }
  }
  const client = new TokenOrchestrator({ url, batch: means === 'batches' })
  const onUnreleased = (error: unknown): never => {
    throw error
  }
  return (work) =>
    client.withKey(
      POOL,
      ({ keyId }) => {
        work(keyId)
      },
      { onUnreleased },
    )
}

const tasks = {
  /** Each worker stops with a key given back once `forMs` are over. */
  async cycles(port: number, workers: number, forMs: number, means: Means) {
    const held = new Held()
    const cycle = cycleOf(means, `http://127.0.0.1:${port}`)
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const latencies = new Latencies()
    const worker = async (): Promise<void> => {
      while (performance.now() - start < forMs) {
        const begunAt = performance.now()
        await cycle((keyId) => {
          held.take([keyId])
          held.giveUp([keyId])
        })
        latencies.add(performance.now() - begunAt)
      }
    }
    await Promise.all(Array.from({ length: workers }, worker))
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    const cycles = latencies.total
    return {
      perSecond: (2 * cycles * 1000) / elapsedMs,
      operations: 2 * cycles,
      cycleMs: (elapsedMs * workers) / cycles,
      p50: latencies.quantile(0.5),
      p99: latencies.quantile(0.99),
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },
}

export type SdkTasks = typeof tasks
answerParent(tasks)
