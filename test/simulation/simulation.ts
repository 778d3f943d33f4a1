/**
 * Days of an engine's life: callers who draw, renew, release, lose and forget keys of several pools, with
 * settling that comes late and in small slices. Everything follows from the seed.
 */
import assert from 'node:assert/strict'
import type * as engineModule from '../../src/engine/engine.ts'
import { parseKeyId } from '../../src/engine/ids.ts'
import { isRefusal, type Operation, type Result } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import type { EngineModule } from '../support/model-steps.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { audit } from './audit.ts'
import { type Entry, Ledger } from './ledger.ts'

export interface SimulationOptions {
  seed: number
  days: number
  stepsPerDay: number
  /** Keys of a storm: those that die, or come free, in the same millisecond. */
  stormKeys: number
  /** Steps between two looks at all structures. */
  stepsPerAudit: number
}

/** What a simulation must have come across to be worth its time. */
export const SIGHTINGS = [
  'a run had to wait for settling',
  'an acquire was interrupted after its first leases',
  'a draw hit a dead key',
  'a slot was reused',
  'a pool was drained in slices',
  'a pool was created again while the old one was drained',
  'a backoff reached its limit',
  'a key was disabled while leased',
  'a rest was ended early',
  'a late release came to nothing',
  'lease_limit',
  'lease_ended',
  'pool_full',
  'server_full',
  'pool_empty',
  'pool_exhausted',
  'key_unavailable',
  'key_not_leased',
] as const

export type Sighting = (typeof SIGHTINGS)[number]

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const POLICIES: Record<string, Policy> = {
  // A few accounts that many want, held for a while, and renewed.
  scarce: {
    ...DEFAULT_POLICY,
    keyLifetimeMs: null,
    leaseTtlMs: 5 * MINUTE,
    maxLeaseTotalMs: 8 * MINUTE,
    maxKeys: 12,
  },
  // Keys of a provider who limits rates.
  limited: {
    ...DEFAULT_POLICY,
    keyLifetimeMs: 6 * HOUR,
    leaseTtlMs: 5 * MINUTE,
    cooldownMs: 1000,
    expiredLeaseCooldownMs: 10_000,
    failureCooldownMs: 6 * MINUTE,
    maxFailureCooldownMs: 10 * MINUTE,
    maxKeys: 30,
  },
  // Short-lived keys which their owners keep alive.
  brief: { ...DEFAULT_POLICY, maxKeys: 15 },
  storm: { ...DEFAULT_POLICY, keyLifetimeMs: HOUR, leaseTtlMs: 10 * MINUTE },
}
const POOL_NAMES = Object.keys(POLICIES)
const MAX_WAITING = 4
const MAX_TURNS = 10_000

/** A run under way, and how much of it the ledger knows. */
interface Call {
  run: engineModule.Run
  results: number
  leases: number
  turns: number
}

/** @throws AssertionError for the first answer or structure that is wrong. */
export function simulate(
  module: EngineModule,
  options: SimulationOptions,
  sightings = new Set<Sighting>(),
): Set<Sighting> {
  const simulation = new Simulation(module, options, sightings)
  const steps = options.days * options.stepsPerDay
  for (let step = 0; step < steps; step++) {
    try {
      simulation.step(step)
    } catch (cause) {
      throw new Error(`seed ${options.seed}, step ${step}: ${String(cause)}`, { cause })
    }
  }
  return sightings
}

class Simulation {
  readonly #module: EngineModule
  readonly #options: SimulationOptions
  readonly #sightings: Set<Sighting>
  readonly #random: SeededRandom
  readonly #engine: engineModule.Engine
  readonly #ledger = new Ledger()
  readonly #stale: { entry: Entry; leaseId: string }[] = []
  readonly #usedSlots = new Set<number>()
  #waiting: Call[] = []
  /** Whether the turn under way has granted a lease. */
  #hasGranted = false
  #now = Date.UTC(2030, 0, 1)

  constructor(module: EngineModule, options: SimulationOptions, sightings: Set<Sighting>) {
    this.#module = module
    this.#options = options
    this.#sightings = sightings
    this.#random = new SeededRandom(options.seed)
    const limits = { maxTotalKeys: options.stormKeys * 1.6 + 60, maxPools: 1000 }
    this.#engine = new module.Engine(limits, new SeededRandom(~options.seed))
    this.#engine.tables.onChange = ({ kind }) => {
      if (kind === 'leased') this.#hasGranted = true
      // What is due is settled before the first draw of a run: this death was met by a draw.
      if (kind === 'key_expired' && this.#hasGranted) this.#saw('a draw hit a dead key')
    }
    for (const [name, policy] of Object.entries(POLICIES)) this.#engine.putPool(name, policy)
  }

