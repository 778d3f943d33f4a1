import assert from 'node:assert/strict'
import { after, before, test, type TestContext } from 'node:test'
import { type CrashOptions, LARGE, simulateCrashes, SMALL } from './crash-simulation.ts'
import { SIGHTINGS, type Sightings } from './sightings.ts'
import { Copies, type Edit, SMALL_SLICES, type StoreSources } from './store-copies.ts'

const { SIMULATION_SEED, SIMULATION_SEEDS } = process.env
const FIRST_SEED = Number(SIMULATION_SEED ?? 1)
/** How many seeds: those given, else one that is to be looked into, else some. */
const SEEDS = Number(SIMULATION_SEEDS ?? (SIMULATION_SEED === undefined ? 120 : 1))

const sightings: Sightings = new Map()
let copies: Copies

before(async () => {
  copies = await Copies.open()
})

after(() => copies.remove())

/** Simulates `seeds` servers with these edits to the sources, and says what they have been through. */
async function simulateAll(
  t: TestContext,
  edits: Edit[],
  seeds: number,
  options: Omit<CrashOptions, 'seed'>,
): Promise<void> {
  const sources: StoreSources = await copies.load(edits)
  const sums = { hours: 0, crashes: 0, calls: 0 }
  for (let seed = FIRST_SEED; seed < FIRST_SEED + seeds; seed++) {
    const outcome = await simulateCrashes(sources, { seed, ...options }, sightings)
    for (const what of ['hours', 'crashes', 'calls'] as const) sums[what] += outcome[what]
  }
  t.diagnostic(`SIMULATION_SEED=${FIRST_SEED} SIMULATION_SEEDS=${seeds}`)
  t.diagnostic(`virtual hours: ${sums.hours}, crashes: ${sums.crashes}, calls: ${sums.calls}`)
}

test('what was answered outlives every crash; what was not is there whole or not at all', async (t) => {
  await simulateAll(t, SMALL_SLICES, SEEDS, SMALL)
})

test('the same with slices and chunks as large as they are', async (t) => {
  await simulateAll(t, [], Math.ceil(SEEDS / 4), LARGE)
})

test('the simulations came across all that they are for', (t) => {
  if (SEEDS < 100) t.skip('too few of them')
  else assert.deepEqual(new Set(SIGHTINGS).difference(sightings), new Set())
})

test('a seed says all: what happened once happens again', async () => {
  const sources = await copies.load(SMALL_SLICES)
  const options = { ...SMALL, seed: FIRST_SEED, steps: 7500 }
  const first = await simulateCrashes(sources, options)
  assert.deepEqual(await simulateCrashes(sources, options), first)
})
