/** What is promised where a replica takes over, and what is not: docs/scaling.md. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { tryFailovers } from './failover-trial.ts'

const PATIENCE = { timeout: 180_000 }
const ROUNDS = 2

suite('a primary is killed whose replica does not hear of the last changes', PATIENCE, () => {
  test('what was answered is there, where answers wait for the replica', async (t) => {
    const trial = await tryFailovers(ROUNDS, 1, { history: true })
    const { answered, lost, untold, twice, fallen, unavailableMs } = trial
    assert.deepEqual({ lost, untold, twice, fallen }, { lost: 0, untold: 0, twice: 0, fallen: 0 })
    assert(answered > 100, `${answered} were answered`)
    t.diagnostic(`${answered} leases; nothing for ${unavailableMs.map(Math.round).join(', ')} ms`)
  })

  test('where they do not, it is not: the test can fail', async () => {
    const { lost, untold } = await tryFailovers(1, 0, { history: true })
    assert(lost > 0)
    assert(untold > 0)
  })
})

test('so it is in a pool of which each primary has a shard', PATIENCE, async (t) => {
  const { answered, lost, twice, fallen } = await tryFailovers(ROUNDS, 1, { shards: 3 })
  assert.deepEqual({ lost, twice, fallen }, { lost: 0, twice: 0, fallen: 0 })
  assert(answered > 100, `${answered} were answered`)
  t.diagnostic(`${answered} leases`)
})

test(
  'a primary sleeps while another takes its place, and wakes as if it had it still',
  PATIENCE,
  async (t) => {
    const trial = await tryFailovers(1, 1, { end: 'stopped' })
    const { answered, lost, twice, fallen, unavailableMs } = trial
    assert.deepEqual({ lost, twice, fallen }, { lost: 0, twice: 0, fallen: 0 })
    assert(answered > 100, `${answered} were answered`)
    t.diagnostic(`${answered} leases; nothing for ${unavailableMs.map(Math.round).join()} ms`)
  },
)
