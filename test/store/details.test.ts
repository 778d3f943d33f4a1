/** Values, names and holders over a restart, also where time has passed that nobody has put on record. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type Answers,
  isRefusal,
  type NewKey,
  type Operation,
} from '../../src/engine/operations.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const LIMITS = { maxTotalKeys: 1000, maxPools: 4 }
const POOL = 'pool'

/** One life of a store after the other, on one disk. */
class Lives {
  readonly clock = new VirtualClock()
  readonly disk = new SimulatedDisk()
  readonly #random = new SeededRandom(1)
  store!: EmbeddedStore

  static async begin(): Promise<Lives> {
    const lives = new Lives()
    await lives.restart()
    await lives.store.putPool(POOL, { ...DEFAULT_POLICY, keyLifetimeMs: null })
    return lives
  }

  /** As after a crash: nothing is closed. */
  async restart(): Promise<void> {
    this.store = await EmbeddedStore.open(
      LIMITS,
      this.clock,
      this.#random,
      { wakeAt: () => undefined },
      (events) => this.disk.open(events),
    )
  }

  async do<O extends Operation>(operation: O): Promise<Answers[O['op']]> {
    const [result] = await this.store.run(POOL, [operation])
    assert(!isRefusal(result), `${operation.op}: ${JSON.stringify(result)}`)
    return result
  }

  async import(...keys: Partial<NewKey>[]): Promise<string[]> {
    const full = keys.map((key, at) => ({
      value: { sealed: `sealed ${at}`, digest: `digest ${at}` },
      name: null,
      metadata: null,
      lifetimeMs: null,
      ...key,
    }))
    return (await this.do({ op: 'import', keys: full, onDuplicate: 'refuse' })).keyIds
  }

  async heldBy(holder: string): Promise<string[]> {
    const { heldLeases } = await this.do({ op: 'listLeases', limit: 100, holder })
    return heldLeases.map(({ keyId }) => keyId)
  }
}

test('values are free again once their keys are dead, though nobody has swept', async () => {
  const lives = await Lives.begin()
  const mortal = Array.from({ length: 50 }, () => ({ lifetimeMs: 1000 }))
  const before = await lives.import(...mortal)
  await lives.clock.advance(1000)
  const after = await lives.import(...mortal)
  assert.equal(new Set([...before, ...after]).size, 100)
})

