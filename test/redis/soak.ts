/** Failovers and partitions by the dozen: `npm run soak:failover -- --failovers 20 --partitions 10`. */
import { parseArgs } from 'node:util'
import { cannotSplit } from '../support/network.ts'
import { tryFailovers } from './failover-trial.ts'
import { tryPartitions } from './partition-trial.ts'

const USAGE = `Usage: npm run soak:failover -- [--failovers 20] [--partitions 0] [--replicas 0|1] [--history]

Primaries of a Redis Cluster are killed under load, or cut off together with a server and half of the
load, which needs root. With --replicas 1, the default, answers wait for the replica, and nothing that was
answered may be lost; with 0 they do not, and losses must be found.
With --history the servers keep one, and each grant must be told there.
`

const { values } = parseArgs({
  options: {
    failovers: { type: 'string', default: '20' },
    partitions: { type: 'string', default: '0' },
    replicas: { type: 'string', default: '1' },
    history: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const [failovers, partitions] = [values.failovers, values.partitions].map(Number) as [
  number,
  number,
]
const { history } = values
const replicas = values.replicas === '0' ? 0 : 1
if (values.help || ![failovers, partitions].every(Number.isSafeInteger)) {
  process.stdout.write(USAGE)
} else {
  const faults = (await soakFailovers()) + (await soakPartitions())
  if ((faults === 0) !== (replicas === 1)) process.exitCode = 1
}

function spread(times: readonly number[]): string {
  const sorted = times.map(Math.round).sort((a, b) => a - b)
  return `${sorted[0]} to ${sorted.at(-1)} ms, median ${sorted[sorted.length >> 1]} ms`
}

async function soakFailovers(): Promise<number> {
  if (failovers === 0) return 0
  const trial = await tryFailovers(failovers, replicas, { history })
  const { answered, lost, untold, twice, unavailableMs, refused } = trial
  console.log(`${failovers} failovers: ${answered} leases were answered,`)
  console.log(`${lost} of them lost, ${twice} keys given twice.`)
  if (history) console.log(`The history does not tell of ${untold}.`)
  console.log(`Nothing was answered for ${spread(unavailableMs)}.`)
  console.log('Refused meanwhile:', Object.fromEntries(refused))
  return lost + untold + twice
}

async function soakPartitions(): Promise<number> {
  if (partitions === 0) return 0
  if (cannotSplit !== false) throw new Error(cannotSplit)
  const all = await tryPartitions(partitions, replicas, history)
  let faults = 0
  for (const [round, partition] of all.entries()) {
    const { answered, answeredAlone, lost, untold, twice, manyMs, fewMs } = partition
    faults += lost + untold + twice
    console.log(
      `partition ${round + 1}: ${answered} leases were answered, ${answeredAlone} of them by those who were cut off;`,
      `${lost} lost, ${twice} keys given twice;`,
      ...(history ? [`the history does not tell of ${untold};`] : []),
      `nothing for ${Math.round(manyMs)} ms, and for ${Math.round(fewMs)} ms after its end`,
    )
  }
  console.log(`The many heard nothing for ${spread(all.map(({ manyMs }) => manyMs))},`)
  console.log(`the few after the end for ${spread(all.map(({ fewMs }) => fewMs))}.`)
  return faults
}
