/** What is promised where a primary is cut off with those who ask it, and what is not: docs/scaling.md. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { cannotSplit } from '../support/network.ts'
import { tryPartitions } from './partition-trial.ts'

const PATIENCE = { timeout: 180_000, skip: cannotSplit }

suite('a primary is cut off with a server and half of the load', PATIENCE, () => {
  test('what was answered on either side is there, where answers wait for the replica', async (t) => {
    const partitions = await tryPartitions(1, 1, true)
    for (const { answered, lost, untold, twice, manyMs } of partitions) {
      assert.deepEqual({ lost, untold, twice }, { lost: 0, untold: 0, twice: 0 })
      assert(answered > 100, `${answered} were answered`)
      t.diagnostic(`${answered} leases; nothing for ${Math.round(manyMs)} ms`)
    }
  })

  test('where they do not, it is not: the test can fail', async () => {
    const [partition] = await tryPartitions(1, 0)
    assert(partition!.answeredAlone > 0)
    assert(partition!.lost > 0)
    assert(partition!.twice > 0)
  })
})
