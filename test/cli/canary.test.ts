/**
 * Secrets go through every route of a real server, in the right places and in all the wrong ones, and then are
 * looked for wherever they must not be: in its log, in what others are told, in its files.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { runCli } from '../support/command.ts'
import { Scratch, Served } from '../faults/served.ts'

interface Secret {
  what: string
  text: string
  /** It may lie in the data directory, for the server has to know it again. */
  isStored: boolean
  /** Letters of it that may be in a log. */
  logged: number
}

const IMPORTED = 'sk-live-51H8vQzKj2eZvKYlo2C0aZ9bQ'
/** Lies in clear, so that a search that finds nothing is seen to be one. */
const NAME = 'a-name-that-is-no-secret'

/** The ways in which a secret might be spelt. */
function spellings(text: string): Buffer[] {
  const bytes = Buffer.from(text)
  const unpadded = (encoding: 'base64' | 'base64url'): string =>
    bytes.toString(encoding).replace(/=+$/, '').slice(0, -1)
  const sha256 = createHash('sha256').update(text).digest()
  return [
    bytes,
    Buffer.from(encodeURIComponent(text)),
    Buffer.from(JSON.stringify(text).slice(1, -1)),
    Buffer.from(unpadded('base64')),
    Buffer.from(unpadded('base64url')),
    Buffer.from(bytes.toString('hex')),
    Buffer.from(bytes.toString('utf16le')),
    // Whoever has a hash can try what it might be of.
    sha256,
    Buffer.from(sha256.toString('hex')),
    Buffer.from(sha256.toString('base64url')),
  ]
}

function holds(place: string | Buffer, text: string): boolean {
  const bytes = Buffer.from(place)
  return spellings(text).some((spelt) => bytes.includes(spelt))
}

/** All files of a data directory but the key that is kept in one, as they are now. */
function filesIn(directory: string): Map<string, Buffer> {
  const names = readdirSync(directory).filter((name) => name !== 'encryption.key')
  return new Map(names.map((name) => [name, readFileSync(join(directory, name))]))
}

const V1 = '/v1/pools/default'

/** Every route, with a place for whatever is asked about. */
const ROUTES: [method: string, path: string][] = [
  ['POST', '/keys'],
  ['GET', '/keys/:id'],
  ['PUT', '/keys/:id?leaseId=:id'],
  ['DELETE', '/keys/:id'],
  ['PUT', '/keepalive/:id'],
  ['GET', '/healthz'],
  ['GET', '/readyz'],
  ['GET', '/metrics'],
  ['GET', '/v1/pools?cursor=:id&limit=:id'],
  ['PUT', '/v1/pools/:id'],
  ['PATCH', '/v1/pools/:id'],
  ['GET', '/v1/pools/:id'],
  ['DELETE', '/v1/pools/:id?force=:id'],
  ['POST', `${V1}/keys`],
  ['GET', `${V1}/keys?cursor=:id&state=:id`],
  ['GET', `${V1}/keys?:id=1`],
  ['GET', `${V1}/keys/:id`],
  ['PATCH', `${V1}/keys/:id`],
  ['DELETE', `${V1}/keys/:id`],
  ['POST', `${V1}/keys/:id/keepalive`],
  ['DELETE', `${V1}/keys/:id/lease`],
  ['POST', `${V1}/leases`],
  ['GET', `${V1}/leases?holder=:id&cursor=:id`],
  ['DELETE', `${V1}/leases?holder=:id&typo=:id`],
  ['GET', `${V1}/leases/:id`],
  ['POST', `${V1}/leases/:id/renew`],
  ['POST', `${V1}/leases/:id/release`],
  ['POST', `${V1}/batch`],
  ['BREW', '/:id'],
  ['GET', '/:id?:id'],
]

/** Bodies in which a secret is out of place. */
function bodiesWith(secret: string): string[] {
  const key = { value: secret }
  return [
    secret,
    `{"${secret}`,
    `"${secret}"`,
    `[${JSON.stringify(secret)}]`,
    JSON.stringify({ [secret]: secret }),
    JSON.stringify({ count: secret, prefix: secret }),
    JSON.stringify({ keys: [key, key] }),
    JSON.stringify({ keys: [{ ...key, typo: secret }] }),
    JSON.stringify({ keys: [{ [secret]: 1 }] }),
    JSON.stringify({ keys: [{ value: `${secret}\ud800` }] }),
    JSON.stringify({ keys: [key], onDuplicate: secret }),
    JSON.stringify({ keyId: secret, ttlMs: secret, holder: `${secret}\n` }),
    JSON.stringify({ outcome: secret, reason: 5, disabled: secret }),
    JSON.stringify({ operations: [{ op: secret }, { op: 'renew', leaseId: secret }] }),
    JSON.stringify({ operations: [{ op: 'renew', leaseId: secret }] }),
    JSON.stringify({ operations: [{ op: 'keepAlive', keyId: secret, [secret]: 1 }] }),
  ]
}

