/** Work with a key: it is given back however the work ends, and what the error says is passed on. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { outcomeOf, type Report } from '../../src/client/client.ts'
import { ClientWorld } from '../support/client-world.ts'

suite('withKey', () => {
  test('gives the key back, and returns what the work does', async () => {
    await using world = await ClientWorld.start(1)
    const client = world.client()
    const keyId = await client.withKey('pool', (lease) => lease.keyId)
    assert.equal(await client.withKey('pool', async ({ key }) => Promise.resolve(key)), keyId)
    assert.equal(await world.pool.state(keyId), 'available')
  })

  test('gives the key back when the work throws, says how it did, and throws that on', async () => {
    await using world = await ClientWorld.start(1)
    const error = Object.assign(new Error('slow down'), { retryAfter: 7 })
    const thrown = world.client().withKey('pool', () => {
      throw error
    })
    await assert.rejects(thrown, (caught) => caught === error)
    assert.deepEqual(world.sent.at(-1)!.body, { outcome: 'rate_limited', retryAfterMs: 7000 })
    const { counts } = await world.pool.show()
    assert.deepEqual({ leased: counts.leased, cooling: counts.cooling }, { leased: 0, cooling: 1 })
    await world.advance(7000)
    assert.equal((await world.pool.show()).counts.available, 1)
  })

  test('lets the caller say what an error means', async () => {
    await using world = await ClientWorld.start(1)
    const thrown = world.client().withKey('pool', () => Promise.reject(new Error('401')), {
      outcomeOf: (error) => ({ outcome: 'invalid', reason: (error as Error).message }),
    })
    await assert.rejects(thrown, /401/)
    assert.equal((await world.pool.show()).counts.disabled, 1)
  })

  test('work that stops because the lease is lost says nothing against the key', async () => {
    await using world = await ClientWorld.start(1)
    world.fate = ({ path }) => (path.endsWith('/renew') ? 'refused' : 'answered')
    let isStopped = false
    const thrown = assert.rejects(
      world.client().withKey(
        'pool',
        ({ signal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => {
              isStopped = true
              reject(new Error('connection closed'))
            })
          }),
        { ttlMs: 10_000 },
      ),
      /connection closed/,
    )
    await world.advance(9000)
    assert(isStopped)
    await thrown
    assert.deepEqual(world.sent.at(-1)!.body, {})
    assert.equal((await world.pool.show()).counts.available, 1, 'given back before its time')
  })

  test('a result stands even if the release fails', async () => {
    await using world = await ClientWorld.start(1)
    world.fate = ({ path }) => (path.endsWith('/release') ? 'refused' : 'answered')
    const heard: unknown[] = []
    const onUnreleased = (error: unknown): unknown => heard.push(error)
    const done = world.client().withKey('pool', () => 42, { onUnreleased })
    await world.advance(31_000)
    assert.equal(await done, 42)
    assert.equal(heard.length, 1)
  })
})

suite('what an error says about the key', () => {
  const week = 7 * 24 * 3_600_000
  const cases: [string, unknown, Report][] = [
    ['any error', new Error('no'), { outcome: 'error' }],
    ['what is no error', 'no', { outcome: 'error' }],
    ['nothing', undefined, { outcome: 'error' }],
    ['a timeout', new DOMException('', 'TimeoutError'), { outcome: 'error' }],
    ['given up', new DOMException('', 'AbortError'), { outcome: 'ok' }],
    ['429', { status: 429 }, { outcome: 'rate_limited' }],
    ['429 by another name', { statusCode: 429 }, { outcome: 'rate_limited' }],
    ['429 of a response', { response: { status: 429 } }, { outcome: 'rate_limited' }],
    ['ms', { retryAfterMs: 1234.5 }, { outcome: 'rate_limited', retryAfterMs: 1235 }],
    ['seconds', { retryAfter: 3 }, { outcome: 'rate_limited', retryAfterMs: 3000 }],
    ['text', { retryAfter: '3' }, { outcome: 'rate_limited', retryAfterMs: 3000 }],
    ['not below zero', { retryAfterMs: -5 }, { outcome: 'rate_limited', retryAfterMs: 0 }],
    ['a week at most', { retryAfter: 1e9 }, { outcome: 'rate_limited', retryAfterMs: week }],
    [
      'past date',
      { retryAfter: new Date(0).toUTCString() },
      { outcome: 'rate_limited', retryAfterMs: 0 },
    ],
    ['no time', { retryAfter: 'soon' }, { outcome: 'error' }],
    [
      'a response itself',
      new Response('', { status: 503, headers: { 'Retry-After': '2' } }),
      { outcome: 'rate_limited', retryAfterMs: 2000 },
    ],
    [
      'headers as an object',
      { response: { status: 429, headers: { 'Retry-After': '2' } } },
      { outcome: 'rate_limited', retryAfterMs: 2000 },
    ],
  ]
  for (const [name, error, report] of cases) {
    test(name, () => {
      assert.deepEqual(outcomeOf(error), report)
    })
  }
})
