/** Whatever happens on the wire: as long as the client says that it holds a key, the server says so too. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'node:test'
import type { Lease } from '../../src/client/client.ts'
import { ClientWorld, type Fate } from '../support/client-world.ts'

const FATES = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Fate>('answered') },
  fc.constantFrom<Fate>('request lost', 'answer lost', 'refused'),
  fc.record({ lateMs: fc.integer({ min: 1, max: 15_000 }) }),
)
const HOLDERS = 3

test('a lease that a client holds is its own', async () => {
  const trial = async (fates: Fate[], ttlMs: number, holdMs: number): Promise<void> => {
    await using world = await ClientWorld.start(HOLDERS - 1)
    world.fate = (_sent, number) => fates[number % fates.length]!
    const client = world.client()
    const held = new Set<Lease>()
    let isOver = false
    const hold = async (): Promise<void> => {
      while (!isOver) {
        const lease = await client.lease('pool', { ttlMs, waitMs: 5000 }).catch(() => null)
        if (lease === null) continue
        held.add(lease)
        await new Promise<void>((resolve) => {
          world.clock.callAt(world.clock.now() + holdMs, resolve)
        })
        held.delete(lease)
        await lease.giveBack()
      }
    }
    const holders = Array.from({ length: HOLDERS }, hold)
    const look = async (): Promise<void> => {
      const trusted = [...held].filter(({ remainingMs }) => remainingMs > 0)
      assert.equal(new Set(trusted.map(({ keyId }) => keyId)).size, trusted.length, 'two holders')
      for (const lease of trusted) {
        assert(!lease.signal.aborted)
        assert(await world.isLive(lease.leaseId), 'the server has ended it')
      }
      for (const lease of held) if (lease.remainingMs === 0) assert(lease.signal.aborted)
    }
    await world.advance(60_000, look)
    isOver = true
    world.fate = () => 'answered'
    await world.advance(60_000)
    await Promise.all(holders)
    await world.advance(ttlMs)
    assert.equal((await world.pool.show()).counts.available, HOLDERS - 1, 'a key stayed behind')
  }
  await fc.assert(
    fc.asyncProperty(
      fc.array(FATES, { minLength: 1, maxLength: 30 }),
      fc.integer({ min: 2000, max: 30_000 }),
      fc.integer({ min: 100, max: 40_000 }),
      trial,
    ),
    { numRuns: Number(process.env.CLIENT_RUNS ?? 12), endOnFailure: true },
  )
})
