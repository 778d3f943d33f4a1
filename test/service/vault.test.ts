/** Values at rest, on a real store: in memory, and on a disk that fails as it is told. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import type { Random } from '../../src/engine/random.ts'
import {
  masterKeyId,
  MasterKeyError,
  neededMasterKey,
  UnreadableValue,
  Vault,
} from '../../src/service/vault.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { type Store, StoreFailure } from '../../src/store/store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const LIMITS = { maxTotalKeys: 1000, maxPools: 4 }
const OLD = Buffer.alloc(32, 'old')
const NEW = Buffer.alloc(32, 'new')
const POOL = 'pool'
const KEYRING = 'keyring'

const random = new SeededRandom(7)

/** With one pool, and nothing in it. */
async function emptyStore(): Promise<Store> {
  const events = { wakeAt: () => undefined }
  const store = EmbeddedStore.inMemory(LIMITS, new VirtualClock(), random, events)
  await store.putPool(POOL, DEFAULT_POLICY)
  return store
}

/** Takes in a value as a caller's would be. Returns how it lies in the store. */
async function keep(store: Store, vault: Vault, value: string): Promise<string> {
  const sealed = vault.seal(POOL, value)
  const keys = [{ value: sealed, name: null, metadata: null, lifetimeMs: null }]
  await store.run(POOL, [{ op: 'import', keys, onDuplicate: 'refuse' }])
  return sealed.sealed
}

async function ringOf(store: Store): Promise<string> {
  return (await store.documents()).get(KEYRING)!
}

suite('a value', () => {
  test('comes back as it was, and does not lie there as it is', async () => {
    const vault = await Vault.open(await emptyStore(), [OLD], random)
    for (const value of ['sk-live-1', 'ключ 🔑', '\0\n"', ' ', 'x'.repeat(16 * 1024)]) {
      const { sealed, digest } = vault.seal(POOL, value)
      assert.equal(vault.open(POOL, sealed), value)
      const raw = Buffer.from(sealed.slice(sealed.indexOf('.') + 1), 'base64url')
      assert.equal(raw.length, 12 + Buffer.byteLength(value) + 16)
      if (value.length > 4) assert(!raw.includes(value) && !sealed.includes(value))
      assert.match(digest, /^[\w-]{22}$/)
    }
  })

  test('lies there in another way each time, and has one digest', async () => {
    const vault = await Vault.open(await emptyStore(), [OLD], random)
    const all = Array.from({ length: 1000 }, () => vault.seal(POOL, 'the same'))
    assert.equal(new Set(all.map(({ sealed }) => sealed)).size, 1000)
    assert.equal(new Set(all.map(({ digest }) => digest)).size, 1)
    const others = Array.from({ length: 1000 }, (_, at) => vault.digest(`another ${at}`))
    assert.equal(new Set([...others, all[0]!.digest]).size, 1001)
  })

  test('takes a nonce of its own from the random numbers that it is given', async () => {
    let last = 0
    const counting: Random = { uint32: () => last++ }
    const vault = await Vault.open(await emptyStore(), [OLD], counting)
    const nonces = Array.from({ length: 100 }, () => {
      const before = last
      const { sealed } = vault.seal(POOL, 'value')
      assert.equal(last - before, 3, '96 bits')
      const raw = Buffer.from(sealed.split('.')[1]!, 'base64url')
      return raw.subarray(0, 12).toString('hex')
    })
    assert.equal(new Set(nonces).size, 100)
  })

  test('of another pool, or with a bit that is another, will not decrypt', async () => {
    const vault = await Vault.open(await emptyStore(), [OLD], random)
    const { sealed } = vault.seal(POOL, 'value')
    assert.throws(() => vault.open('other', sealed), UnreadableValue)
    const [keyId, text] = sealed.split('.') as [string, string]
    const raw = Buffer.from(text, 'base64url')
    for (let bit = 0; bit < raw.length * 8; bit++) {
      const flipped = Buffer.from(raw)
      flipped[bit >>> 3]! ^= 1 << (bit & 7)
      const altered = `${keyId}.${flipped.toString('base64url')}`
      assert.throws(() => vault.open(POOL, altered), UnreadableValue, `bit ${bit}`)
    }
    const cuts = [...raw.keys()].map((end) => `${keyId}.${raw.toString('base64url', 0, end)}`)
    for (const altered of [...cuts, `k9.${text}`, text, '', '.', `__proto__.${text}`, 'value']) {
      assert.throws(() => vault.open(POOL, altered), UnreadableValue, altered)
    }
  })

  test('is of no use to another server, and neither is its digest', async () => {
    const vault = await Vault.open(await emptyStore(), [OLD], random)
    const other = await Vault.open(await emptyStore(), [OLD], random)
    const { sealed, digest } = vault.seal(POOL, 'value')
    assert.throws(() => other.open(POOL, sealed), UnreadableValue)
    assert.notEqual(other.digest('value'), digest)
  })
})

