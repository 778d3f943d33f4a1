/**
 * `npm run bench:compare -- [--rounds N] [--seconds S] [--keys 100,10000] [--out FOLDER] [--from FILE]`: this server
 * beside what would be used instead; see README.md.
 */
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readFileSync } from 'node:fs'
import { rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { needTool, run } from '../test/support/tools.ts'
import { version } from '../src/version.ts'
import { aimsOf, type Cell, type Comparison, isMet } from './comparison.ts'
import { filesOf, tablesOf } from './comparison-page.ts'
import { type Contender, Contenders } from './contenders.ts'
import { machineText, thisMachine } from './machine.ts'
import { postgresTool } from './postgres.ts'
import { type Figure, figure, figureText, print } from './report.ts'

const FSYNCS = 100
const FEWEST_KEYS = 100
const WARM_UP_ROUNDS = 1
const WARM_UP_MS = 4000
/** Before each turn, of whom others had the core and its caches: until V8 has optimised again what it forgot meanwhile. */
const SETTLE_MS = 2000

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1.5' },
    keys: { type: 'string', default: '100,10000,1000000' },
    out: { type: 'string', default: fileURLToPath(new URL('../docs', import.meta.url)) },
    /** Writes the page of what a run found before, and measures nothing. */
    from: { type: 'string' },
  },
})

async function compare(): Promise<Comparison> {
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]
  const sizes = values.keys.split(',').map(Number)
  const isGood =
    Number.isInteger(rounds) &&
    rounds >= 1 &&
    seconds > 0 &&
    sizes.every((keys, at) => Number.isInteger(keys) && keys >= (sizes[at - 1] ?? FEWEST_KEYS))
  if (!isGood) {
    console.error(
      `--rounds is a whole number, --seconds a number, --keys a rising list, each at least ${FEWEST_KEYS}.`,
    )
    process.exit(2)
  }
  const machine = thisMachine()
  console.log(machineText(machine))
  const begunAt = performance.now()
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'compare-bench-'))
  try {
    const fsyncMs = fsyncTime(directory)
    await using contenders = await Contenders.start(directory, sizes)
    const cells = await measure(contenders.all, sizes, rounds, seconds * 1000)
    await contenders.checkReleased()
    return {
      command: `npm run bench:compare -- --rounds ${rounds} --seconds ${seconds} --keys ${sizes.join()}`,
      machine,
      versions: versions(),
      fsyncMs,
      minutes: Math.round((performance.now() - begunAt) / 60_000),
      rounds,
      seconds,
      sizes,
      cells,
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** All in turns, one loaded at a time. Short turns, which only show that it runs, have a short time to get warm. */
async function measure(
  contenders: readonly Contender[],
  sizes: readonly number[],
  rounds: number,
  forMs: number,
): Promise<Cell[]> {
  const [warmUpMs, settleMs] = forMs < 1000 ? [forMs, forMs] : [WARM_UP_MS, SETTLE_MS]
  const turns = contenders.flatMap(({ name, durable, run: load }) =>
    sizes.map((keys) => {
      const samples = { perSecond: [], p50: [], p99: [], loadBusy: [] }
      const cell: Cell = { contender: name, durable, keys, ...samples }
      return { cell, load }
    }),
  )
  for (let round = 1 - WARM_UP_ROUNDS; round <= rounds; round++) {
    for (let turn = 0; turn < turns.length; turn++) {
      const { cell, load } = turns.at((turn + round * sizes.length) % turns.length)!
      await load(cell.keys, round < 1 ? warmUpMs : settleMs)
      if (round < 1) continue
      const sample = await load(cell.keys, forMs)
      for (const key of ['perSecond', 'p50', 'p99', 'loadBusy'] as const) {
        cell[key].push(Number(sample[key].toPrecision(4)))
      }
    }
    if (round > 0) console.log(`round ${round} of ${rounds}`)
  }
  return turns.map(({ cell }) => cell)
}

/** How long the disk takes to have 4 KiB for good. */
function fsyncTime(directory: string): Figure {
  const file = openSync(join(directory, 'fsync'), 'w')
  const block = Buffer.alloc(4096)
  const samples = Array.from({ length: FSYNCS }, () => {
    const start = performance.now()
    writeSync(file, block)
    fsyncSync(file)
    return Number((performance.now() - start).toPrecision(3))
  })
  closeSync(file)
  return figure(samples)
}

function versions(): Record<string, string> {
  const said = (...command: [string, ...string[]]): string =>
    /\d+\.[\d.]+/.exec(run(...command))![0]
  return {
    'token-orchestrator': version(),
    Redis: said(needTool('redis-server'), '--version'),
    PostgreSQL: said(postgresTool('postgres'), '--version'),
    beanstalkd: said(needTool('beanstalkd'), '-v'),
  }
}

const comparison =
  values.from === undefined
    ? await compare()
    : (JSON.parse(readFileSync(values.from, 'utf8')) as Comparison)
tablesOf(comparison).forEach(print)
console.log('')
for (const aim of aimsOf(comparison)) {
  console.log(`${isMet(aim) ? 'met   ' : 'MISSED'} ${aim.label}: ${figureText(aim.ratio)}`)
}
mkdirSync(join(values.out, 'images'), { recursive: true })
for (const [name, content] of await filesOf(comparison)) {
  writeFileSync(join(values.out, name), content)
}
