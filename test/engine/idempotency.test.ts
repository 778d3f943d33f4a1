import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Idempotency, REMEMBERED_MS } from '../../src/engine/idempotency.ts'
import type { Result } from '../../src/engine/operations.ts'

const MILLION = 1_000_000
const RESULTS: Result[] = [{ released: true }]

test('a million requests are remembered, then new ones are refused until some are forgotten', () => {
  let saved = 0
  const idempotency = new Idempotency(
    (_, memory) => (saved += memory === null ? -1 : 1),
    () => undefined,
  )
  for (let at = 0; at < MILLION; at++) {
    if (at % 1000 === 0) assert.equal(idempotency.recall('new', 'body', 0), null)
    idempotency.remember(String(at), 'body', RESULTS, at < 10 ? 0 : 1)
  }
  assert.deepEqual(idempotency.recall('new', 'body', 1), { code: 'idempotency_full' })
  assert.deepEqual(idempotency.recall('0', 'body', 1), [{ result: { released: true } }])
  assert.deepEqual(idempotency.recall('0', 'other', 1), { code: 'idempotency_mismatch' })
  assert.equal(idempotency.settle(REMEMBERED_MS, 20), 10)
  assert.equal(idempotency.size, MILLION - 10)
  assert.equal(saved, MILLION - 10)
  assert.equal(idempotency.recall('new', 'body', REMEMBERED_MS), null)
})

test('what is remembered again is forgotten as late as if it were new', () => {
  const idempotency = new Idempotency(
    () => undefined,
    () => undefined,
  )
  idempotency.remember('a', 'body', RESULTS, 0)
  idempotency.remember('b', 'body', RESULTS, 1)
  idempotency.remember('a', 'body', RESULTS, 2)
  assert.equal(idempotency.settle(REMEMBERED_MS + 1, 10), 1)
  assert.equal(idempotency.recall('b', 'body', REMEMBERED_MS + 1), null)
  assert.notEqual(idempotency.recall('a', 'body', REMEMBERED_MS + 1), null)
})
