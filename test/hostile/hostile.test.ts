/** A short share of `npm run hostile`. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ATTACKS } from './attacks.ts'
import { tryAttack } from './trial.ts'

const FOR_MS = 2000
const MOST_RSS = 512

suite('good clients and memory in an attack', { timeout: 180_000 }, () => {
  for (const attack of ATTACKS) {
    test(attack.name, async (t) => {
      const seed = Date.now()
      const trial = await tryAttack(attack, attack.sizes[0], FOR_MS, seed)
      assert.deepEqual(trial.wrong.slice(0, 3), [], `seed ${seed}`)
      assert(trial.rss < MOST_RSS, `${trial.rss} MB`)
      assert(trial.good > 0 && trial.connections > 0, 'there were both')
      const { connections, good, rss, answers } = trial
      const told = [...answers].map(([status, times]) => `${times} x ${status}`).join(', ')
      t.diagnostic(
        `${connections} connections, ${good} good requests, ${Math.round(rss)} MB; ${told}`,
      )
    })
  }
})
