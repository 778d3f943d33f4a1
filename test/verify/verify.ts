/** Whether real histories are linearisable: `npm run verify -- --kills 200 --failovers 20 --seed 1`. */
import { parseArgs } from 'node:util'
import { Scratch } from '../crash/scratch.ts'
import { type Trial, verifyFailovers, verifyKills } from './trial.ts'

/** So long that few of the operations are under way when the server is killed. */
const LOAD_MS = 3000

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    failovers: { type: 'string', default: '0' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
})
const [kills, failovers, seed] = [values.kills, values.failovers, values.seed].map(Number) as [
  number,
  number,
  number,
]

function tell(trial: Trial): void {
  const { operations, unknown, keys, wrong, undecided } = trial
  const share = ((unknown / operations) * 100).toFixed(2)
  console.log(
    `${trial.faults} faults, ${operations} operations on ${keys} keys, ${share} % of unknown outcome: ` +
      `${wrong.length} keys wrong, ${undecided} undecided`,
  )
}

console.log(`seed ${seed}`)
using scratch = new Scratch()
const ofKills = { kills, seed, dataDir: scratch.dataDir(), loadMs: LOAD_MS, onPool: tell }
const trials = [await verifyKills(ofKills)]
if (failovers > 0) trials.push(await verifyFailovers(failovers, 1, seed, { onPool: tell }))
for (const { wrong, undecided } of trials) {
  for (const history of wrong.slice(0, 3)) console.log(JSON.stringify(history))
  if (wrong.length + undecided > 0) process.exitCode = 1
}
