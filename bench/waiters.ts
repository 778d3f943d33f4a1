/** Many callers wait for a key of an empty pool: what that costs, and how soon one hears of his key. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Child, cpuMs, LOAD_CORE } from './child.ts'
import { RealServer } from './real-server.ts'
import { figureOf, type Table } from './report.ts'
import type { WaitersTasks } from './waiters-load.ts'

const WAITERS = 1000
/** For what came before: connections, answers, garbage. */
const SETTLE_MS = 500

type Sample = Awaited<ReturnType<WaitersTasks['serve']>> & { idleCpu: number; waitingCpu: number }

export async function waiters(quick: boolean): Promise<Table[]> {
  const [rounds, forMs] = quick ? [1, 500] : [7, 5000]
  using server = await RealServer.start(0)
  using load = new Child<WaitersTasks>('waiters-load.ts', LOAD_CORE)
  /** CPU time of the server from now on, in ms a second. */
  const cpuASecond = async (): Promise<number> => {
    await sleep(SETTLE_MS)
    const before = cpuMs(server.pid)
    await sleep(forMs)
    return ((cpuMs(server.pid) - before) / forMs) * 1000
  }
  await load.ask('connect', server.port, WAITERS)
  const samples: Sample[] = []
  for (let round = 0; round <= rounds; round++) {
    const idleCpu = await cpuASecond()
    await load.ask('wait')
    const waitingCpu = await cpuASecond()
    const sample = { idleCpu, waitingCpu, ...(await load.ask('serve')) }
    if (round > 0) samples.push(sample) // the first one only warms up
  }
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: [figureOf(samples, key)],
  })
  return [
    {
      title: `Waiters: ${WAITERS} wait for a key of an empty pool, which come one at a time`,
      columns: [''],
      rows: [
        row('CPU time of the server while nobody asks for anything, ms a second', 'idleCpu'),
        row('CPU time of the server while all wait, ms a second', 'waitingCpu'),
        row("from sending a create to a waiter's answer, p50, ms", 'sendingP50'),
        row('p99, ms', 'sendingP99'),
        row("from the create's answer to the waiter's, p50, ms", 'answerP50'),
        row('p99, ms', 'answerP99'),
      ],
      notes: [
        'The system counts CPU time in steps of 10 ms. As many connections are open while nobody asks.',
        'Less than nothing from answer to answer: the waiter heard of it first.',
      ],
    },
  ]
}
