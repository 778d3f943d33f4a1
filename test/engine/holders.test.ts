/** Who holds what: rings of holds, against lists. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { Holders, type SavedHolder } from '../../src/engine/holders.ts'
import { Holds } from '../../src/engine/holds.ts'

const CAPACITY = 64
const POOLS = [1, 2]
const NAMES = ['a', 'b', '__proto__']

/** What a restart finds. */
class Disk {
  readonly entries = new Map<string, string>()
  readonly save = (name: string, text: string | null): void => {
    assert(text !== null)
    this.entries.set(name, text)
  }

  saved(): SavedHolder[] {
    return [...this.entries.values()].map((text) => JSON.parse(text) as SavedHolder)
  }
}

interface Held {
  hold: number
  pool: number
  name: string
  token: number
}

function setUp(): { holds: Holds; disk: Disk; holders: Holders } {
  const holds = new Holds(CAPACITY)
  const disk = new Disk()
  return { holds, disk, holders: new Holders(holds, disk.save) }
}

function take(holds: Holds): number {
  const hold = holds.take()
  holds.begin(hold, hold)
  return hold
}

/** Every holder's leases are those, oldest first. */
function assertHeld(holders: Holders, held: readonly Held[]): void {
  for (const pool of POOLS) {
    for (const name of NAMES) {
      const theirs = held.filter((lease) => lease.pool === pool && lease.name === name)
      const expected = theirs.map(({ hold }) => hold)
      assert.deepEqual([...holders.leases(pool, name)], expected)
      assert.equal(holders.oldest(pool, name), expected[0] ?? 0)
      for (const hold of expected) assert.equal(holders.nameOf(hold), name)
    }
  }
}

/** Whose a new lease is, or which of those there are is over. */
const commands = fc.array(
  fc.oneof(
    fc.record({ pool: fc.constantFrom(...POOLS), name: fc.constantFrom(...NAMES) }),
    fc.nat(CAPACITY),
  ),
  { maxLength: 200 },
)

suite('holders', () => {
  test('whatever comes and goes, each holder has its leases, oldest first', () => {
    fc.assert(
      fc.property(commands, (steps) => {
        const { holds, holders, disk } = setUp()
        const held: Held[] = []
        for (const [token, step] of steps.entries()) {
          if (typeof step === 'number') {
            const [over] = held.splice(step % Math.max(held.length, 1), 1)
            if (over === undefined) continue
            holders.remove(over.hold)
            holders.remove(over.hold) // a cooldown that follows has nobody's hold
            holds.give(over.hold)
          } else if (held.length < CAPACITY) {
            const hold = take(holds)
            holders.add(hold, step.pool, step.name)
            held.push({ hold, token, ...step })
          }
          assertHeld(holders, held)
        }
        assert(disk.entries.size <= POOLS.length * NAMES.length, 'numbers are used again')
      }),
      { numRuns: 300 },
    )
  })

  test('after a restart all is as it was, in whatever order it is read', () => {
    fc.assert(
      fc.property(commands, fc.infiniteStream(fc.nat()), (steps, order) => {
        const before = setUp()
        const held: Held[] = []
        /** Leases that time has ended are on disk still, with the numbers of their holders. */
        const onDisk: (Held & { number: number; lapsed: boolean })[] = []
        for (const [token, step] of steps.entries()) {
          if (typeof step === 'number') {
            const [over] = held.splice(step % Math.max(held.length, 1), 1)
            if (over === undefined) continue
            before.holders.remove(over.hold)
            onDisk.find((lease) => lease.token === over.token)!.lapsed = true
          } else if (onDisk.length < CAPACITY) {
            const hold = take(before.holds)
            before.holders.add(hold, step.pool, step.name)
            const lease = { hold, token, ...step }
            held.push(lease)
            onDisk.push({ ...lease, number: before.holds.holder(hold), lapsed: false })
          }
        }
        const { holds, holders, disk } = setUp()
        const shuffled = <T>(items: readonly T[]): T[] =>
          items
            .map((item) => ({ item, rank: order.next().value as number }))
            .sort((a, b) => a.rank - b.rank)
            .map(({ item }) => item)
        for (const saved of shuffled(before.disk.saved())) {
          disk.save(`holder/${saved.number}`, JSON.stringify(saved))
          holders.restore(saved)
        }
        for (let hold = 1; hold <= onDisk.length; hold++) take(holds)
        const tokens = new Map(onDisk.map(({ hold, token }) => [hold, token]))
        for (const { hold, pool, number } of shuffled(onDisk)) {
          holds.setHolder(hold, number)
          holders.restoreLease(hold, pool)
        }
        holders.restored((hold) => tokens.get(hold)!)
        const poolOf = new Map(onDisk.map(({ hold, pool }) => [hold, pool]))
        for (const [pool, name] of POOLS.flatMap((pool) =>
          NAMES.map((name) => [pool, name] as const),
        )) {
          for (const hold of holders.leases(pool, name)) assert.equal(poolOf.get(hold), pool)
        }
        // Whoever looks at a lease that is over ends it first.
        for (const { hold, lapsed } of shuffled(onDisk)) if (lapsed) holders.remove(hold)
        assertHeld(holders, held)
        // And it goes on from there.
        const [pool, name] = [POOLS[0]!, NAMES[0]!]
        for (const { hold } of shuffled(held)) holders.remove(hold)
        assertHeld(holders, [])
        const hold = onDisk.length === CAPACITY ? onDisk[0]?.hold : take(holds)
        if (hold === undefined) return
        holders.add(hold, pool, name)
        assertHeld(holders, [{ hold, pool, name, token: 0 }])
      }),
      { numRuns: 2000 },
    )
  })

  test('a lease of nobody with a name is no one’s', () => {
    const { holds, holders } = setUp()
    const hold = take(holds)
    assert.equal(holders.nameOf(hold), null)
    holders.remove(hold)
    holders.restoreLease(hold, POOLS[0]!)
    holders.restored(() => 0)
    assert.equal(holders.nameOf(hold), null)
  })

  test('a lease whose holder was not saved is nobody’s', () => {
    const { holds, holders } = setUp()
    const hold = take(holds)
    holds.setHolder(hold, 7)
    holders.restoreLease(hold, POOLS[0]!)
    assert.equal(holders.nameOf(hold), null)
    assert.equal(holds.holder(hold), 0)
  })
})
