/** Failovers by the dozen: `npm run soak:failover -- --failovers 20`. */
import { parseArgs } from 'node:util'
import { tryFailovers } from './failover-trial.ts'

const { values } = parseArgs({ options: { failovers: { type: 'string', default: '20' } } })
const rounds = Number(values.failovers)

const { answered, lost, twice, unavailableMs, refused } = await tryFailovers(rounds, 1)
const sorted = unavailableMs.map(Math.round).sort((a, b) => a - b)
console.log(`${rounds} failovers, answers wait for the replica: ${answered} leases were answered,`)
console.log(`${lost} of them lost, ${twice} keys given twice.`)
console.log(
  `Nothing was answered for ${sorted[0]} to ${sorted.at(-1)} ms, median ${sorted[rounds >> 1]} ms.`,
)
console.log('Refused meanwhile:', Object.fromEntries(refused))
process.exitCode = lost + twice === 0 ? 0 : 1
