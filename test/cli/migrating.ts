/** What tests of migrations share: servers in processes of their own, what they hold, and what must be left of that. */
import assert from 'node:assert/strict'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Command, type Ended, listeningPort, runCli, startCli } from '../support/command.ts'

export const FOLDER = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
const ADMIN = join(FOLDER, 'admin.token')
const SECRET = 'an-admin-token-of-these-tests-0123456789'
export const KEY_FILE = join(FOLDER, 'master.key')
export const PLAIN_KEYS = 4000
const HOUR_MS = 3_600_000

writeFileSync(ADMIN, SECRET, { mode: 0o600 })
writeFileSync(KEY_FILE, Buffer.alloc(32, 'master').toString('base64'), { mode: 0o600 })

interface Answer {
  status: number
  body: Record<string, unknown>
}

export interface Leased {
  leaseId: string
  keyId: string
  value: string | null
  fencingToken: number
}

/** A server in a process of its own. */
export class Server implements AsyncDisposable {
  readonly #url: string
  readonly #command: Command

  private constructor(url: string, command: Command) {
    this.#url = url
    this.#command = command
  }

  static async start(...state: string[]): Promise<Server> {
    const files = ['--admin-token-file', ADMIN, '--encryption-key-file', KEY_FILE]
    const command = startCli(['serve', '--port', '0', ...files, ...state])
    return new Server(`http://127.0.0.1:${await listeningPort(command)}`, command)
  }

  async ask(method: string, path: string, body?: object, token = SECRET): Promise<Answer> {
    const response = await fetch(`${this.#url}/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return {
      status: response.status,
      body: text === '' ? {} : (JSON.parse(text) as Answer['body']),
    }
  }

  async done(method: string, path: string, body?: object): Promise<Answer['body']> {
    const answer = await this.ask(method, path, body)
    assert(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer)}`)
    return answer.body
  }

  async lease(pool: string, asked: object = {}): Promise<Leased> {
    return (await this.done('POST', `/pools/${pool}/leases`, asked)) as unknown as Leased
  }

  renew(pool: string, { leaseId }: Leased): Promise<Answer> {
    return this.ask('POST', `/pools/${pool}/leases/${leaseId}/renew`, { ttlMs: HOUR_MS })
  }

  release(pool: string, { leaseId }: Leased, how: object = {}): Promise<Answer> {
    return this.ask('POST', `/pools/${pool}/leases/${leaseId}/release`, how)
  }

