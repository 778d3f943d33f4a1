/** Three servers over one Redis are one to their callers, as seen by those. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startTried } from '../exclusion/tried-server.ts'
import { tryServer } from '../exclusion/trial.ts'
import { ACTS } from '../exclusion/world.ts'
import { RedisServer } from '../support/redis.ts'

const PATIENCE = { timeout: 180_000 }
const LEASES = 8000

const TRIALS = [
  { count: 1, shards: 1 },
  { count: 3, shards: 1 },
  { count: 3, shards: 4 },
]

for (const { count, shards } of TRIALS) {
  const what = `${LEASES} leases from ${count} servers over Redis, pools of ${shards} shards`
  test(what, PATIENCE, async (t) => {
    await using redis = await RedisServer.start()
    await using stack = new AsyncDisposableStack()
    const ports: number[] = []
    for (let server = 0; server < count; server++) {
      ports.push(stack.use(await startTried(`--redis=${redis.url}`)).port)
    }
    const seed = Date.now()
    const { faults, certain, acts } = await tryServer(ports, LEASES, seed, { shards })
    const found = faults.slice(0, 5).map(({ detail }) => detail)
    assert.equal(faults.length, 0, [`seed ${seed}`, ...found].join('\n'))
    assert.deepEqual(new Set(ACTS).difference(acts), new Set(), 'all was tried')
    // With leases of 100 ms, and all programs on two cores, many answers come too late to be sure of.
    assert(certain > LEASES / 10, `${certain} were held for sure`)
    t.diagnostic(`${certain} of ${LEASES} leases were held for sure`)
  })
}
