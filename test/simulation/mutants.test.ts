/** That the checks can fail: each promise is broken once, on purpose, and the breach must be found. */
import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import * as engineModule from '../../src/engine/engine.ts'
import { engineAgreesWithModel } from '../support/model-commands.ts'
import type { EngineModule } from '../support/model-steps.ts'
import { simulate } from './simulation.ts'

interface Mutant {
  promise: string
  file: string
  find: string
  replace: string
}

const MUTANTS: Mutant[] = [
  {
    promise: 'no key dies early',
    file: 'transitions.ts',
    find: 'return rows.expiresAt(slot) <= now',
    replace: 'return rows.expiresAt(slot) <= now + 1',
  },
  {
    promise: 'a key is dead from its millisecond on',
    file: 'transitions.ts',
    find: 'return rows.expiresAt(slot) <= now',
    replace: 'return rows.expiresAt(slot) < now',
  },
  {
    promise: 'a lease is over from its millisecond on',
    file: 'transitions.ts',
    find: 'if (until > now) return',
    replace: 'if (until >= now) return',
  },
  {
    promise: 'fencing tokens rise',
    file: 'tables.ts',
    find: 'this.#lastToken + 1',
    replace: 'this.#lastToken',
  },
  {
    promise: 'a release takes the timer along, so that it cannot hit the next holder',
    file: 'pool.ts',
    find: '    this.#holds.delete(hold)\n',
    replace: '',
  },
  {
    promise: 'a renewal moves the deadline',
    file: 'pool.ts',
    find: 'this.#changed(slot, State.leased, ChangeKind.renewed)',
    replace: 'this.#tables.changed(ChangeKind.renewed, this.name, slot)',
  },
  {
    promise: 'what fills a gap in a heap is sifted both ways',
    file: 'deadlines.ts',
    find: 'if (place > ROOT && due <',
    replace: 'if (place < ROOT && due <',
  },
  {
    promise: 'unblocking a free key changes nothing',
    file: 'lease-operations.ts',
    find: '!== State.leased) return REFUSED.key_not_leased\n  if (operation.leaseId',
    replace: '=== State.disabled) return REFUSED.key_not_leased\n  if (operation.leaseId',
  },
  {
    promise: 'a keep-alive makes no key immortal',
    file: 'transitions.ts',
    find: 'rows.setLife(slot, now, after(now, policy.keyLifetimeMs))',
    replace: 'rows.setLife(slot, now, after(now, null))',
  },
  {
    promise: 'a keep-alive moves the death that the sweeper knows of',
    file: 'pool.ts',
    find: '    transitions.keepAlive(rows, slot, this.policy, now)\n    this.#lives.set(slot, rows.expiresAt(slot))',
    replace: '    transitions.keepAlive(rows, slot, this.policy, now)',
  },
  {
    promise: 'a keep-alive frees no leased key',
    file: 'transitions.ts',
    find: 'const expiresAt = rows.expiresAt(slot)',
    replace: 'const expiresAt = rows.expiresAt(slot)\n  rows.setUntil(slot, now)',
  },
  {
    promise: 'a released key rests',
    file: 'transitions.ts',
    find: 'cooldownMs = policy.cooldownMs',
    replace: 'cooldownMs = 0',
  },
  {
    promise: 'the rest after a lost lease begins with the end of the lease',
    file: 'transitions.ts',
    find: "'expired', until + cooldownMs",
    replace: "'expired', now + cooldownMs",
  },
  {
    promise: 'no dead key is drawn',
    file: 'pool.ts',
    find: 'if (!transitions.isDead(rows, slot, now)) return slot',
    replace: 'if (slot > 0) return slot',
  },
  {
    promise: 'a stale lease id opens nothing',
    file: 'pool.ts',
    find: 'if (lease.token !== token) {',
    replace: 'if (lease.token < token && rows.state(slot) === State.leased) return slot\n    {',
  },
  {
    promise: 'each key is in the set of its state',
    file: 'state-sets.ts',
    find: '      rank = last\n',
    replace: '',
  },
  {
    promise: 'what is moved in the index can still be found',
    file: 'key-index.ts',
    find: '< ((place - gap) & mask)',
    replace: '<= ((place - gap) & mask)',
  },
]

const MODEL_RUNS = 1000
const SIMULATION_SEEDS = [1, 2, 3, 4]
const SIMULATION = { days: 1, stepsPerDay: 5000 }

/** What a check has against an engine; null if all of them find it right. */
async function faultOf(module: EngineModule): Promise<string | null> {
  const { failed, counterexamplePath, errorInstance } = await fc.check(
    engineAgreesWithModel(module),
    {
      numRuns: MODEL_RUNS,
      seed: 1,
      endOnFailure: true,
    },
  )
  if (failed) return `model, run ${counterexamplePath}: ${String(errorInstance)}`
  try {
    for (const seed of SIMULATION_SEEDS) {
      simulate(module, { ...SIMULATION, seed, stormKeys: 20, stepsPerAudit: 1 })
      simulate(module, { ...SIMULATION, seed, stormKeys: 2500, stepsPerAudit: 50 })
    }
  } catch (error) {
    return String(error)
  }
  return null
}

let directory: string

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mutants-'))
  await writeFile(join(directory, 'package.json'), '{"type":"module"}')
})

after(() => rm(directory, { recursive: true }))

async function mutated(number: number, { file, find, replace }: Mutant): Promise<EngineModule> {
  const engine = join(directory, String(number))
  await cp(join(import.meta.dirname, '../../src/engine'), engine, { recursive: true })
  const text = await readFile(join(engine, file), 'utf8')
  const [head, tail, ...more] = text.split(find)
  assert(tail !== undefined && more.length === 0, `once in ${file}: ${find}`)
  await writeFile(join(engine, file), head! + replace + tail)
  return (await import(pathToFileURL(join(engine, 'engine.ts')).href)) as EngineModule
}

test('the engine as it is passes the checks that the mutants must fail', async () => {
  assert.equal(await faultOf(engineModule), null)
})

MUTANTS.forEach((mutant, number) => {
  test(`broken and found: ${mutant.promise}`, async (t) => {
    const fault = await faultOf(await mutated(number, mutant))
    assert(fault !== null, 'nobody noticed')
    t.diagnostic(fault.split('\n')[0]!)
  })
})