suite('a restart', () => {
  test('reads what was written, and leaves the key ring as it is', async () => {
    const store = await emptyStore()
    const before = await Vault.open(store, [OLD], random)
    const sealed = await keep(store, before, 'value')
    const ring = await ringOf(store)
    assert.equal((JSON.parse(ring) as { masterKeyId: string }).masterKeyId, masterKeyId(OLD))
    const after = await Vault.open(store, [OLD], random)
    assert.equal(after.open(POOL, sealed), 'value')
    assert.equal(after.digest('value'), before.digest('value'))
    assert.equal(await ringOf(store), ring)
  })

  test('with another master key is refused where there are values, with what to do', async () => {
    const store = await emptyStore()
    assert.equal(await neededMasterKey(store), null)
    await keep(store, await Vault.open(store, [OLD], random), 'value')
    assert.equal(await neededMasterKey(store), masterKeyId(OLD))
    const ring = await ringOf(store)
    for (const [keys, given] of [
      [[], /none was given/],
      [[NEW], new RegExp(masterKeyId(NEW))],
    ] as const) {
      await assert.rejects(Vault.open(store, keys, random), (error: Error) => {
        assert(error instanceof MasterKeyError)
        assert.match(error.message, new RegExp(masterKeyId(OLD)))
        assert.match(error.message, given)
        assert.match(error.message, /--encryption-key-file/)
        assert.doesNotMatch(error.message, new RegExp(OLD.toString('base64').slice(0, 8)))
        return true
      })
      assert.equal(await ringOf(store), ring, 'nothing is lost by the attempt')
    }
  })

  test('with another master key begins anew where there are no values', async () => {
    const store = await emptyStore()
    const before = await Vault.open(store, [OLD], random)
    const sealed = await keep(store, before, 'value')
    const { keys } = (await store.run(POOL, [{ op: 'list', limit: 1 }]))[0] as {
      keys: { keyId: string }[]
    }
    await store.run(POOL, [{ op: 'remove', keyId: keys[0]!.keyId }])
    assert.equal(await neededMasterKey(store), null)
    const after = await Vault.open(store, [NEW], random)
    assert.throws(() => after.open(POOL, sealed), UnreadableValue)
    const next = await keep(store, after, 'next')
    assert.equal((await Vault.open(store, [NEW], random)).open(POOL, next), 'next')
  })

  test('finds a damaged key ring, each part of it', async () => {
    const store = await emptyStore()
    await keep(store, await Vault.open(store, [OLD], random), 'value')
    const ring = JSON.parse(await ringOf(store)) as {
      digestKey: string
      dataKeys: [string, string][]
    }
    const [id, dataKey] = ring.dataKeys[0]!
    const flip = (text: string): string => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
    for (const damaged of [
      { ...ring, digestKey: flip(ring.digestKey) },
      { ...ring, digestKey: dataKey },
      { ...ring, dataKeys: [[id, flip(dataKey)]] },
      { ...ring, dataKeys: [['k2', dataKey]] },
      { ...ring, dataKeys: [[id, ring.digestKey]] },
    ]) {
      await store.putDocument(KEYRING, JSON.stringify(damaged))
      await assert.rejects(Vault.open(store, [OLD], random), MasterKeyError)
    }
    await store.putDocument(KEYRING, null)
    await assert.rejects(Vault.open(store, [OLD], random), MasterKeyError)
  })
})

test('rotation: old values stay readable, new ones get a new data key, digests stay', async () => {
  const store = await emptyStore()
  const before = await Vault.open(store, [OLD], random)
  const old = await keep(store, before, 'old value')
  const between = await Vault.open(store, [NEW, OLD], random)
  assert.equal(await neededMasterKey(store), masterKeyId(NEW))
  assert.equal(between.open(POOL, old), 'old value')
  const fresh = await keep(store, between, 'new value')
  assert.notEqual(fresh.split('.')[0], old.split('.')[0])
  const again = await Vault.open(store, [NEW, OLD], random)
  assert.equal(again.seal(POOL, 'x').sealed.split('.')[0], fresh.split('.')[0], 'once is enough')
  const after = await Vault.open(store, [NEW], random)
  assert.deepEqual([after.open(POOL, old), after.open(POOL, fresh)], ['old value', 'new value'])
  assert.equal(after.digest('old value'), before.digest('old value'))
  await assert.rejects(Vault.open(store, [OLD], random), MasterKeyError)
})

test('a disk that is full when the key ring is to be kept stops the start', async () => {
  for (const fill of [
    (disk: SimulatedDisk): void => {
      disk.setRoom(false)
    },
    (disk: SimulatedDisk): void => {
      disk.decide = () => Promise.resolve('full')
    },
  ]) {
    const disk = new SimulatedDisk()
    const store = await EmbeddedStore.open(
      LIMITS,
      new VirtualClock(),
      random,
      { wakeAt: () => undefined },
      (events) => disk.open(events),
    )
    await store.putPool(POOL, DEFAULT_POLICY)
    fill(disk)
    await assert.rejects(Vault.open(store, [OLD], random), (error) => {
      assert(error instanceof StoreFailure)
      return error.code === 'storage_full'
    })
    await store.close()
  }
})
