/** Whatever happens on the wire: what a client holds, the server says that it holds. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'node:test'
import type { Lease } from '../../src/client/client.ts'
import { ClientWorld, type Fate } from '../support/client-world.ts'

/** How the wire is for a while. */
interface Weather {
  fate: Fate
  forMs: number
}

const WEATHER: fc.Arbitrary<Weather> = fc.record({
  fate: fc.oneof(
    { weight: 2, arbitrary: fc.constant<Fate>('answered') },
    fc.constantFrom<Fate>('request lost', 'answer lost', 'refused'),
    { weight: 2, arbitrary: fc.record({ lateMs: fc.integer({ min: 1, max: 15_000 }) }) },
  ),
  forMs: fc.integer({ min: 100, max: 10_000 }),
})
const LONG_OUTAGE: Weather = { fate: 'refused', forMs: 30_000 }
const KEYS = 2
const HOLDERS = 3
const WAIT_MS = 5000
const LONGEST_HOLD_MS = 20_000
const BAD_WEATHER_MS = 30_000
/** Once every answer comes: an attempt times out, a pause, a wait for a key, and then it is held. */
const LAST_ROUND_MS = 15_000 + 5000 + WAIT_MS + LONGEST_HOLD_MS

test('what a client holds, the server says it holds', async () => {
  const trial = async (weather: Weather[], ttlMs: number, holdMs: number): Promise<void> => {
    await using world = await ClientWorld.start(KEYS)
    const { clock } = world
    const start = clock.now()
    let isOver = false
    world.fate = ({ at }) => (isOver ? 'answered' : fateAt(weather, at - start))
    const client = world.client()
    const held = new Set<Lease>()
    let toldLate = false
    const hold = async (): Promise<void> => {
      while (!isOver) {
        // The least margin, for more would hide what is counted wrong.
        const options = { ttlMs, waitMs: WAIT_MS, marginMs: 1 }
        const lease = await client.lease('pool', options).catch(() => null)
        if (lease === null) continue
        held.add(lease)
        lease.signal.addEventListener('abort', () => {
          void world.isLive(lease.leaseId).then((isLive) => (toldLate ||= !isLive))
        })
        await new Promise<void>((resolve) => {
          clock.callAt(clock.now() + holdMs, resolve)
        })
        held.delete(lease)
        await lease.giveBack()
      }
    }
    const look = async (): Promise<void> => {
      assert(!toldLate, 'it had ended when the signal came')
      for (const lease of held) assert.equal(lease.signal.aborted, lease.remainingMs === 0)
      const trusted = [...held].filter(({ signal }) => !signal.aborted)
      assert.equal(new Set(trusted.map(({ keyId }) => keyId)).size, trusted.length, 'two holders')
      for (const { leaseId } of trusted) assert(await world.isLive(leaseId), 'it has ended')
    }

    let atWork = HOLDERS
    const holders = Array.from({ length: HOLDERS }, () => hold().finally(() => atWork--))
    await world.advance(BAD_WEATHER_MS, look)
    isOver = true
    const latest = clock.now() + LAST_ROUND_MS
    while (atWork > 0) {
      assert(clock.now() < latest, 'a holder comes to no end')
      await world.advance(1000, look)
    }
    await Promise.all(holders)
    // What was leased to a holder who never heard of it, or could not be given back.
    await world.advance(ttlMs)
    assert.equal((await world.pool.show()).counts.available, KEYS, 'a key stayed behind')
  }
  await fc.assert(
    fc.asyncProperty(
      fc.array(WEATHER, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 2000, max: 20_000 }),
      fc.integer({ min: 1000, max: LONGEST_HOLD_MS }),
      trial,
    ),
    {
      numRuns: Number(process.env.CLIENT_RUNS ?? 8),
      endOnFailure: true,
      // What chance does not bring every time: nothing gets through from the first renewal on, or from a late grant on.
      examples: [
        [[{ fate: 'answered', forMs: 1000 }, LONG_OUTAGE], 3000, LONGEST_HOLD_MS],
        [[{ fate: { lateMs: 1500 }, forMs: 1000 }, LONG_OUTAGE], 5000, LONGEST_HOLD_MS],
      ],
    },
  )
})

/** It goes round. */
function fateAt(weather: readonly Weather[], ms: number): Fate {
  let left = ms % weather.reduce((sum, { forMs }) => sum + forMs, 0)
  return weather.find(({ forMs }) => (left -= forMs) < 0)!.fate
}
