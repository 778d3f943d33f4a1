/** What was answered is there after a kill, and nobody else has it. In real time, on a real disk. */
import assert from 'node:assert/strict'
import { cpSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import type { AckLog } from './ack-log.ts'
import { killLoop } from './kill-loop.ts'
import { powerCuts } from './power-cuts.ts'
import { PowerDisk, whyNoPowerDisk } from './power-disk.ts'
import { Scratch } from './scratch.ts'

const KILLS = 21
const CUTS = 3
/** Each finds both kinds, unless the machine is so busy that what was leased is free again. */
const OLDER_TRIES = 3
/** Each loses something, unless the system happens to write everything to disk just before. */
const UNSYNCED_TRIES = 3

function assertNoFaults({ faultCount, details }: AckLog, seed: number): void {
  assert.equal(faultCount, 0, [`seed ${seed}`, ...details].join('\n'))
}

suite('kill -9 under load', () => {
  test(`${KILLS} kills lose nothing and give no key to two`, async () => {
    using scratch = new Scratch()
    const dataDir = scratch.dataDir()
    const seed = Date.now()
    const { log } = await killLoop({ kills: KILLS, seed, dataDir, bulk: true })
    assertNoFaults(log, seed)
    assert(log.acknowledged > 1000 && log.unknown > KILLS, 'there was a load')
    using database = new DatabaseSync(join(dataDir, 'state.db'))
    const count = (query: string): unknown => Object.values(database.prepare(query).get()!)[0]
    assert.notEqual(count('SELECT count(*) FROM chunks'), 0, 'chunks were written')
    assert.notEqual(count('SELECT min(sequence) FROM journal'), 1, 'the journal was cut')
  })

  test('the check can fail: older data are found out', async () => {
    using scratch = new Scratch()
    const found = { lost: 0, double: 0 }
    const isFound = (): boolean => found.lost > 0 && found.double > 0
    for (let seed = 1; seed <= OLDER_TRIES && !isFound(); seed++) {
      const dataDir = scratch.dataDir()
      const data = dirname(dataDir)
      const copy = `${data}-copy`
      let runs = 0
      const betweenRuns = (): void => {
        runs++
        if (runs === 2) cpSync(data, copy, { recursive: true })
        if (runs !== 3) return
        rmSync(data, { recursive: true })
        cpSync(copy, data, { recursive: true })
      }
      const { log } = await killLoop({ kills: 5, seed, dataDir, bulk: false, betweenRuns })
      found.lost += log.faults.lost
      found.double += log.faults.double
    }
    assert(isFound(), JSON.stringify(found))
  })
})

suite('power cuts under load', async () => {
  using scratch = new Scratch()
  const skip = (await whyNoPowerDisk(scratch.path)) ?? false

  test(`${CUTS} cuts lose nothing`, { skip }, async () => {
    using scratch = new Scratch()
    await using disk = await PowerDisk.make(scratch.path)
    const dataDir = scratch.dataDir(disk.path)
    const seed = Date.now()
    const { log } = await powerCuts({ cuts: CUTS, seed, disk, dataDir, durability: 'fsync' })
    assertNoFaults(log, seed)
  })

  test('the check can fail: without fsync, losses are found', { skip }, async () => {
    using scratch = new Scratch()
    await using disk = await PowerDisk.make(scratch.path)
    let lost = 0
    for (let seed = 1; seed <= UNSYNCED_TRIES && lost === 0; seed++) {
      const dataDir = scratch.dataDir(disk.path)
      const { log } = await powerCuts({ cuts: 2, seed, disk, dataDir, durability: 'os' })
      lost = log.faults.lost
    }
    assert(lost > 0)
  })
})
