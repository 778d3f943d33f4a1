/** The crash simulation for as many seeds as one likes: `npm run simulate -- --seeds 10000`. */
import { parseArgs } from 'node:util'
import { BUGS, findBug, SEEDS_A_BUG } from './crash-bugs.ts'
import { LARGE, type Outcome, simulateCrashes, SMALL } from './crash-simulation.ts'
import { SIGHTINGS, type Sightings } from './sightings.ts'
import { Copies, SMALL_SLICES, type StoreSources } from './store-copies.ts'

const USAGE = `Usage: npm run simulate -- [--seeds 1000] [--from 1]
       npm run simulate -- --seed NUMBER [--trace]
       npm run simulate -- --bugs

Servers that crash again and again, in virtual time: each seed is another. --seed looks at one, of which --trace tells
all that happens. --bugs breaks each promise on purpose and says which seed finds that.
`
/** Of so many seeds one is simulated with slices as large as they are. */
const LARGE_EVERY = 5
const SEEDS_A_LINE = 500
/** So many seeds come across all that they are for. */
const SEEDS_FOR_ALL = 500

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

class Simulator {
  readonly #small: StoreSources
  readonly #large: StoreSources
  readonly sightings: Sightings = new Map()

  private constructor(small: StoreSources, large: StoreSources) {
    this.#small = small
    this.#large = large
  }

  static async open(copies: Copies): Promise<Simulator> {
    return new Simulator(await copies.load(SMALL_SLICES), await copies.load([]))
  }

  /** @throws Error for the first thing that is wrong. */
  run(seed: number, onNote?: (what: string) => void): Promise<Outcome> {
    const isLarge = seed % LARGE_EVERY === 0
    const options = { ...(isLarge ? LARGE : SMALL), seed, ...(onNote && { onNote }) }
    return simulateCrashes(isLarge ? this.#large : this.#small, options, this.sightings)
  }
}

async function runOne(copies: Copies, seed: number, trace: boolean): Promise<boolean> {
  const simulator = await Simulator.open(copies)
  const { hash, hours, crashes, calls } = await simulator.run(seed, trace ? say : undefined)
  say(`seed ${seed}: ${hours.toFixed(1)} virtual hours, ${crashes} crashes, ${calls} calls`)
  say(`hash ${hash}`)
  return true
}

async function runMany(copies: Copies, from: number, seeds: number): Promise<boolean> {
  const simulator = await Simulator.open(copies)
  const sums = { hours: 0, crashes: 0, calls: 0 }
  const start = performance.now()
  for (let done = 1; done <= seeds; done++) {
    const outcome = await simulator.run(from + done - 1)
    for (const what of ['hours', 'crashes', 'calls'] as const) sums[what] += outcome[what]
    if (done % SEEDS_A_LINE !== 0 && done !== seeds) continue
    const aSecond = (done / (performance.now() - start)) * 1000
    say(
      `${done} seeds, ${aSecond.toFixed(1)} a second: ${sums.hours.toFixed(0)} virtual hours, ` +
        `${sums.crashes} crashes, ${sums.calls} calls: nothing is wrong`,
    )
  }
  say('How often they came across what they are for:')
  for (const sighting of SIGHTINGS) {
    say(`${String(simulator.sightings.get(sighting) ?? 0).padStart(9)}  ${sighting}`)
  }
  const unseen = SIGHTINGS.filter((sighting) => !simulator.sightings.has(sighting))
  return seeds < SEEDS_FOR_ALL || unseen.length === 0
}

/** Whether each is found. */
async function findBugs(copies: Copies): Promise<boolean> {
  let missed = 0
  for (const bug of BUGS) {
    const found = await findBug(copies, bug)
    if (found === null) missed++
    say(`${bug.promise}\n  ${found ?? 'broken, and NOT found'}`)
  }
  say(`${BUGS.length - missed} of ${BUGS.length} bugs are found within ${SEEDS_A_BUG} seeds each`)
  return missed === 0
}

function numberOf(text: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number > 0) return number
  process.stderr.write(USAGE)
  process.exit(2)
}

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    bugs: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(USAGE)
} else {
  const copies = await Copies.open()
  try {
    const isRight = values.bugs
      ? await findBugs(copies)
      : values.seed !== undefined
        ? await runOne(copies, numberOf(values.seed), values.trace)
        : await runMany(copies, numberOf(values.from), numberOf(values.seeds))
    if (!isRight) process.exitCode = 1
  } catch (error) {
    const { message } = error as Error
    say(message)
    const seed = /^seed (\d+)/.exec(message)?.[1]
    if (seed === undefined) throw error
    say(`All that happened: npm run simulate -- --seed ${seed} --trace`)
    process.exitCode = 1
  } finally {
    await copies.remove()
  }
}
