/** What many small pools cost beside one large pool with as many keys. */
import { Child } from './child.ts'
import type { PoolsTasks } from './pools-child.ts'
import { figure, keysText, type Table } from './report.ts'

const KEYS_EACH = 100

export async function pools(quick: boolean): Promise<Table[]> {
  const count = quick ? 2_000 : 100_000
  const [rounds, forMs] = quick ? [2, 50] : [7, 400]
  using many = new Child<PoolsTasks>('pools-child.ts')
  using one = new Child<PoolsTasks>('pools-child.ts')
  const [manyWeigh, oneWeighs] = await Promise.all([
    many.ask('fill', count, KEYS_EACH),
    one.ask('fill', 1, count * KEYS_EACH),
  ])
  const manyPairs: number[] = []
  const onePairs: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const samples = [await many.ask('pairs', forMs), await one.ask('pairs', forMs)] as const
    if (round === 0) continue // the first one only warms up
    manyPairs.push(samples[0])
    onePairs.push(samples[1])
  }
  const weights = (['processBytes', 'tableBytes', 'heapBytes'] as const).map((key) => ({
    label: WEIGHTS[key],
    cells: [
      figure([manyWeigh[key]]),
      figure([oneWeighs[key]]),
      figure([manyWeigh[key] / oneWeighs[key]]),
    ],
  }))
  const ratios = manyPairs.map((pairs, round) => pairs / onePairs[round]!)
  return [
    {
      title: 'Pools: the same number of keys in many pools and in one',
      columns: [`${count} x ${KEYS_EACH} keys`, `1 x ${keysText(count * KEYS_EACH)}`, 'ratio'],
      rows: [
        ...weights,
        {
          label: 'lease + release by id, pairs/s',
          cells: [figure(manyPairs), figure(onePairs), figure(ratios)],
        },
      ],
      notes: [],
    },
  ]
}

const WEIGHTS = {
  processBytes: 'growth of the process, bytes a key',
  tableBytes: 'of it tables, bytes a key',
  heapBytes: 'of it JavaScript heap, bytes a key',
}
