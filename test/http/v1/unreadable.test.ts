/** A value that somebody has altered where it lies: it is an error, and never handed out as it is. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ERRORS } from '../../../src/engine/errors.ts'
import { DEFAULT_POLICY } from '../../../src/engine/policy.ts'
import { SystemRandom } from '../../../src/random.ts'
import { Vault } from '../../../src/service/vault.ts'
import { EmbeddedStore } from '../../../src/store/embedded/embedded-store.ts'
import type { Store } from '../../../src/store/store.ts'
import { type Answer, TEST_MASTER_KEY, TestServer } from '../../support/server.ts'
import { type Key, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const REASON = 'its value will not decrypt'

interface Damaged extends AsyncDisposable {
  server: TestServer
  pool: PoolClient
  bad: string
  good: string[]
}

/** A server with three keys that have values, one of them altered at rest. */
async function damaged(): Promise<Damaged> {
  let store!: Store
  const clock = new VirtualClock()
  const server = await TestServer.start({
    clock,
    openStore: async (events) => {
      const random = new SystemRandom()
      store = EmbeddedStore.inMemory({ maxTotalKeys: 100, maxPools: 4 }, clock, random, events)
      await store.putPool('default', DEFAULT_POLICY)
      return store
    },
  })
  const vault = await Vault.open(store, [TEST_MASTER_KEY], new SystemRandom())
  const values = ['one', 'altered', 'three'].map((text) => vault.seal('default', text))
  const { sealed } = values[1]!
  const letter = sealed.at(30) === 'A' ? 'B' : 'A'
  values[1] = { ...values[1]!, sealed: sealed.slice(0, 30) + letter + sealed.slice(31) }
  const keys = values.map((value) => ({ value, name: null, metadata: null, lifetimeMs: null }))
  const [made] = await store.run('default', [{ op: 'import', keys, onDuplicate: 'refuse' }])
  assert('keyIds' in made)
  const [one, bad, three] = made.keyIds as [string, string, string]
  return {
    server,
    pool: new PoolClient(server, 'default'),
    bad,
    good: [one, three],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

/** `TestServer.ask` holds any 500 for a fault. */
async function askBare(
  server: TestServer,
  method: string,
  path: string,
  body?: object,
): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const headers = Object.fromEntries(response.headers)
  return { status: response.status, headers, text, body: JSON.parse(text) }
}

function assertUnreadable({ status, headers, text, body }: Answer): void {
  assert.equal(status, 500, text)
  const { title, advice } = ERRORS.value_unreadable
  assert.deepEqual(body, { title, status: 500, code: 'value_unreadable', detail: advice })
  assert.equal(headers.location, undefined, 'there is no lease')
}

async function assertDisabled({ pool, server, bad, good }: Damaged): Promise<void> {
  const { state, disabledReason, lease } = await pool.key(bad)
  assert.deepEqual([state, disabledReason, lease], ['disabled', REASON, null])
  for (const [at, keyId] of good.entries()) {
    const { value, leaseId } = await pool.acquire({ keyId })
    assert.equal(value, ['one', 'three'][at])
    await pool.release(leaseId)
  }
  const log = server.logged.join('')
  assert(!log.includes(bad) && !log.includes('altered'))
}

suite('a value that will not decrypt', () => {
  test('is a 500 when it is leased; the key is disabled, its lease ended', async () => {
    await using all = await damaged()
    assertUnreadable(
      await askBare(all.server, 'POST', '/v1/pools/default/leases', { keyId: all.bad }),
    )
    await assertDisabled(all)
  })

  test('is a 500 for one who waited', async () => {
    await using all = await damaged()
    const asked = { keyId: all.bad, waitMs: 1000 }
    assertUnreadable(await askBare(all.server, 'POST', '/v1/pools/default/leases', asked))
    await assertDisabled(all)
  })

  test('is a 500 of the classic draw', async () => {
    await using all = await damaged()
    for (const keyId of all.good) await all.pool.ask('PATCH', `/keys/${keyId}`, { disabled: true })
    assertUnreadable(await askBare(all.server, 'GET', '/keys'))
    for (const keyId of all.good) await all.pool.ask('PATCH', `/keys/${keyId}`, { disabled: false })
    await assertDisabled(all)
    assert.equal((await all.server.ask('GET', '/keys')).status, 200)
  })

  test('leaves only its own lease out of a batch', async () => {
    await using all = await damaged()
    const [got, none] = await all.pool.batch(
      { op: 'acquire', count: 3 },
      { op: 'acquire', count: 1 },
    )
    assert.deepEqual(got!.leases!.map(({ value }) => value).sort(), ['one', 'three'])
    assert.equal(none!.status, 429)
    const { state, disabledReason } = await all.pool.key(all.bad)
    assert.deepEqual([state, disabledReason], ['disabled', REASON])
  })

  test('is that operation’s error where the batch asks for nothing else', async () => {
    await using all = await damaged()
    const [bad, good] = await all.pool.batch(
      { op: 'acquire', keyId: all.bad },
      { op: 'acquire', keyId: all.good[0] },
    )
    assert.deepEqual([bad!.status, bad!.code], [500, 'value_unreadable'])
    assert.equal(good!.leases![0]!.value, 'one')
    assert.equal((await all.pool.key(all.bad)).state, 'disabled')
  })

  test('does not hinder what needs no value: looking, disabling, deleting', async () => {
    await using all = await damaged()
    const key: Key = await all.pool.key(all.bad)
    assert.deepEqual([key.hasValue, key.state], [true, 'available'])
    assert.equal((await all.pool.ask('DELETE', `/keys/${all.bad}`)).status, 204)
    assert.equal((await all.pool.show()).counts.available, 2)
  })
})
