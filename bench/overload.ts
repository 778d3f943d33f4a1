/** What is left of a server's peak when two and three times as much is asked for. */
import { Child, LOAD_CORE } from './child.ts'
import type { LoadTasks } from './http-load.ts'
import type { OverloadTasks } from './overload-load.ts'
import { RealServer } from './real-server.ts'
import { figure, figureOf, type Table } from './report.ts'

const KEYS = 100_000
/** Enough to have the server reach its peak, and no more. */
const PEAK_CONNECTIONS = 64
/** Callers at a time: more than the server can answer within the time that it may be late. */
const CONNECTIONS = 3000
const TIMES = [1, 2, 3]

type Sample = Awaited<ReturnType<OverloadTasks['offer']>> & { ofPeak: number }

export async function overload(quick: boolean): Promise<Table[]> {
  const [rounds, warmUpMs, forMs] = quick ? [1, 1000, 1000] : [5, 2000, 4000]
  using stack = new DisposableStack()
  const { port } = stack.use(await RealServer.start(KEYS))
  const closed = stack.use(new Child<LoadTasks>('http-load.ts', LOAD_CORE))
  const open = stack.use(new Child<OverloadTasks>('overload-load.ts', LOAD_CORE))
  const peaks: number[] = []
  const samples = TIMES.map((): Sample[] => [])
  for (let round = 0; round <= rounds; round++) {
    const { perSecond } = await closed.ask('cycle', port, PEAK_CONNECTIONS, forMs, 'v1')
    const peak = perSecond / 2 // a cycle is two requests
    if (round > 0) peaks.push(peak)
    for (let turn = 0; turn < TIMES.length; turn++) {
      const at = (turn + round) % TIMES.length
      const sample = await open.ask('offer', port, CONNECTIONS, peak * TIMES[at]!, warmUpMs, forMs)
      if (round > 0) samples[at]!.push({ ...sample, ofPeak: sample.good / peak })
    }
  }
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: [null, ...samples.map((runs) => figureOf(runs, key))],
  })
  return [
    {
      title: `Overload: leases and their releases, up to ${CONNECTIONS} callers at a time`,
      columns: ['peak', ...TIMES.map((times) => `${times} x offered`)],
      rows: [
        {
          label: 'leases/s granted within 1 s',
          cells: [figure(peaks), ...samples.map((runs) => figureOf(runs, 'good'))],
        },
        row('ratio to the peak of the round', 'ofPeak'),
        row('granted later, /s', 'late'),
        row('refused, /s', 'refused'),
        row('not asked for, no caller free, /s', 'unsent'),
        row('p50 of a grant in time, ms', 'goodP50'),
        row('p99 of a grant in time, ms', 'goodP99'),
        row('p99 of a release, ms', 'releaseP99'),
        row('share of its time that the load works', 'loadBusy'),
      ],
      notes: [
        `The peak: ${PEAK_CONNECTIONS} callers, each asking again when answered.`,
        'A grant counts from when it was to be asked for.',
      ],
    },
  ]
}
