import assert from 'node:assert/strict'
import { test } from 'node:test'
import { after, contradiction, DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { NEVER } from '../../src/engine/rows.ts'

test('the defaults are those of the specification', () => {
  assert.deepEqual(DEFAULT_POLICY, {
    keyLifetimeMs: 300_000,
    leaseTtlMs: 60_000,
    maxLeaseTtlMs: 3_600_000,
    maxLeaseTotalMs: null,
    cooldownMs: 0,
    expiredLeaseCooldownMs: 0,
    failureCooldownMs: 30_000,
    maxFailureCooldownMs: 3_600_000,
    maxKeys: 10_000_000,
    shards: 1,
  })
  assert.equal(contradiction(DEFAULT_POLICY), null)
})

const pairs = [
  ['leaseTtlMs', 'maxLeaseTtlMs'],
  ['leaseTtlMs', 'maxLeaseTotalMs'],
  ['failureCooldownMs', 'maxFailureCooldownMs'],
] as const

for (const [value, limit] of pairs) {
  test(`${value} above ${limit} is a contradiction, at it is none`, () => {
    const most = DEFAULT_POLICY[value]
    const policy = { ...DEFAULT_POLICY, [limit]: most }
    assert.equal(contradiction(policy), null)
    assert.equal(
      contradiction({ ...policy, [value]: most + 1 }),
      `${value} is above ${limit}: ${most + 1} > ${most}`,
    )
  })
}

test('null is never', () => {
  assert.equal(after(1000, 1), 1001)
  assert.equal(after(1000, null), NEVER)
})
