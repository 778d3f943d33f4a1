/** Real gateways in front of a real server, set up as docs/gateways.md says. */
import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import { CADDY, Gateway, NGINX, Upstream } from '../support/gateway.ts'
import { TestServer } from '../support/server.ts'
import { assertStatus, PoolClient } from '../support/v1.ts'

const VALUE = 'sk-live-27182818'

for (const kind of [NGINX, CADDY]) {
  test(`${kind.program} lets through who holds a key, and nobody else`, async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.importKeys({ value: VALUE })
    const { leaseId } = await pool.acquire({ holder: 'worker 7' })
    const admin = { name: 'admin', scopes: ['admin'], pools: '*', lifetimeMs: null } as const
    await server.access.create(admin)
    const made = await server.access.create({ ...admin, name: 'gate', scopes: ['introspect'] })
    assert('secret' in made)
    const seen: IncomingHttpHeaders[] = []
    using upstream = await Upstream.start((request, response) => {
      seen.push(request.headers)
      response.end('the guarded answer')
    })
    const ports = { server: server.port, upstream: upstream.port }
    await using gateway = await Gateway.start(kind, ports, made.secret)
    const ask = (headers: Record<string, string>): Promise<Response> =>
      fetch(`http://127.0.0.1:${gateway.port}/anything?a=b`, {
        method: 'POST',
        body: 'text',
        headers,
      })
    for (const headers of [{ authorization: `Bearer ${VALUE}` }, { 'x-api-key': VALUE }]) {
      const answer = await ask(headers)
      assert.deepEqual([answer.status, await answer.text()], [200, 'the guarded answer'])
    }
    assert.deepEqual(
      seen.map((headers) => headers['x-key-id']),
      [keyId, keyId],
    )
    // A caller's own token for this server is of no use: the gateway sends its own.
    for (const headers of [
      {},
      { 'x-api-key': 'unknown' },
      { 'x-access-token': made.secret },
      { authorization: `Bearer ${VALUE}`, 'x-api-key': 'unknown' },
    ]) {
      const answer = await ask(headers)
      assert.equal(answer.status, 401)
      assert.match(answer.headers.get('www-authenticate')!, /^Bearer/)
    }
    // Who says whose request it is, is the gateway.
    await ask({ 'x-api-key': VALUE, 'x-key-id': 'forged' })
    assert.equal(seen.at(-1)!['x-key-id'], keyId)
    const authorization = `Bearer ${await adminSecret(server)}`
    const released = await server.ask('POST', `/v1/pools/pool/leases/${leaseId}/release`, {
      headers: { authorization },
    })
    assertStatus(released, 200)
    assert.equal((await ask({ 'x-api-key': VALUE })).status, 401)
    assertStatus(
      await server.ask('DELETE', `/v1/tokens/${made.token.id}`, { headers: { authorization } }),
      204,
    )
    assert.equal((await ask({ 'x-api-key': VALUE })).status, 403)
    assert.equal(seen.length, 3, 'what was refused reached the guarded server')
  })
}

async function adminSecret(server: TestServer): Promise<string> {
  const terms = { name: 'second', scopes: ['admin'], pools: '*', lifetimeMs: null } as const
  const made = await server.access.create(terms)
  assert('secret' in made)
  return made.secret
}