suite('after a restart', () => {
  test('what a key had is gone with it, and its slot begins anew', async () => {
    const lives = await Lives.begin()
    const value = { sealed: 'sealed', digest: 'digest' }
    const mortal = { value, name: 'name', metadata: '{"a":1}', lifetimeMs: 1000 }
    const [keyId] = await lives.import(mortal)
    await lives.do({ op: 'update', keyId: keyId!, disabled: true, reason: 'leaked' })
    await lives.restart()
    assert.partialDeepStrictEqual(await lives.do({ op: 'show', keyId: keyId! }), {
      key: { name: 'name', metadata: '{"a":1}', hasValue: true, disabledReason: 'leaked' },
    })
    lives.clock.startFrom(lives.clock.now() + 1000)
    await lives.restart()
    assert.equal(await lives.store.holdsValues(), false)
    const { keyIds } = await lives.do({ op: 'create', count: 1 })
    for (let life = 0; life < 2; life++) {
      assert.partialDeepStrictEqual(await lives.do({ op: 'show', keyId: keyIds[0]! }), {
        key: { name: null, metadata: null, hasValue: false, disabledReason: null },
      })
      await lives.restart()
    }
    await lives.import(mortal)
    assert.equal(await lives.store.holdsValues(), true)
  })

  test('what was changed last is what is there', async () => {
    const lives = await Lives.begin()
    const [keyId, deleted] = await lives.import({}, {})
    await lives.do({ op: 'update', keyId: keyId!, name: 'first' })
    await lives.do({ op: 'update', keyId: keyId!, name: 'second', metadata: '{}' })
    await lives.do({ op: 'update', keyId: keyId!, metadata: null })
    await lives.do({ op: 'remove', keyId: deleted! })
    await lives.restart()
    const { key } = await lives.do({ op: 'show', keyId: keyId! })
    assert.deepEqual([key.name, key.metadata, key.hasValue], ['second', null, true])
    const { leases } = await lives.do({ op: 'acquire', count: 5 })
    assert.deepEqual(
      leases.map(({ sealed }) => sealed),
      ['sealed 0'],
    )
    assert.equal((await lives.store.find('digest 0', '')).length, 1)
    assert.deepEqual(await lives.store.find('digest 1', ''), [])
  })

  test('a holder has its leases, the oldest first', async () => {
    const lives = await Lives.begin()
    await lives.do({ op: 'create', count: 20 })
    for (const holder of ['a', 'b', 'a', 'b', 'a']) {
      await lives.do({ op: 'acquire', count: 2, holder })
    }
    const { heldLeases } = await lives.do({ op: 'listLeases', limit: 100, holder: 'a' })
    const byAge = heldLeases.toSorted((a, b) => a.fencingToken - b.fencingToken)
    await lives.restart()
    const grantedBy = lives.clock.now()
    const revoked = await lives.do({ op: 'revokeLeases', holder: 'a', limit: 2, grantedBy })
    assert.deepEqual(revoked, { revoked: 2, more: true, grantedBy })
    const left = byAge.slice(2).map(({ keyId }) => keyId)
    assert.deepEqual(await lives.heldBy('a'), left.toSorted())
    assert.equal((await lives.heldBy('b')).length, 4)
  })

  test('a lease that is over is not of a holder in another pool, who has its number by now', async () => {
    const lives = await Lives.begin()
    await lives.store.putPool('other', { ...DEFAULT_POLICY, keyLifetimeMs: null })
    const askOther = async (operation: Operation): Promise<object> =>
      (await lives.store.run('other', [operation]))[0]
    await lives.do({ op: 'create', count: 3 })
    await askOther({ op: 'create', count: 3 })
    await lives.do({ op: 'acquire', count: 1, holder: 'w', ttlMs: 500 })
    await lives.clock.advance(500)
    await lives.do({ op: 'describe' })
    await askOther({ op: 'acquire', count: 1, holder: 'v' })
    await lives.restart()
    assert.partialDeepStrictEqual(await askOther({ op: 'listLeases', limit: 100, holder: 'v' }), {
      nextCursor: null,
      heldLeases: [{ holder: 'v' }],
    })
    const grantedBy = lives.clock.now()
    assert.deepEqual(await askOther({ op: 'revokeLeases', holder: 'v', limit: 100, grantedBy }), {
      revoked: 1,
      more: false,
      grantedBy,
    })
    for (const { counts } of [
      await lives.do({ op: 'describe' }),
      (await askOther({ op: 'describe' })) as Answers['describe'],
    ]) {
      assert.partialDeepStrictEqual(counts, { available: 3, leased: 0 })
    }
  })

  test('one who had no lease for a while, and came back, is one holder', async () => {
    const lives = await Lives.begin()
    await lives.do({ op: 'create', count: 20 })
    // Its number is free before the other's, which it is then given: there are two of it on disk.
    await lives.do({ op: 'acquire', count: 1, holder: 'w', ttlMs: 500 })
    await lives.do({ op: 'acquire', count: 1, holder: 'other', ttlMs: 1000 })
    for (let look = 0; look < 2; look++) {
      await lives.clock.advance(500)
      await lives.do({ op: 'describe' })
    }
    await lives.do({ op: 'acquire', count: 2, holder: 'w' })
    const held = await lives.heldBy('w')
    assert.equal(held.length, 2)
    for (let life = 0; life < 2; life++) {
      await lives.restart()
      assert.deepEqual(await lives.heldBy('w'), held)
      assert.deepEqual(await lives.heldBy('other'), [])
    }
    const grantedBy = lives.clock.now()
    const revoke = { op: 'revokeLeases', holder: 'w', limit: 100, grantedBy } as const
    assert.deepEqual(await lives.do(revoke), { revoked: 2, more: false, grantedBy })
  })
})
