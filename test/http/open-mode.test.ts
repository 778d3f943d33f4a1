/** Open mode: without access tokens only callers on this machine are answered, whatever they ask. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { exchange, idRoutes, NOBODY, TestServer } from '../support/server.ts'

let server: TestServer

before(async () => {
  server = await TestServer.start()
})
after(() => server[Symbol.asyncDispose]())

async function assertAdmitted(headers: Record<string, string>): Promise<void> {
  const { status, text } = await server.ask('GET', '/healthz', { headers })
  assert.equal(status, 200, `${JSON.stringify(headers)}: ${text}`)
}

async function assertRefused(headers: Record<string, string>): Promise<void> {
  const { status, body, text } = await server.ask('GET', '/healthz', { headers })
  assert.equal(status, 403, `${JSON.stringify(headers)}: ${text}`)
  assert.equal((body as { code: string }).code, 'not_local')
}

suite('Host', () => {
  const local = ['localhost', 'LocalHost', '127.0.0.1', '127.0.0.2', '127.255.255.254', '[::1]']
  for (const host of local) {
    test(`${host} is local, with any port and without`, async () => {
      for (const port of ['', ':1', ':80', ':3000', ':65535']) {
        await assertAdmitted({ host: `${host}${port}` })
      }
    })
  }

  const foreign = [
    ...[
      'localhost.example.com',
      'localhost.',
      'example.com',
      'notlocalhost',
      'xlocalhost',
      'local',
    ],
    ...[
      '127.0.0.1.example.com',
      '127.0.0.1.nip.io',
      '127.1',
      '127.0.0.1.2',
      '128.0.0.1',
      '2130706433',
    ],
    ...['0x7f000001', '0177.0.0.1', '0.0.0.0', '10.0.0.1', '192.168.0.1', '169.254.169.254', '0'],
    ...['::1', '[::]', '[::2]', '[::1', '::1]', '[::1]x', '[::ffff:10.0.0.1]', '[fe80::1]'],
    ...['localhost:', 'localhost:x', 'localhost:80:80', 'localhost:-1', 'localhost:123456'],
    ...['user@localhost', 'localhost@example.com', 'localhost/', 'http://localhost', 'localhost#'],
    ...['localhost, example.com', 'localhost example.com', 'example.com:localhost', 'localhost%00'],
  ]
  test('anything else is foreign', async () => {
    for (const host of foreign) await assertRefused({ host })
  })

  test('goes before the host of an absolute target, which must be the same', async () => {
    for (const [target, host, status] of [
      ['http://localhost:1/healthz', 'localhost:1', 200],
      ['http://example.com/healthz', 'example.com', 403],
      ['http://example.com/healthz', 'localhost', 403],
      ['http://localhost@example.com/healthz', 'localhost', 403],
    ] as const) {
      const request = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      const answer = await exchange(server.port, request)
      assert.ok(answer.startsWith(`HTTP/1.1 ${String(status)} `), `${target}, ${host}: ${answer}`)
    }
  })
})

suite('Origin', () => {
  test('the same as the Host is no foreign one', async () => {
    for (const host of ['localhost', 'localhost:3000', '127.0.0.1:8080', '[::1]:3000']) {
      await assertAdmitted({ host, origin: `http://${host}` })
    }
  })

  test('any other is foreign, on this machine too', async () => {
    const host = 'localhost:3000'
    for (const origin of [
      ...['https://example.com', 'http://example.com', 'null', '', 'file://', 'localhost:3000'],
      ...['http://localhost', 'http://localhost:3001', 'https://localhost:3000', '*'],
      ...['http://127.0.0.1:3000', 'http://localhost:3000.example.com', 'http://localhost:30000'],
      ...['http://localhost:3000/', 'http://localhost:3000 http://example.com'],
      ...['chrome-extension://abcdefghijklmnop', 'http://example.com#http://localhost:3000'],
    ]) {
      await assertRefused({ host, origin })
    }
  })
})

test('Sec-Fetch-Site must be same-origin or none', async () => {
  for (const site of ['same-origin', 'none']) await assertAdmitted({ 'sec-fetch-site': site })
  for (const site of ['cross-site', 'same-site', '', 'None', 'none, none', 'x']) {
    await assertRefused({ 'sec-fetch-site': site })
  }
})

test('whatever says that it was forwarded is refused', async () => {
  for (const [name, value] of [
    ['forwarded', 'for=127.0.0.1'],
    ['x-forwarded-for', '127.0.0.1'],
    ['x-forwarded-host', 'localhost'],
    ['x-forwarded-proto', 'http'],
    ['x-forwarded-port', '80'],
    ['x-forwarded-prefix', '/api'],
    ['x-forwarded-server', 'localhost'],
    ['x-real-ip', '127.0.0.1'],
    ['via', '1.1 localhost'],
  ] as const) {
    await assertRefused({ [name]: value })
    await assertRefused({ [name.toUpperCase()]: value })
    await assertRefused({ [name]: '' })
  }
})

test('other headers of proxies and browsers do not matter', async () => {
  await assertAdmitted({
    referer: 'https://example.com/',
    'user-agent': 'Mozilla/5.0',
    'sec-fetch-mode': 'navigate',
    'x-request-id': '1',
    authorization: 'Bearer x',
  })
})

test('a refusal comes before everything else, and nothing is changed', async () => {
  const keyId = await server.create()
  const routes = [...idRoutes(keyId), ...idRoutes(NOBODY), ['GET', '/keys'], ['POST', '/keys']]
  const others = [
    ['PATCH', '/keys'],
    ['GET', '/nowhere'],
    ['PUT', '/keys/%zz'],
    ['GET', '/metrics'],
  ]
  for (const [method, path] of [...routes, ...others] as [string, string][]) {
    for (const headers of [
      { host: 'example.com' },
      { origin: 'null' },
      { 'sec-fetch-site': 'cross-site' },
      { via: '1.1 proxy' },
    ]) {
      const asking = { headers: { ...headers, 'content-type': 'application/json' }, body: '{' }
      const { status, body } = await server.ask(method, path, asking)
      const { code } = body as { code: string }
      assert.deepEqual([status, code], [403, 'not_local'], `${method} ${path}`)
    }
  }
  assert.equal((await server.show(keyId)).state, 'available')
})

test('no preflight is answered with leave to come', async () => {
  const headers = {
    origin: 'https://example.com',
    'access-control-request-method': 'GET',
    'access-control-request-private-network': 'true',
  }
  const answer = await server.ask('OPTIONS', '/keys', { headers })
  assert.equal(answer.status, 403)
  const granted = Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))
  assert.deepEqual(granted, [])
})
