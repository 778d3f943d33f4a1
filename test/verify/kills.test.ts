/** A short share of `npm run verify`: real callers, a real server, kill -9. */
import assert from 'node:assert/strict'
import { cpSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { suite, test } from 'node:test'
import { Scratch } from '../crash/scratch.ts'
import { verifyKills } from './trial.ts'

const KILLS = 6
const LOAD_MS = 500

suite('histories of a server that is killed', { timeout: 180_000 }, () => {
  test('are those of right keys', async (t) => {
    using scratch = new Scratch()
    const seed = Date.now()
    const dataDir = scratch.dataDir()
    const trial = await verifyKills({ kills: KILLS, seed, dataDir, loadMs: LOAD_MS })
    const { operations, unknown, wrong, undecided } = trial
    assert.deepEqual([wrong[0] ?? [], undecided], [[], 0], `seed ${seed}`)
    assert(operations > 1000 && unknown > 0, `${operations} operations, ${unknown} unknown`)
    t.diagnostic(`${operations} operations, ${unknown} of unknown outcome`)
  })

  test('are found out where the server forgets what it answered', async () => {
    using scratch = new Scratch()
    const dataDir = scratch.dataDir()
    const data = dirname(dataDir)
    const copy = `${data}-copy`
    const betweenRuns = (kills: number): void => {
      if (kills === 1) cpSync(data, copy, { recursive: true })
      if (kills !== 2) return
      rmSync(data, { recursive: true })
      cpSync(copy, data, { recursive: true })
    }
    const { wrong } = await verifyKills({
      kills: 3,
      seed: 1,
      dataDir,
      loadMs: LOAD_MS,
      betweenRuns,
    })
    assert(wrong.length > 0)
  })
})
