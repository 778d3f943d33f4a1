/** What several servers over one Redis share. */
import assert from 'node:assert/strict'
import type { OutgoingHttpHeaders } from 'node:http'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisServer, serveOn } from '../support/redis.ts'
import type { Asking, TestServer } from '../support/server.ts'

const LEASES = '/v1/pools/default/leases'
const SHARED_WITHIN_MS = 10_000

let redis: RedisServer
let first: TestServer
let second: TestServer

before(async () => {
  redis = await RedisServer.start()
  first = await serveOn([redis.url])
  second = await serveOn([redis.url])
})

after(async () => {
  await first[Symbol.asyncDispose]()
  await second[Symbol.asyncDispose]()
  await redis[Symbol.asyncDispose]()
})

function json(body: object, headers: OutgoingHttpHeaders = {}): Asking {
  return { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }
}

interface Leased {
  leaseId: string
  keyId: string
  value: string | null
}

async function lease(server: TestServer, body: object, headers = {}): Promise<Leased> {
  const answer = await server.ask('POST', LEASES, json(body, headers))
  assert.equal(answer.status, 201, answer.text)
  return answer.body as Leased
}

async function release(server: TestServer, { leaseId }: Leased): Promise<void> {
  const { status } = await server.ask('POST', `${LEASES}/${leaseId}/release`, json({}))
  assert.equal(status, 200)
}

/** Asks again until it is so, for as long as it may take to become known. */
async function soon(isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + SHARED_WITHIN_MS
  while (!(await isSo())) {
    assert(performance.now() < end, 'the other server never knew')
    await sleep(50)
  }
}

suite('two servers over one Redis', () => {
  test('what one does the other sees', async () => {
    const keyId = await first.create()
    assert.equal((await second.draw()).keyId, keyId)
    assert.equal((await first.ask('GET', '/keys')).status, 404)
    assert.equal((await first.ask('DELETE', `/keys/${keyId}`)).status, 200)
    assert.equal((await second.ask('GET', `/keys/${keyId}`)).status, 404)
  })

  test('who waits at one is given what is made or freed at the other', async () => {
    const waiting = lease(first, { waitMs: 20_000 })
    await soon(() => Promise.resolve(first.orchestrator.waiters('default') === 1))
    const keyId = await second.create()
    const got = await waiting
    assert.equal(got.keyId, keyId)
    const next = lease(first, { waitMs: 20_000 })
    await soon(() => Promise.resolve(first.orchestrator.waiters('default') === 1))
    await release(second, got)
    assert.equal((await next).keyId, keyId)
    await first.ask('DELETE', `/keys/${keyId}`)
  })

  test('a repeated request is done once, whichever server it comes to', async () => {
    await first.ask('POST', '/v1/pools/default/keys', json({ count: 3 }))
    const headers = { 'idempotency-key': 'one' }
    const { leaseId } = await lease(first, {}, headers)
    assert.equal((await lease(second, {}, headers)).leaseId, leaseId)
    const other = await second.ask('POST', LEASES, json({ ttlMs: 1000 }, headers))
    assert.equal((other.body as { code: string }).code, 'idempotency_mismatch')
  })

  test('one that comes to both at once is done once', async () => {
    for (let round = 0; round < 50; round++) {
      const headers = { 'idempotency-key': `round ${round}` }
      const [a, b] = await Promise.all([lease(first, {}, headers), lease(second, {}, headers)])
      assert.equal(a.leaseId, b.leaseId)
      await release(first, a)
    }
  })

  test('a pool and its policy are there for both', async () => {
    const put = await first.ask('PUT', '/v1/pools/shared', json({ leaseTtlMs: 1234 }))
    assert.equal(put.status, 201, put.text)
    await second.ask('POST', '/v1/pools/shared/keys', json({ count: 1 }))
    const { body } = await second.ask('GET', '/v1/pools/shared')
    assert.equal((body as { policy: { leaseTtlMs: number } }).policy.leaseTtlMs, 1234)
    // It is another pool of that name from then on, which both come to know.
    assert.equal((await second.ask('DELETE', '/v1/pools/shared?force=true')).status, 204)
    assert.equal((await first.ask('POST', '/v1/pools/shared/leases', json({}))).status, 404)
    await second.ask('PUT', '/v1/pools/shared', json({}))
    await second.ask('POST', '/v1/pools/shared/keys', json({ count: 1 }))
    assert.equal((await first.ask('POST', '/v1/pools/shared/leases', json({}))).status, 201)
  })

  test('a value taken in by one is given by the other, and one without the key takes in none', async () => {
    const keys = { keys: [{ value: 'sk-secret-of-mine' }] }
    await first.ask('PUT', '/v1/pools/values', json({}))
    const made = await first.ask('POST', '/v1/pools/values/keys', json(keys))
    assert.equal(made.status, 201, made.text)
    const leased = await second.ask('POST', '/v1/pools/values/leases', json({}))
    assert.equal((leased.body as Leased).value, 'sk-secret-of-mine')
    await assert.rejects(
      serveOn([redis.url], { masterKeys: [] }),
      /can be read with the encryption/,
    )
    await using other = await RedisServer.start()
    await using keyless = await serveOn([other.url], { masterKeys: [] })
    const refused = await keyless.ask('POST', '/v1/pools/default/keys', json(keys))
    assert.equal((refused.body as { code: string }).code, 'encryption_key_required')
    assert.equal((await keyless.ask('POST', '/keys')).status, 201)
  })

  test('an access token made at one opens the other, until it is deleted', async () => {
    const admin = { name: 'admin', scopes: ['admin'] }
    const made = await first.ask('POST', '/v1/tokens', json(admin))
    assert.equal(made.status, 201, made.text)
    const { token } = made.body as { token: string }
    const headers = { authorization: `Bearer ${token}` }
    const status = async (server: TestServer, headers: OutgoingHttpHeaders): Promise<number> =>
      (await server.ask('GET', '/v1/pools', { headers })).status
    await soon(async () => (await status(second, {})) === 401)
    assert.equal(await status(second, headers), 200)
    const brief = await second.ask(
      'POST',
      '/v1/tokens',
      json({ name: 'a', scopes: ['read'] }, headers),
    )
    const { token: secret, id } = brief.body as { token: string; id: string }
    const other = { authorization: `Bearer ${secret}` }
    await soon(async () => (await status(first, other)) === 200)
    await second.ask('DELETE', `/v1/tokens/${id}`, { headers })
    await soon(async () => (await status(first, other)) === 401)
  })
})
