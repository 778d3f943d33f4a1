import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as engineModule from '../../src/engine/engine.ts'
import { type Sighting, SIGHTINGS, simulate } from './simulation.ts'

const SEED = Number(process.env.SIMULATION_SEED ?? 1)

const sightings = new Set<Sighting>()

test('small pools, looked through at every step', (t) => {
  t.diagnostic(`SIMULATION_SEED=${SEED}`)
  const options = { seed: SEED, days: 8, stepsPerDay: 5000, stormKeys: 20, stepsPerAudit: 1 }
  simulate(engineModule, options, sightings)
})

test('storms of thousands of keys', (t) => {
  t.diagnostic(`SIMULATION_SEED=${SEED}`)
  const options = { seed: SEED, days: 8, stepsPerDay: 5000, stormKeys: 2500, stepsPerAudit: 50 }
  simulate(engineModule, options, sightings)
})

test('the simulations came across all that they are for', () => {
  assert.deepEqual(new Set(SIGHTINGS).difference(sightings), new Set())
})
