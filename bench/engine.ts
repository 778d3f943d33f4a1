/** How fast the engine is, how large, and how long it ever stops, at three sizes. */
import { Child } from './child.ts'
import type { EngineTasks } from './engine-child.ts'
import { figure, figureOf, keysText, type Table } from './report.ts'

const CHILD = 'engine-child.ts'

export async function engine(quick: boolean): Promise<Table[]> {
  const sizes = quick ? [1_000, 100_000] : [1_000, 1_000_000, 10_000_000]
  return [await growth(sizes, quick ? 1 : 5), await rates(sizes, quick ? 2 : 7, quick ? 50 : 400)]
}

async function growth(sizes: number[], repetitions: number): Promise<Table> {
  const single = await grow(sizes, 1, repetitions)
  const batch = await grow(sizes, 1000, repetitions)
  return {
    title: 'Engine: growing from nothing, a new process for each sample',
    columns: sizes.map(keysText),
    rows: [
      { label: 'keys/s, created one by one', cells: single('createsPerSecond') },
      { label: 'keys/s, created by the thousand', cells: batch('createsPerSecond') },
      { label: 'longest create of one key, ms', cells: single('longestMs') },
      { label: 'longest create of a thousand, ms', cells: batch('longestMs') },
      { label: 'longest delay of the event loop, ms', cells: batch('loopDelayMs') },
      { label: 'bytes a free key, all structures', cells: batch('bytesPerKey') },
      { label: 'bytes a leased key, all structures', cells: batch('bytesPerLeasedKey') },
      {
        label: 'growth of the process, bytes a free key',
        // The process itself moves by more than a thousand keys weigh.
        cells: batch('rssPerKey').map((cell, at) => (sizes[at]! < 100_000 ? null : cell)),
      },
    ],
    notes: ['The delay of the event loop is between creates of a thousand.'],
  }
}

type Growth = Awaited<ReturnType<EngineTasks['grow']>>

async function grow(sizes: number[], step: number, repetitions: number) {
  const runs = sizes.map((): Growth[] => [])
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const [at, size] of sizes.entries()) {
      using child = new Child<EngineTasks>(CHILD)
      runs[at]!.push(await child.ask('grow', size, step))
    }
  }
  return (key: keyof Growth) => runs.map((samples) => figureOf(samples, key))
}

/** All sizes are there at the same time and take turns, so that a slow minute hits them alike. */
async function rates(sizes: number[], rounds: number, forMs: number): Promise<Table> {
  const workloads: { label: string; run: (child: Child<EngineTasks>) => Promise<number> }[] = [
    ...[1, 64, 1000].map((queue) => ({
      label: `lease + release by slot, ${queue} outstanding`,
      run: (child: Child<EngineTasks>) => child.ask('pairsBySlot', forMs, queue),
    })),
    { label: 'lease + release by id', run: (child) => child.ask('pairsById', forMs) },
    {
      label: 'lease + release by id, in batches of 1000',
      run: (child) => child.ask('pairsByBatch', forMs),
    },
    { label: 'keep-alives by slot', run: (child) => child.ask('keepAlivesBySlot', forMs) },
    { label: 'keep-alives by id', run: (child) => child.ask('keepAlivesById', forMs) },
  ]
  using stack = new DisposableStack()
  const children = sizes.map(() => stack.use(new Child<EngineTasks>(CHILD)))
  await Promise.all(children.map((child, at) => child.ask('fill', sizes[at]!)))
  const samples = workloads.map(() => sizes.map((): number[] => []))
  for (let round = 0; round <= rounds; round++) {
    for (const [row, { run }] of workloads.entries()) {
      for (const [column, child] of children.entries()) {
        const perSecond = await run(child)
        if (round > 0) samples[row]![column]!.push(perSecond) // the first one only warms up
      }
    }
  }
  return {
    title: 'Engine: operations a second, one thread',
    columns: sizes.map(keysText),
    rows: workloads.map(({ label }, row) => ({ label, cells: samples[row]!.map(figure) })),
    notes: ['With 1000 of 1000 keys outstanding every draw gets the key that was just released.'],
  }
}
