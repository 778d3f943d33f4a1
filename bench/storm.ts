/** A million keys fall due within one second under a steady load. Who notices? */
import { Child, LOAD_CORE, SERVER_CORE } from './child.ts'
import { type Figure, figureOf, keysText, type Table } from './report.ts'
import type { StormLoadTasks } from './storm-load.ts'
import type { StormServerTasks } from './storm-server.ts'

const CONNECTIONS = 64
const PER_SECOND = 2000
const SURVIVORS = 10_000
const WARM_UP_MS = 2000
const QUIET_MS = 3000
/** Between two windows: for the last answers of one. */
const MARGIN_MS = 100

type Watched = Awaited<ReturnType<StormLoadTasks['run']>> &
  Awaited<ReturnType<StormServerTasks['seen']>> & { clearedMs: number }

export async function storm(quick: boolean): Promise<Table[]> {
  const mortals = quick ? 200_000 : 1_000_000
  const storms: { quiet: Watched; storm: Watched }[] = []
  for (let repetition = 0; repetition < (quick ? 1 : 7); repetition++) {
    storms.push(await oneStorm(mortals, quick ? 7000 : 10_000))
  }
  const quiet = storms.map((windows) => windows.quiet)
  const during = storms.map((windows) => windows.storm)
  const served = during.reduce((sum, { mortalAnswers }) => sum + mortalAnswers, 0)
  const dead = during.reduce((sum, { deadAnswers }) => sum + deadAnswers, 0)
  if (dead > 0) throw new Error(`${dead} answers showed a key after its death`)
  const both = (label: string, key: keyof Watched): { label: string; cells: Figure[] } => ({
    label,
    cells: [figureOf(quiet, key), figureOf(during, key)],
  })
  const stormOnly = (
    label: string,
    key: keyof Watched,
  ): { label: string; cells: (Figure | null)[] } => ({
    label,
    cells: [null, figureOf(during, key)],
  })
  return [
    {
      title: `Storm: ${keysText(mortals)} fall due within one second, at ${PER_SECOND} requests/s`,
      columns: ['before', 'during'],
      rows: [
        both('latency p50, ms', 'p50'),
        both('latency p99, ms', 'p99'),
        both('latency max, ms', 'max'),
        both('event loop delay p99, ms', 'delayP99'),
        both('event loop delay max, ms', 'delayMax'),
        stormOnly('oldest deadline not worked off, ms ago', 'latestMs'),
        stormOnly('last key gone, ms after it was due', 'clearedMs'),
        stormOnly('answers about dead keys', 'deadAnswers'),
      ],
      notes: [
        `${served} answers told when a key of the storm would die, and all came before that.`,
      ],
    },
  ]
}

async function oneStorm(
  mortals: number,
  inMs: number,
): Promise<{ quiet: Watched; storm: Watched }> {
  using server = new Child<StormServerTasks>('storm-server.ts', SERVER_CORE)
  using load = new Child<StormLoadTasks>('storm-load.ts', LOAD_CORE)
  const { port, from, until } = await server.ask('start', SURVIVORS, mortals, inMs)
  await load.ask('connect', port, CONNECTIONS)
  const watch = async (from: number, to: number): Promise<Watched> => {
    await server.ask('watch')
    const answers = await load.ask('run', PER_SECOND, from, to, until)
    // Before a storm there is nothing to wait for.
    const clearedMs = to === until ? await server.ask('cleared') : 0
    return { ...answers, ...(await server.ask('seen')), clearedMs }
  }
  const quietFrom = from - QUIET_MS - MARGIN_MS
  const warmFrom = quietFrom - WARM_UP_MS - MARGIN_MS
  if (Date.now() > warmFrom) throw new Error('too slow: the storm comes before the load is warm')
  await watch(warmFrom, warmFrom + WARM_UP_MS)
  const quiet = await watch(quietFrom, quietFrom + QUIET_MS)
  return { quiet, storm: await watch(from, until) }
}