  step(step: number): void {
    const random = this.#random
    this.#passTime()
    if (random.chance(0.5)) this.#settle(1 + random.below(64))
    const waiting = this.#waiting
    this.#waiting = []
    for (const call of waiting) this.#takeTurn(call)
    if (random.chance(2 / this.#options.stepsPerDay)) this.#replacePool()
    if (this.#waiting.length < MAX_WAITING) this.#call()
    if (step % this.#options.stepsPerAudit === 0) audit(this.#engine)
  }

  /** Mostly a while; often to a deadline, or to just before it; or not at all. */
  #passTime(): void {
    const random = this.#random
    const pool = random.pick(POOL_NAMES)!
    const stepMs = DAY / this.#options.stepsPerDay
    const due = this.#ledger.nextDeadline(pool, random, this.#now) ?? Infinity
    if (due < this.#now + 20 * stepMs && random.chance(0.2)) {
      this.#now = due - random.below(2)
    } else if (random.chance(0.7)) {
      this.#now += random.below(2 * stepMs)
    }
  }

  #settle(limit: number): void {
    const { used } = this.#engine.tables.rows
    const draining = this.#engine.nextDue === 0
    this.#engine.settle(this.#now, limit)
    const stillDraining = this.#engine.nextDue === 0
    if (draining && stillDraining && this.#engine.tables.rows.used < used) {
      this.#saw('a pool was drained in slices')
    }
  }

  #replacePool(): void {
    const name = this.#random.pick(['storm', 'brief'])!
    assert.equal(this.#engine.removePool(name, { force: true }, this.#now), null)
    this.#ledger.poolRemoved(name, this.#now)
    // What waits for a pool that is gone has an answer at once.
    for (const call of this.#waiting.splice(0)) this.#takeTurn(call)
    assert.equal(this.#engine.putPool(name, POLICIES[name]!), 'created')
    if (this.#engine.nextDue === 0) {
      this.#saw('a pool was created again while the old one was drained')
    }
  }

  #call(): void {
    const pool = this.#random.pick(POOL_NAMES)!
    const run = new this.#module.Run(pool, this.#operations(pool))
    this.#takeTurn({ run, results: 0, leases: 0, turns: 0 })
  }

  #takeTurn(call: Call): void {
    this.#hasGranted = false
    const finished = this.#engine.run(call.run, this.#now)
    this.#hasGranted = false
    this.#learn(call)
    if (finished) return
    this.#saw('a run had to wait for settling')
    assert(++call.turns < MAX_TURNS, 'settling never ends')
    this.#waiting.push(call)
  }

  /** Enters in the ledger what this turn has brought. */
  #learn(call: Call): void {
    const { pool, operations, results, leases } = call.run
    while (call.results < results.length) {
      this.#learnResult(call, operations[call.results]!, results[call.results]!)
      call.results++
    }
    if (leases.length > 0) this.#saw('an acquire was interrupted after its first leases')
    this.#learnLeases(call, pool, leases)
  }

  #learnLeases(call: Call, pool: string, leases: engineModule.Run['leases']): void {
    const { expiredLeaseCooldownMs } = POLICIES[pool]!
    for (; call.leases < leases.length; call.leases++) {
      this.#ledger.granted(pool, leases[call.leases]!, expiredLeaseCooldownMs, this.#now)
    }
  }

