import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sweeper } from '../../src/service/sweeper.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** Counts the timers that are set and not yet run or cancelled. */
class CountingClock extends VirtualClock {
  timers = 0

  override callAt(instant: number, callback: () => void): () => void {
    let pending = true
    const end = (): void => {
      if (pending) this.timers--
      pending = false
    }
    this.timers++
    const cancel = super.callAt(instant, () => {
      end()
      callback()
    })
    return () => {
      end()
      cancel()
    }
  }
}

class Harness {
  readonly clock = new CountingClock()
  readonly start = this.clock.now()
  /** When it has settled, from the start on. */
  readonly settled: number[] = []
  /** What the store says at each settling: when to wake next. */
  readonly answers: number[] = []
  readonly sweeper = new Sweeper(this.clock, async (budgetMs) => {
    assert(budgetMs > 0 && budgetMs <= 1)
    this.settled.push(this.clock.now() - this.start)
    const answer = this.answers.shift()
    if (answer !== undefined) this.wakeAt(answer)
    return Promise.resolve()
  })

  constructor() {
    this.sweeper.start()
  }

  wakeAt(instant: number): void {
    this.sweeper.wakeAt(this.start + instant)
  }
}

test('it settles at the instant that was announced, once', async () => {
  const harness = new Harness()
  const { clock, settled } = harness
  harness.wakeAt(100)
  await clock.advance(99)
  assert.deepEqual(settled, [])
  await clock.advance(1)
  assert.deepEqual(settled, [100])
  await clock.advance(1_000_000)
  assert.deepEqual(settled, [100])
})

test('the earliest instant wins, and there is never more than one timer', async () => {
  const harness = new Harness()
  for (const instant of [500, 700, 300, 300, 400, 200, 900]) {
    harness.wakeAt(instant)
    assert.equal(harness.clock.timers, 1)
  }
  await harness.clock.advance(1000)
  assert.deepEqual(harness.settled, [200])
  assert.equal(harness.clock.timers, 0)
})

test('each settling says when the next one is due', async () => {
  const harness = new Harness()
  harness.answers.push(100, 100, 250)
  harness.wakeAt(100)
  await harness.clock.advance(99)
  assert.deepEqual(harness.settled, [])
  await harness.clock.advance(151)
  // Twice there is more to do in the same millisecond.
  assert.deepEqual(harness.settled, [100, 100, 100, 250])
})

test('what is overdue is settled in the next turn', async () => {
  const harness = new Harness()
  harness.wakeAt(-1000)
  await harness.clock.advance(0)
  assert.deepEqual(harness.settled, [0])
})

test('once stopped it sets no timer', async () => {
  const harness = new Harness()
  harness.wakeAt(100)
  harness.sweeper.stop()
  harness.wakeAt(50)
  assert.equal(harness.clock.timers, 0)
  await harness.clock.advance(1000)
  assert.deepEqual(harness.settled, [])
})
