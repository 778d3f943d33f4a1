/** A short share of `npm run verify -- --failovers`: real callers, a real cluster of Redis, primaries that are killed. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { verifyFailovers } from './trial.ts'

suite('histories over failovers', { timeout: 180_000 }, () => {
  test('are those of right keys, where answers wait for the replica', async (t) => {
    const seed = Date.now()
    const { operations, unknown, wrong, undecided } = await verifyFailovers(1, 1, seed)
    assert.deepEqual([wrong[0] ?? [], undecided], [[], 0], `seed ${seed}`)
    assert(operations > 200, `${operations} operations`)
    t.diagnostic(`${operations} operations, ${unknown} of unknown outcome`)
  })

  test('so they are in a pool of which each primary has a shard', async (t) => {
    const seed = Date.now()
    const trial = await verifyFailovers(1, 1, seed, { shards: 3 })
    const { operations, unknown, wrong, undecided } = trial
    assert.deepEqual([wrong[0] ?? [], undecided], [[], 0], `seed ${seed}`)
    assert(operations > 200, `${operations} operations`)
    t.diagnostic(`${operations} operations, ${unknown} of unknown outcome`)
  })

  test('are found out where they do not', async () => {
    const { wrong } = await verifyFailovers(1, 0, 1)
    assert(wrong.length > 0)
  })
})
