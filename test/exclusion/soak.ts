/** Leases by the million, and whether any key ever had two holders: `npm run soak:exclusion`. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Scratch } from '../crash/scratch.ts'
import { tryServer } from './trial.ts'
import { startTried } from './tried-server.ts'
import type { Act } from './world.ts'

const USAGE = `Usage: npm run soak:exclusion -- [--leases 1000000] [--durable] [--seed NUMBER]

Many callers lease keys of a real server in every way there is, hang up, repeat, renew, meddle and come
too late. No two may hold one key at the same time. The server keeps its state in memory unless told
otherwise.
`
/** What is judged at a time. */
const LEASES_A_TRIAL = 100_000

const { values } = parseArgs({
  options: {
    leases: { type: 'string', default: '1000000' },
    durable: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    help: { type: 'boolean', default: false },
  },
})
const [wanted, seed] = [values.leases, values.seed].map(Number) as [number, number]
if (values.help || ![wanted, seed].every(Number.isSafeInteger)) process.stdout.write(USAGE)
else if (!(await soak())) process.exitCode = 1

/** Returns whether nothing was found. */
async function soak(): Promise<boolean> {
  using scratch = new Scratch()
  const where = values.durable ? (`--data-dir=${join(scratch.path, 'data')}` as const) : '--memory'
  await using served = await startTried(where)
  process.stdout.write(`seed ${seed}, ${values.durable ? 'durable' : 'in memory'}\n`)
  const acts = new Map<Act, number>()
  const sum = { leases: 0, certain: 0, faults: 0 }
  let token = 0
  for (let round = 0; sum.leases < wanted; round++) {
    const count = Math.min(LEASES_A_TRIAL, wanted - sum.leases)
    const trial = await tryServer([served.port], count, seed + round, {
      tokenBefore: token,
    })
    token = trial.highestToken
    sum.leases += trial.leases
    sum.certain += trial.certain
    sum.faults += trial.faults.length
    for (const [act, times] of trial.acts) acts.set(act, (acts.get(act) ?? 0) + times)
    for (const { detail } of trial.faults) process.stdout.write(`  ${detail}\n`)
    const { leases, certain, faults } = sum
    process.stdout.write(`${leases} leases, ${certain} of them held for sure: ${faults} faults\n`)
  }
  for (const [act, times] of acts) process.stdout.write(`${act}: ${times}\n`)
  return sum.faults === 0
}