/** Sends it wherever it fits. Returns all that was answered, the headers too. */
async function sendEverywhere({ port }: Served, secret: string): Promise<string[]> {
  const answers: string[] = []
  const ask = async (method: string, path: string, headers = {}, body?: string): Promise<void> => {
    const url = `http://127.0.0.1:${port}${path}`
    const response = await fetch(url, { method, headers, ...(body === undefined ? {} : { body }) })
    const said = [...response.headers].map(([name, value]) => `${name}: ${value}`)
    answers.push(`${method} ${response.status} ${said.join('\n')}\n${await response.text()}`)
  }
  for (const [method, path] of ROUTES) {
    const filled = path.replaceAll(':id', encodeURIComponent(secret))
    await ask(method, filled)
    const headers = {
      authorization: `Bearer ${secret}`,
      'x-api-key': secret,
      'x-access-token': secret,
      'idempotency-key': `${secret} 1`,
      'sec-purpose': secret,
      accept: secret,
    }
    await ask(method, filled, headers)
    if (method === 'GET' || method === 'BREW') continue
    for (const body of bodiesWith(secret)) {
      await ask(method, filled, { ...headers, 'content-type': 'application/json' }, body)
    }
    await ask(method, filled, { 'content-type': `application/${secret}` }, secret)
  }
  return answers
}

suite('secrets', () => {
  test('are in no log, no list, no error and no file where they do not belong', async () => {
    using scratch = new Scratch()
    const directory = scratch.data
    await using served = await Served.start(directory, { args: ['--log-level', 'debug'] })
    const made = async (body: object): Promise<string[]> =>
      (await served.do('POST', `${V1}/keys`, body)).keyIds as string[]
    const imported = { value: IMPORTED, name: NAME, metadata: { note: 'n' } }
    // What is remembered of a repeatable request must not help to guess at its body.
    const body = JSON.stringify({ keys: [imported] })
    const headers = { 'content-type': 'application/json', 'idempotency-key': '1' }
    const url = `http://127.0.0.1:${served.port}`
    const response = await fetch(`${url}${V1}/keys`, { method: 'POST', headers, body })
    const [importedId] = ((await response.json()) as { keyIds: string[] }).keyIds
    const [generatedId] = await made({ count: 1, prefix: 'acme_live' })
    const [plain] = await made({ count: 1 })
    await served.do('PATCH', V1, { keyLifetimeMs: null })
    for (const keyId of [generatedId, plain]) {
      await served.do('POST', `${V1}/keys/${keyId!}/keepalive`)
    }
    const lease = (keyId?: string): Promise<Record<string, unknown>> =>
      served.do('POST', `${V1}/leases`, { keyId, ttlMs: 3_600_000 })
    const leases = [await lease(importedId), await lease(generatedId), await lease(plain)]
    const secrets: Secret[] = [
      { what: 'an imported value', text: IMPORTED, isStored: false, logged: 0 },
      {
        what: 'a generated value',
        text: String(leases[1]!.value),
        isStored: false,
        logged: 0,
      },
      { what: 'a plain key', text: plain!, isStored: true, logged: 8 },
      ...leases.map(({ leaseId }) => ({
        what: 'a lease',
        text: String(leaseId),
        isStored: true,
        logged: 0,
      })),
    ]
    assert.equal(leases[0]!.value, IMPORTED)
    assert.match(secrets[1]!.text, /^acme_live_/)

    // Values last, for some of the routes end what they are asked about.
    const values = secrets.filter(({ isStored }) => !isStored)
    const answers: string[] = []
    for (const { text } of values) answers.push(...(await sendEverywhere(served, text)))
    const backup = join(scratch.path, 'backup.db')
    assert.equal((await runCli(['backup', backup, '--url', url])).code, 0)
    for (const path of ['/keys', '/leases', `/keys/${importedId!}`, `/keys/${generatedId!}`, '']) {
      answers.push((await served.ask('GET', V1 + path))!.text)
    }
    for (const { text } of secrets.slice(values.length)) await sendEverywhere(served, text)
    answers.push((await served.ask('GET', '/metrics'))!.text)
    const running = filesIn(directory)
    served.command.kill('SIGTERM')
    assert.equal(await served.command.code, 0)

    const log = served.command.stdout + served.command.stderr
    assert.match(log, /"message":"listening"/)
    for (const { what, text, logged } of secrets) {
      assert(!holds(log, text), `${what} is in the log`)
      const letters = text.slice(0, logged + 1)
      assert(logged === 0 || !log.includes(letters), `too much of ${what} is in the log`)
    }
    for (const { what, text } of values) {
      for (const answer of answers) assert(!holds(answer, text), `${what} in: ${answer}`)
    }
    const files = [...running, ...filesIn(directory), ['backup', readFileSync(backup)] as const]
    assert(files.some(([name]) => name === 'state.db-wal'))
    const named = files.filter(([, bytes]) => holds(bytes, NAME)).map(([name]) => name)
    assert(named.includes('backup'), 'what lies in clear is found')
    for (const { what, text } of values) {
      for (const [name, bytes] of files) assert(!holds(bytes, text), `${what} is in ${name}`)
    }
    for (const [name, bytes] of files) assert(!holds(bytes, body), `a body is in ${name}`)
  })

  test('would be found, however they are spelt', () => {
    for (const spelt of spellings(IMPORTED)) {
      assert(holds(Buffer.concat([Buffer.from([0, 255]), spelt, Buffer.from('x')]), IMPORTED))
    }
    assert(!holds(IMPORTED.slice(1), IMPORTED))
  })
})
