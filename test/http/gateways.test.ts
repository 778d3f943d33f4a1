/** Real gateways in front of a real server, set up as docs/gateways.md says. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT } from '../support/command.ts'
import { freePort, listens } from '../support/ports.ts'
import { TestServer } from '../support/server.ts'
import { needTool } from '../support/tools.ts'
import { assertStatus, PoolClient } from '../support/v1.ts'

const VALUE = 'sk-live-27182818'

interface Gateway {
  /** Of its block in the document. */
  language: string
  program: string
  /** The whole configuration, around that of the document. */
  whole: (site: string, directory: string) => string
  args: (file: string, directory: string) => string[]
}

const GATEWAYS: Gateway[] = [
  {
    language: 'nginx',
    program: 'nginx',
    whole: (site, directory) => `
      daemon off; worker_processes 1; pid ${directory}/pid; error_log stderr; user root;
      events {}
      http {
        access_log off;
        client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
        fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi;
        scgi_temp_path ${directory}/scgi;
        ${site}
      }`,
    args: (file, directory) => ['-c', file, '-p', directory],
  },
  {
    language: 'caddyfile',
    program: 'caddy',
    whole: (site) => `{\n\tadmin off\n\tauto_https off\n}\n${site}`,
    args: (file) => ['run', '--adapter', 'caddyfile', '--config', file],
  },
]

function blockOf(language: string): string {
  const text = readFileSync(join(ROOT, 'docs/gateways.md'), 'utf8')
  const [, block] = new RegExp('```' + language + '\n(.*?)```', 's').exec(text)!
  return block!
}

/** A server that must be guarded, and what reaches it. */
async function guarded(): Promise<{
  port: number
  seen: IncomingHttpHeaders[]
  close: () => void
}> {
  const seen: IncomingHttpHeaders[] = []
  const server = createServer((request, response) => {
    seen.push(request.headers)
    response.end('the guarded answer')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = (): void => {
    server.close()
    server.closeAllConnections()
  }
  return { port: (server.address() as AddressInfo).port, seen, close }
}

for (const { language, program, whole, args } of GATEWAYS) {
  test(`${program} lets through who holds a key, and nobody else`, async () => {
    const path = needTool(program)
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.importKeys({ value: VALUE })
    const { leaseId } = await pool.acquire({ holder: 'worker 7' })
    const admin = { name: 'admin', scopes: ['admin'], pools: '*', lifetimeMs: null } as const
    await server.access.create(admin)
    const made = await server.access.create({ ...admin, name: 'gate', scopes: ['introspect'] })
    assert('secret' in made)
    const upstream = await guarded()
    const port = await freePort()
    const site = blockOf(language)
      .replaceAll(':8080', `:${port}`)
      .replaceAll(':3000', `:${server.port}`)
      .replaceAll(':9000', `:${upstream.port}`)
      .replaceAll('ACCESS_TOKEN', made.secret)
    const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
    const file = join(directory, 'config')
    writeFileSync(file, whole(site, directory))
    const environment = { ...process.env, HOME: directory, XDG_DATA_HOME: directory }
    const child = spawn(path, args(file, directory), { stdio: 'ignore', env: environment })
    try {
      await listens(port, child)
      const ask = (headers: Record<string, string>): Promise<Response> =>
        fetch(`http://127.0.0.1:${port}/anything?a=b`, { method: 'POST', body: 'text', headers })
      for (const headers of [{ authorization: `Bearer ${VALUE}` }, { 'x-api-key': VALUE }]) {
        const answer = await ask(headers)
        assert.deepEqual([answer.status, await answer.text()], [200, 'the guarded answer'])
      }
      assert.deepEqual(
        upstream.seen.map((headers) => headers['x-key-id']),
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
      assert.equal(upstream.seen.at(-1)!['x-key-id'], keyId)
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
      assert.equal(upstream.seen.length, 3, 'what was refused reached the guarded server')
    } finally {
      child.kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      upstream.close()
      rmSync(directory, { recursive: true, force: true })
    }
  })
}

async function adminSecret(server: TestServer): Promise<string> {
  const terms = { name: 'second', scopes: ['admin'], pools: '*', lifetimeMs: null } as const
  const made = await server.access.create(terms)
  assert('secret' in made)
  return made.secret
}
