import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SystemClock } from '../../src/clock.ts'

const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

test('a step of the wall clock changes nothing', (t) => {
  const clock = new SystemClock()
  const before = clock.now()
  t.mock.timers.enable({ apis: ['Date'], now: before + 86_400_000 })
  const forward = clock.now()
  t.mock.timers.setTime(0)
  const back = clock.now()
  for (const now of [forward, back]) assert(now >= before && now < before + 60_000)
})

test('a deadline further off than a timer can be does not come early', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] })
  const clock = new SystemClock()
  let calls = 0
  const cancel = clock.callAt(clock.now() + 3 * LONGEST_TIMEOUT_MS, () => calls++)
  t.mock.timers.tick(1)
  assert.equal(calls, 0, 'Node turns too long a delay into 1 ms')
  // The timer comes round, but by the clock that counts no time has passed: it is set again.
  t.mock.timers.tick(LONGEST_TIMEOUT_MS)
  t.mock.timers.tick(LONGEST_TIMEOUT_MS)
  assert.equal(calls, 0)
  cancel()
  t.mock.timers.runAll()
  assert.equal(calls, 0)
})

test('it never calls back before the instant', async () => {
  const clock = new SystemClock()
  const instants = Array.from({ length: 20 }, (_, place) => clock.now() + place)
  const called = instants.map(
    (instant) =>
      new Promise<number>((resolve) => {
        clock.callAt(instant, () => {
          resolve(clock.now())
        })
      }),
  )
  for (const [place, at] of (await Promise.all(called)).entries()) assert(at >= instants[place]!)
})

test('what is past is called back in a later turn, unless it is cancelled', async () => {
  const clock = new SystemClock()
  const called: string[] = []
  clock.callAt(0, () => called.push('kept'))
  clock.callAt(0, () => called.push('cancelled'))()
  assert.deepEqual(called, [])
  await clock.yield()
  assert.deepEqual(called, ['kept'])
})

test('it never calls back at once, even when the instant comes while it looks', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] })
  const clock = new SystemClock()
  const instant = clock.now() + 10
  const before = performance.now()
  let looks = 0
  t.mock.method(performance, 'now', () => before + 20 * looks++)
  let called = false
  clock.callAt(instant, () => (called = true))
  assert.equal(called, false)
  t.mock.timers.runAll()
  assert.equal(called, true)
})
