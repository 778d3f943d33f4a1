/** What it costs that nothing acknowledged is ever lost. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Child } from './child.ts'
import type { DurableTasks } from './durable-child.ts'
import { durableHttp } from './durable-http.ts'
import { figure, figureOf, keysText, type Table } from './report.ts'

const IN_FLIGHT = [1, 64, 256]
const ROW_BYTES = 64
/** Large groups bring the journal to the size that it keeps quickly. */
const LARGE_GROUP = 1000

export async function durable(quick: boolean): Promise<Table[]> {
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'durable-bench-'))
  try {
    return [
      await recoveries(quick, directory),
      await changes(quick, join(directory, 'changes')),
      await writes(quick, join(directory, 'writes')),
      await durableHttp(quick, directory),
    ]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** A store with so many keys; null: in memory. */
async function opened(directory: string | null, keys: number): Promise<Child<DurableTasks>> {
  const child = new Child<DurableTasks>('durable-child.ts')
  await child.ask('open', directory)
  await child.ask('fill', keys)
  return child
}

async function changes(quick: boolean, directory: string): Promise<Table> {
  const keys = quick ? 100_000 : 1_000_000
  const [rounds, forMs] = quick ? [1, 200] : [7, 700]
  await using memory = await opened(null, keys)
  await using disk = await opened(directory, keys)
  const samples = [memory, disk].map((child) => ({
    child,
    runs: IN_FLIGHT.map((): Awaited<ReturnType<DurableTasks['changes']>>[] => []),
  }))
  for (let round = 0; round <= rounds; round++) {
    for (const [at, inFlight] of IN_FLIGHT.entries()) {
      for (const { child, runs } of samples) {
        const run = await child.ask('changes', inFlight, forMs)
        if (round > 0) runs[at]!.push(run) // the first one only warms up
      }
    }
  }
  const [inMemory, durable] = samples.map(({ runs }) => runs) as [Runs, Runs]
  return {
    title: `Store: changes a second, ${keysText(keys)}, without HTTP`,
    columns: IN_FLIGHT.map((count) => `${count} in flight`),
    rows: [
      { label: 'in memory', cells: inMemory.map((runs) => figureOf(runs, 'perSecond')) },
      { label: 'durable', cells: durable.map((runs) => figureOf(runs, 'perSecond')) },
      {
        label: 'ratio',
        cells: durable.map((runs, at) =>
          figure(runs.map((run, round) => run.perSecond / inMemory[at]![round]!.perSecond)),
        ),
      },
      { label: 'cores at work, durable', cells: durable.map((runs) => figureOf(runs, 'cores')) },
    ],
    notes: ['Each in flight is one lease or one release, awaited. All cores are free to be used.'],
  }
}

type Runs = Awaited<ReturnType<DurableTasks['changes']>>[][]

/** At a steady state: for each byte of the journal about one of a chunk is written. */
async function writes(quick: boolean, directory: string): Promise<Table> {
  const keys = quick ? 100_000 : 1_000_000
  const share = quick ? 0.05 : 1
  const sizes = [
    { size: 1, rows: 20_000 },
    { size: 16, rows: 200_000 },
    { size: 64, rows: 1_500_000 },
    { size: 256, rows: 1_000_000 },
  ]
  await using child = await opened(directory, keys)
  await child.ask('groups', LARGE_GROUP, share * 3_000_000)
  const runs = sizes.map((): Awaited<ReturnType<DurableTasks['groups']>>[] => [])
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    for (const [at, { size, rows }] of sizes.entries()) {
      runs[at]!.push(await child.ask('groups', size, share * rows))
    }
  }
  const row = (label: string, key: keyof Awaited<ReturnType<DurableTasks['groups']>>) => ({
    label,
    cells: runs.map((samples) => figureOf(samples, key)),
  })
  return {
    title: `Journal: what is written, ${keysText(keys)}, chunks and checkpoints included`,
    columns: sizes.map(({ size }) => (size === 1 ? 'groups of 1' : `of ${size}`)),
    rows: [
      row('bytes at the device for each changed row', 'atDevice'),
      {
        label: `as a multiple of the row (${ROW_BYTES} bytes)`,
        cells: runs.map((samples) => figure(samples.map((run) => run.atDevice / ROW_BYTES))),
      },
      row('bytes that the process wrote for each', 'byProcess'),
      row('changed rows/s, one group at a time', 'perSecond'),
      row('longest pause of the event loop, ms', 'longestPauseMs'),
    ],
    notes: ['The device counts what all others write too. Rows are leased and released at random.'],
  }
}

async function recoveries(quick: boolean, directory: string): Promise<Table> {
  const sizes = quick ? [10_000, 100_000] : [10_000, 1_000_000, 10_000_000]
  const runs: { ms: number; bytesPerKey: number }[][] = []
  for (const keys of sizes) {
    const data = join(directory, `recovery-${keys}`)
    await makeState(data, keys)
    const samples = []
    for (let repetition = 0; repetition < (quick ? 1 : 3); repetition++) {
      samples.push(await reopen(data, keys))
    }
    runs.push(samples)
    rmSync(data, { recursive: true })
  }
  return {
    title: 'Recovery: a process was killed, another one opens the store',
    columns: sizes.map(keysText),
    rows: [
      { label: 'ms until it can serve', cells: runs.map((samples) => figureOf(samples, 'ms')) },
      { label: 'bytes a key', cells: runs.map((samples) => figureOf(samples, 'bytesPerKey')) },
    ],
    notes: [
      'The files are in the cache of the system. Half as many changes as keys followed the creates.',
    ],
  }
}

async function makeState(directory: string, keys: number): Promise<void> {
  await using child = await opened(directory, keys)
  await child.ask('groups', LARGE_GROUP, keys / 2)
}

async function reopen(
  directory: string,
  keys: number,
): Promise<{ ms: number; bytesPerKey: number }> {
  const sizes = readdirSync(directory).map((name) => statSync(join(directory, name)).size)
  const bytesPerKey = sizes.reduce((sum, size) => sum + size) / keys
  await using child = new Child<DurableTasks>('durable-child.ts')
  const ms = await child.ask('open', directory)
  const found = await child.ask('keys')
  if (found !== keys) throw new Error(`${found} keys were recovered of ${keys}`)
  return { ms, bytesPerKey }
}
