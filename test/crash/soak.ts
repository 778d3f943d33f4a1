/** The kill loop and the power cuts for as long as one likes: `npm run soak -- --kills 500`. */
import { parseArgs } from 'node:util'
import type { AckLog } from './ack-log.ts'
import { killLoop } from './kill-loop.ts'
import { powerCuts } from './power-cuts.ts'
import { PowerDisk } from './power-disk.ts'
import { Scratch } from './scratch.ts'

const USAGE = `Usage: npm run soak -- [--kills 200] [--power-cuts 0] [--seed NUMBER]

Kills a server under load, starts it again and checks that it has kept its word. Power cuts are
simulated on a disk in a file, which needs root; in their second half nothing is synced, and losses
must be found.
`
/** Cuts before the unsynced server gets a new directory: the first, while it starts, loses nothing. */
const UNSYNCED_CUTS = 2

interface Figures {
  what: string
  ends: number
  log: AckLog
}

function progress({ what, ends, log }: Figures, prefix = ''): void {
  const { acknowledged, unknown, faults } = log
  const found = Object.entries(faults).map(([fault, count]) => `${count} ${fault}`)
  const said = `${acknowledged} changes acknowledged, ${unknown} unknown; ${found.join(', ')}`
  process.stdout.write(`${prefix}${ends} ${what}: ${said}\n`)
}

/** Returns whether nothing was found. */
function report(figures: Figures): boolean {
  progress(figures, 'In all: ')
  for (const detail of figures.log.details) process.stdout.write(`  ${detail}\n`)
  return figures.log.faultCount === 0
}

async function soakKills(kills: number, seed: number, signal: AbortSignal): Promise<boolean> {
  using scratch = new Scratch()
  const what = 'kills'
  const { log } = await killLoop({
    ...{ kills, seed, signal, bulk: true, dataDir: scratch.dataDir() },
    onCheck: (ends, { log }) => {
      progress({ what, ends, log })
    },
  })
  return report({ what, ends: kills, log })
}

async function soakPowerCuts(cuts: number, seed: number, signal: AbortSignal): Promise<boolean> {
  using scratch = new Scratch()
  await using disk = await PowerDisk.make(scratch.path)
  const what = 'power cuts'
  const { log } = await powerCuts({
    ...{ cuts, seed, signal, disk, durability: 'fsync', dataDir: scratch.dataDir(disk.path) },
    onCut: (ends, { log }) => {
      progress({ what, ends, log })
    },
  })
  let ok = report({ what, ends: cuts, log })
  let losing = 0
  const tries = Math.ceil(cuts / UNSYNCED_CUTS)
  for (let attempt = 0; attempt < tries; attempt++) {
    const dataDir = scratch.dataDir(disk.path)
    const cut = { cuts: UNSYNCED_CUTS, seed: seed + attempt, signal, disk, dataDir }
    const { log } = await powerCuts({ ...cut, durability: 'os' })
    if (log.faults.lost > 0) losing++
  }
  process.stdout.write(`${losing} of ${tries} power cuts without fsync lost something\n`)
  if (losing === 0) ok = false
  return ok
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    stop.abort(new Error(`${signal}: ended before its time`))
  })
}
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    'power-cuts': { type: 'string', default: '0' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    help: { type: 'boolean', default: false },
  },
})
const [kills, cuts, seed] = [values.kills, values['power-cuts'], values.seed].map(Number)
if (values.help || ![kills, cuts, seed].every(Number.isSafeInteger)) {
  process.stdout.write(USAGE)
} else {
  process.stdout.write(`seed ${seed!}\n`)
  const killsOk = kills === 0 || (await soakKills(kills!, seed!, stop.signal))
  const cutsOk = cuts === 0 || (await soakPowerCuts(cuts!, seed!, stop.signal))
  if (!killsOk || !cutsOk) process.exitCode = 1
}