  /** All that it tells of its keys and pools, whatever is leased to whom. */
  async tell(): Promise<object[]> {
    const { pools } = (await this.done('GET', '/pools')) as { pools: { name: string }[] }
    const told: object[] = [await this.done('GET', '/tokens')]
    for (const { name } of pools.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      told.push(await this.done('GET', `/pools/${name}`))
      for (const list of ['keys', 'leases'])
        told.push(...(await this.#all(`/pools/${name}/${list}`)))
    }
    return told
  }

  async #all(path: string): Promise<object[]> {
    const found: object[] = []
    for (let cursor = ''; ;) {
      const page = await this.done('GET', `${path}?limit=1000${cursor}`)
      found.push(...((page.keys ?? page.leases) as object[]))
      if (page.nextCursor === undefined) return found
      cursor = `&cursor=${page.nextCursor as string}`
    }
  }

  async stop(): Promise<void> {
    this.#command.kill('SIGTERM')
    assert.equal(await this.#command.code, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#command[Symbol.asyncDispose]()
  }
}

/** Leases as their holders know them. */
export interface Holders {
  plain: Leased
  named: Leased
  toRelease: Leased
  released: Leased
  disabledUnder: Leased
  token: string
}

/** Something of everything that a key, a lease and a pool can be. */
export async function seed(server: Server): Promise<Holders> {
  await server.done('PATCH', '/pools/default', { keyLifetimeMs: HOUR_MS, leaseTtlMs: HOUR_MS })
  for (let made = 0; made < PLAIN_KEYS; made += 1000) {
    await server.done('POST', '/pools/default/keys', { count: 1000 })
  }
  const policy = {
    ...{ leaseTtlMs: HOUR_MS, maxLeaseTtlMs: 2 * HOUR_MS, maxLeaseTotalMs: 5 * HOUR_MS },
    ...{ failureCooldownMs: HOUR_MS, maxFailureCooldownMs: 4 * HOUR_MS, maxKeys: 5000 },
    expiredLeaseCooldownMs: HOUR_MS,
  }
  await server.done('PUT', '/pools/llm', policy)
  await server.done('PUT', '/pools/empty', { keyLifetimeMs: null })
  const keys = Array.from({ length: 500 }, (_, at) => ({
    value: `sk-live-${String(at)}`,
    name: `né ${String(at)}`,
    ...(at % 2 === 0 && { metadata: { at, region: '"eu"' } }),
    ...(at % 3 === 0 && { lifetimeMs: 10 * HOUR_MS }),
  }))
  await server.done('POST', '/pools/llm/keys', { keys })
  await server.done('POST', '/pools/llm/keys', { count: 3, prefix: 'acme_live' })
  await Promise.all(Array.from({ length: 100 }, () => server.lease('default', { holder: 'many' })))
  for (const outcome of ['error', 'invalid', 'rate_limited']) {
    const lease = await server.lease('llm')
    await server.release('llm', lease, { outcome, ...(outcome === 'invalid' && { reason: 'why' }) })
  }
  const lost = await server.lease('llm', { ttlMs: 1 })
  const released = await server.lease('llm')
  await server.release('llm', released)
  const disabledUnder = await server.lease('llm')
  await server.done('PATCH', `/pools/llm/keys/${disabledUnder.keyId}`, { disabled: true })
  const { secret } = (await server.done('POST', '/tokens', {
    ...{ name: 'worker', scopes: ['leases'], pools: ['llm'] },
  })) as { secret: string }
  assert.notEqual(lost.keyId, released.keyId)
  return {
    plain: await server.lease('default'),
    named: await server.lease('llm', { holder: 'worker-7' }),
    toRelease: await server.lease('llm'),
    released,
    disabledUnder,
    token: secret,
  }
}

/** What holders may still do, and nobody else. Gives everything back but `plain` and `named`. */
export async function goesOn(server: Server, holders: Holders): Promise<void> {
  const { plain, named, toRelease, released, disabledUnder, token } = holders
  for (const [pool, lease] of [
    ['default', plain],
    ['llm', named],
  ] as const) {
    const { status, body } = await server.renew(pool, lease)
    assert.equal(status, 200, JSON.stringify(body))
    const { leaseId, keyId, value, fencingToken } = body
    assert.deepEqual({ leaseId, keyId, value, fencingToken }, pick(lease))
    const wrong = lease.leaseId.slice(0, -2) + (lease.leaseId.endsWith('AA') ? 'BB' : 'AA')
    assert.equal((await server.renew(pool, { ...lease, leaseId: wrong })).status, 404)
  }
  const own = await server.ask('GET', `/pools/llm/leases/${named.leaseId}`, undefined, token)
  assert.equal(own.status, 200)
  // What had ended before need not be remembered, and nothing comes of it.
  assert([404, 410].includes((await server.renew('llm', released)).status))
  assert.deepEqual((await server.release('llm', toRelease)).body, { released: true })
  assert.equal((await server.release('llm', toRelease)).body.released, false)
  assert.deepEqual((await server.release('llm', disabledUnder)).body, { released: true })
  const { state } = await server.done('GET', `/pools/llm/keys/${disabledUnder.keyId}`)
  assert.equal(state, 'disabled')
  const next = await server.lease('llm', { keyId: toRelease.keyId })
  assert(next.fencingToken > Math.max(...[plain, named, toRelease].map((one) => one.fencingToken)))
  assert.equal(next.value, toRelease.value)
  assert.equal((await server.renew('llm', toRelease)).status, 410)
  await server.release('llm', next)
  const again = { keys: [{ value: named.value }] }
  const duplicate = await server.ask('POST', '/pools/llm/keys', again)
  assert.equal(duplicate.body.code, 'duplicate_value')
}

/** What `goesOn` gave back is held again. */
export async function heldAnew(server: Server, holders: Holders): Promise<Holders> {
  const toRelease = await server.lease('llm')
  const disabledUnder = await server.lease('llm')
  await server.done('PATCH', `/pools/llm/keys/${disabledUnder.keyId}`, { disabled: true })
  return { ...holders, toRelease, disabledUnder }
}

function pick({ leaseId, keyId, value, fencingToken }: Leased): Leased {
  return { leaseId, keyId, value, fencingToken }
}

export function migrate(from: string, to: string, ...more: string[]): Promise<Ended> {
  return runCli(['migrate', '--from', from, '--to', to, '--encryption-key-file', KEY_FILE, ...more])
}

export async function migrated(from: string, to: string, ...more: string[]): Promise<string> {
  const { code, stdout, stderr } = await migrate(from, to, ...more)
  assert.equal(code, 0, stderr)
  assert.match(stdout, /are the same/)
  return stdout
}

/** Pools by age come in another order, and nothing else. */
export function sorted(all: object[]): string[] {
  return all.map((one) => JSON.stringify(one)).sort()
}