  #learnResult(call: Call, operation: Operation, result: Result): void {
    const ledger = this.#ledger
    const now = this.#now
    if (isRefusal(result)) {
      this.#saw(result.code as Sighting)
    } else if ('keyIds' in result && operation.op === 'create') {
      const lifetimeMs = operation.lifetimeMs ?? POLICIES[call.run.pool]!.keyLifetimeMs
      ledger.created(
        call.run.pool,
        result.keyIds,
        lifetimeMs === null ? Infinity : now + lifetimeMs,
      )
      this.#noteSlots(result.keyIds)
    } else if ('leases' in result) {
      this.#learnLeases(call, call.run.pool, result.leases)
      call.leases = 0
    } else if (operation.op === 'remove') {
      ledger.removed(operation.keyId, now)
    }
    if (operation.op === 'show') {
      const before = call.run.results[call.results - 1]
      if ('key' in result && before && hasChanged(before)) ledger.changed(result.key, now)
      else ledger.checkKey(operation.keyId, result, now)
    }
    if (operation.op === 'release' && 'released' in result) {
      if (!result.released) this.#saw('a late release came to nothing')
      const shown = call.run.results[call.results + 1]
      if (shown && 'key' in shown && result.released && operation.outcome === 'error') {
        const { maxFailureCooldownMs } = POLICIES[call.run.pool]!
        if (shown.key.coolingUntil === now + maxFailureCooldownMs) {
          this.#saw('a backoff reached its limit')
        }
      }
    }
    if (operation.op === 'update' && 'key' in result) {
      if (operation.disabled && result.key.lease) this.#saw('a key was disabled while leased')
      if (operation.coolingUntil === null) this.#saw('a rest was ended early')
    }
  }

  #noteSlots(keyIds: string[]): void {
    const id = new Uint32Array(4)
    for (const keyId of keyIds) {
      assert(parseKeyId(keyId, id))
      const slot = this.#engine.tables.index.find(id)
      if (this.#usedSlots.has(slot)) this.#saw('a slot was reused')
      this.#usedSlots.add(slot)
    }
  }

  /** What a caller asks for next. What changes a key is followed by a look at it. */
  #operations(pool: string): Operation[] {
    const random = this.#random
    const { stormKeys, stepsPerDay } = this.#options
    if (pool === 'storm' && random.chance(100 / stepsPerDay)) {
      return random.chance(0.5)
        ? [{ op: 'create', count: 1 + random.below(stormKeys) }]
        : [{ op: 'acquire', count: 1 + random.below(stormKeys) }]
    }
    const entry = this.#ledger.pick(pool, random, this.#now)
    if (entry === undefined || random.chance(0.05)) {
      const count = 1 + random.below(5)
      if (random.chance(0.5)) return [{ op: 'create', count }]
      return [{ op: 'create', count, lifetimeMs: 1 + random.below(HOUR) }]
    }
    const { keyId } = entry
    const held = this.#ledger.holder(entry, this.#now)
    if (held && random.chance(0.2)) this.#stale.push({ entry, leaseId: held.leaseId })
    if (this.#stale.length > 20) return this.#lateCall(pool)
    const chosen = random.below(20)
    const show: Operation = { op: 'show', keyId }
    if (chosen < 7) {
      const ttlMs = random.chance(0.5) ? undefined : 1 + random.below(10 * MINUTE)
      return [{ op: 'acquire', count: 1 + random.below(3), ttlMs }]
    }
    if (chosen < 8) return [{ op: 'acquire', count: 1, keyId }]
    if (chosen < 9) return [{ op: 'describe' }, show]
    if (chosen < 11) return [{ op: 'keepAlive', keyId }, show]
    if (chosen < 12) return [{ op: 'unblock', keyId }, show]
    if (chosen < 13) return [{ op: random.chance(0.1) ? 'remove' : 'revoke', keyId }, show]
    if (chosen < 14) {
      const disabled = random.chance(0.3)
      return [{ op: 'update', keyId, disabled, coolingUntil: null }, show]
    }
    if (held === null) return [show]
    const { leaseId } = held
    if (chosen < 17) {
      const outcome = random.chance(0.5) ? 'ok' : 'error'
      return [{ op: 'release', leaseId, outcome }, show]
    }
    return [{ op: 'renew', leaseId, keepAlive: random.chance(0.2) }, show]
  }

  /** Somebody comes back with a lease that may have ended long ago. */
  #lateCall(pool: string): Operation[] {
    const place = this.#random.below(this.#stale.length)
    const { entry, leaseId } = this.#stale.splice(place, 1)[0]!
    if (entry.pool !== pool) return [{ op: 'renew', leaseId }]
    const show: Operation = { op: 'show', keyId: entry.keyId }
    if (this.#random.chance(0.3)) return [{ op: 'unblock', keyId: entry.keyId, leaseId }, show]
    return [{ op: 'release', leaseId, outcome: 'invalid' }, show]
  }

  #saw(sighting: Sighting): void {
    this.#sightings.add(sighting)
  }
}

/** Whether the operation before a look has done something. */
function hasChanged(result: Result): boolean {
  if (isRefusal(result)) return false
  return !('released' in result) || result.released
}
