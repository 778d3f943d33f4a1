/** The SDK in one process: work with a key by many at once, joined to batches, in single requests, and by plain fetch. */
import { Child, cpuMs, LOAD_CORE } from './child.ts'
import { RealServer } from './real-server.ts'
import { type Figure, figure, figureOf, keysText, type Table } from './report.ts'
import type { Means, SdkTasks } from './sdk-load.ts'

const KEYS = 10_000
const WORKERS = 1000

interface Sample {
  perSecond: number
  serverUs: number
  cycleMs: number
  loadBusy: number
}
interface Contender {
  label: string
  means: Means
  samples: Sample[]
}

export async function sdk(quick: boolean): Promise<Table[]> {
  const [rounds, forMs] = quick ? [1, 500] : [7, 3000]
  using server = await RealServer.start(KEYS)
  using load = new Child<SdkTasks>('sdk-load.ts', LOAD_CORE)
  const contenders: [Contender, ...Contender[]] = [
    { label: 'withKey', means: 'batches', samples: [] },
    { label: 'withKey, batch: false', means: 'requests', samples: [] },
    { label: 'fetch', means: 'fetch', samples: [] },
  ]
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const { means, samples } = contenders[(turn + round) % contenders.length]!
      const cpuBefore = cpuMs(server.pid)
      const { operations, ...measured } = await load.ask(
        'cycles',
        server.port,
        WORKERS,
        forMs,
        means,
      )
      const serverUs = ((cpuMs(server.pid) - cpuBefore) / operations) * 1000
      if (round > 0) samples.push({ ...measured, serverUs }) // the first one only warms up
    }
  }
  await server.checkReleased(KEYS)
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: contenders.map(({ samples }) => figureOf(samples, key)),
  })
  const [joined] = contenders
  const ratio = {
    label: `${joined.label}, ratio to it`,
    cells: contenders.map(({ samples }): Figure | null =>
      samples === joined.samples
        ? null
        : figure(samples.map(({ perSecond }, at) => joined.samples[at]!.perSecond / perSecond)),
    ),
  }
  return [
    {
      title: `SDK: ${WORKERS} workers of one process lease and release, ${keysText(KEYS)}, in memory`,
      columns: contenders.map(({ label }) => label),
      rows: [
        row('leases + releases/s', 'perSecond'),
        ratio,
        row('CPU time of the server, µs each', 'serverUs'),
        row('a lease and its release take a worker, ms', 'cycleMs'),
        row('share of its time that the load works', 'loadBusy'),
      ],
      notes: ['The work looks at the key and is done: what is measured is the SDK.'],
    },
  ]
}
