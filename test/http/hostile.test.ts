/**
 * What no honest client sends. Whatever it is, the answer is a plain refusal, the server goes on serving,
 * and no key is lost or lent by it.
 */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Server } from 'node:http'
import { afterEach, beforeEach, suite, test } from 'node:test'
import fc from 'fast-check'
import { dial, exchange, idRoutes, received, TestServer } from '../support/server.ts'

const HOST = 'Host: localhost\r\n'
const CLOSE = 'Connection: close\r\n'
const POST = `POST /keys HTTP/1.1\r\n${HOST}${CLOSE}`
const SHOW = `GET /healthz HTTP/1.1\r\n${HOST}${CLOSE}`

let server: TestServer
let live: string

beforeEach(async () => {
  server = await TestServer.start()
  live = await server.create()
})
afterEach(() => server[Symbol.asyncDispose]())

/** The server serves, and the one key is as free as it was. */
async function assertUnharmed(): Promise<void> {
  assert.equal((await server.show(live)).state, 'available')
}

suite('hostile ids', () => {
  const ids = [
    ...['constructor', '__proto__', 'prototype', 'toString', 'hasOwnProperty', 'null', '0', '-1'],
    ...[
      '.',
      '..',
      '...',
      '%00',
      '%zz',
      '%',
      '%2',
      '%2e%2e',
      '%2e%2e%2f%2e%2e%2fkeys',
      'a%2fb',
      '%5c',
    ],
    ...[
      '%c0%ae',
      '%ff',
      '%ed%a0%80',
      '%F0%9F%94%91',
      '%0d%0aX-Injected:%201',
      '%20',
      '+',
      '*',
      '~',
    ],
    ...["'%20OR%201=1--", '<script>', '$%7Bx%7D', ';', 'a;b', ':id', '{id}', '%3Fx', '%23x'],
    'x'.repeat(3000),
    '%41'.repeat(1000),
  ]
  const near = (id: string): string[] => [
    `${id}0`,
    id.slice(0, -1),
    ` ${id}`.replace(' ', '%20'),
    `${id}%00`,
    `{${id}}`,
    `urn:uuid:${id}`,
    id.replaceAll('-', ''),
    id.replace('-', '_'),
    id.replace(/.$/, 'g'),
    id.replace(/.$/, '%EF%BC%91'), // a full-width 1
  ]

  test('name no key, on any route', async () => {
    for (const id of [...ids, ...near(live)]) {
      for (const [method, path] of idRoutes(id)) {
        const { status, body } = await server.ask(method, path)
        assert.deepEqual([status, body], [404, {}], `${method} ${path}`)
      }
    }
    await assertUnharmed()
  })

  test('are a 404 or a 405 by any other method', async () => {
    for (const id of [...ids, ...near(live)]) {
      for (const path of [`/keys/${id}`, `/keepalive/${id}`]) {
        for (const method of ['HEAD', 'POST', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
          const { status } = await server.ask(method, path)
          assert.ok(status === 404 || status === 405, `${method} ${path}: ${String(status)}`)
        }
      }
    }
    await assertUnharmed()
  })
})

suite('hostile bytes', () => {
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const framed = (body: string): string => `Content-Length: ${String(body.length)}\r\n\r\n${body}`
  const json = 'Content-Type: application/json\r\n'

  const requests: [name: string, status: number, ...parts: string[]][] = [
    ['9 KiB of headers', 431, SHOW, `X: ${'x'.repeat(9 * 1024)}\r\n\r\n`],
    ['1000 headers', 431, SHOW, 'X: 12\r\n'.repeat(1000), '\r\n'],
    ['a path of 9 KiB', 431, `GET /keys/${'x'.repeat(9 * 1024)} HTTP/1.1\r\n${HOST}\r\n`],
    ['no Host', 403, `GET /keys HTTP/1.1\r\n${CLOSE}\r\n`],
    ['no Host, in HTTP/1.0', 403, 'GET /keys HTTP/1.0\r\n\r\n'],
    ['an empty Host', 403, `GET /keys HTTP/1.1\r\nHost:\r\n${CLOSE}\r\n`],
    ['a Host that is none', 403, `GET /keys HTTP/1.1\r\nHost: local host\r\n${CLOSE}\r\n`],
    ['two Hosts', 403, `GET /keys HTTP/1.1\r\n${HOST}Host: example.com\r\n${CLOSE}\r\n`],
    ['a folded header', 400, `${SHOW}X: a\r\n b\r\n\r\n`],
    ['a header without a name', 400, `${SHOW}: x\r\n\r\n`],
    ['a space before the colon', 400, `${SHOW}X : x\r\n\r\n`],
    ['a bare CR', 400, `GET /keys HTTP/1.1\r${HOST}\r\n`],
    ['a bare LF', 400, `GET /keys HTTP/1.1\nHost: localhost\n\n`],
    ['a NUL in the path', 400, `GET /keys/\0 HTTP/1.1\r\n${HOST}\r\n`],
    ['a raw letter above ASCII', 400, `GET /keys/\u00e4 HTTP/1.1\r\n${HOST}\r\n`],
    ['two lengths', 400, `${POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
    [
      'a length and chunks',
      400,
      `${POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`,
    ],
    ['a negative length', 400, `${POST}Content-Length: -1\r\n\r\n`],
    ['a length in hex', 400, `${POST}Content-Length: 0x2\r\n\r\n{}`],
    ['an unknown encoding', 400, `${POST}Transfer-Encoding: zip\r\n\r\n`],
    ['a broken chunk', 400, `${POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    ['no request line', 400, '\r\n\r\n\0\r\n'],
    ['no method', 400, ` /keys HTTP/1.1\r\n${HOST}\r\n`],
    ['a method in lower case', 400, `get /keys HTTP/1.1\r\n${HOST}\r\n`],
    ['an unknown method', 400, `DRAW /keys HTTP/1.1\r\n${HOST}\r\n`],
    ['no path', 400, `GET HTTP/1.1\r\n${HOST}\r\n`],
    ['an unknown version', 400, `GET /keys HTTP/9.9\r\n${HOST}\r\n`],
    ['HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS', 400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['a body of 65 KiB', 413, `${POST}${json}${framed('x'.repeat(65 * 1024))}`],
    ['the promise of a huge body', 413, `${POST}${json}Content-Length: 99999999999\r\n\r\n`],
    [
      'chunks of 10 MB',
      413,
      `${POST}${json}Transfer-Encoding: chunked\r\n\r\n`,
      ...Array<string>(160).fill(chunk),
    ],
    ['gzip that is not read', 400, `${POST}${json}Content-Encoding: gzip\r\n${framed('\x1f\x8b')}`],
  ]

  for (const [name, status, ...parts] of requests) {
    test(`${name}: ${String(status)}`, async () => {
      const answer = await exchange(server.port, ...parts)
      const [, said, headers, body] =
        /^HTTP\/1\.1 (\d{3}) [^\r]*\r\n(.*?\r\n)\r\n(.*)$/s.exec(answer) ?? []
      assert.equal(said, String(status), answer)
      assert.match(headers!, /^cache-control: no-store\r$/im)
      assert.match(headers!, /^content-type: application\/problem\+json/im)
      assert.match(body!, /"code":"\w+"/)
      assert.doesNotMatch(body!, /\bat .+:\d+:\d+|node_modules|node:/)
      await assertUnharmed()
    })
  }

  test('a smuggled request is never seen', async () => {
    const smuggled = `DELETE /keys/${live} HTTP/1.1\r\n${HOST}\r\n`
    for (const framing of [
      `Content-Length: ${String(smuggled.length + 5)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
      'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
      'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n',
      'Content-Length: 0\r\nContent-Length: 5\r\n\r\n',
      'Content-Length: +0\r\n\r\n',
    ]) {
      const answer = await exchange(
        server.port,
        `GET /healthz HTTP/1.1\r\n${HOST}${framing}${smuggled}`,
      )
      assert.match(answer, /HTTP\/1\.1 400 /, framing)
      await assertUnharmed()
    }
  })
})

suite('hostile connections', () => {
  test('pipelined requests are answered in order', async () => {
    const shows = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'
    const missing = 'GET /keys/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n'
    const answer = await exchange(server.port, `${shows}${missing}`.repeat(50), `${SHOW}\r\n`)
    const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status)
    assert.deepEqual(statuses, [...Array<string[]>(50).fill(['200', '404']).flat(), '200'])
  })

  test('pipelined requests are worked on one at a time', async () => {
    await server.draw()
    const wait = '{"waitMs": 60000}'
    const json = 'Content-Type: application/json\r\n'
    const waiting = `POST /v1/pools/default/leases HTTP/1.1\r\n${HOST}${json}Content-Length: ${wait.length}\r\n\r\n${wait}`
    const answers = exchange(server.port, `${waiting}${POST}\r\n`)
    while (server.orchestrator.allWaiters === 0) await server.ask('GET', '/healthz')
    const created = async (): Promise<string> => {
      const { text } = await server.ask('GET', '/metrics')
      return /kind="created"} (\d+)/.exec(text)![1]!
    }
    assert.equal(await created(), '1')
    await server.create()
    assert.match(await answers, /^HTTP\/1\.1 201 .*"leaseId".*HTTP\/1\.1 201 .*"keyIds?"/s)
    assert.equal(await created(), '3')
  })

  test('who asks for too much at once without waiting is cut off', async () => {
    await server.draw()
    const wait = '{"waitMs": 60000}'
    const json = 'Content-Type: application/json\r\n'
    const waiting = `POST /v1/pools/default/leases HTTP/1.1\r\n${HOST}${json}Content-Length: ${wait.length}\r\n\r\n${wait}`
    const show = `GET /healthz HTTP/1.1\r\n${HOST}\r\n`
    const most = exchange(server.port, `${waiting}${show.repeat(126)}${SHOW}\r\n`)
    assert.equal(await exchange(server.port, `${waiting}${show.repeat(127)}${SHOW}\r\n`), '')
    while (server.orchestrator.allWaiters !== 1) await server.ask('GET', '/healthz')
    await server.create()
    const statuses = [...(await most).matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status)
    assert.deepEqual(statuses, ['201', ...Array<string>(127).fill('200')])
  })

  test('what follows a request does not take its answer', async () => {
    const draw = `GET /keys HTTP/1.1\r\n${HOST}\r\n`
    const answers = await exchange(server.port, `${draw}garbage\r\n\r\n`)
    assert.match(answers, /^HTTP\/1\.1 200 .*"leaseId".*HTTP\/1\.1 400 /s)
  })

  test('an expectation that nobody knows is ignored', async () => {
    const answer = await exchange(server.port, `${SHOW}Expect: applause\r\n\r\n`)
    assert.match(answer, /^HTTP\/1\.1 200 .*cache-control: no-store/is)
  })

  test('who has said everything and closed that half is answered', async () => {
    for (const path of ['/healthz', '/metrics', `/keys/${live}`]) {
      const socket = await dial(server.port)
      socket.end(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
      assert.match(await received(socket), /^HTTP\/1\.1 200 /, path)
    }
  })

  test('a request that is broken off changes nothing', async () => {
    const whole = `${POST}Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{"count": 3}`
    for (const length of [1, 20, whole.length - 12, whole.length - 1]) {
      for (const abort of ['end', 'destroy', 'resetAndDestroy'] as const) {
        const socket = await dial(server.port)
        socket.write(whole.slice(0, length))
        await server.ask('GET', '/healthz') // The server has had a turn to read it.
        const gone = received(socket)
        socket[abort]()
        assert.doesNotMatch(await gone, /HTTP\/1\.1 2/)
      }
    }
    await assertUnharmed()
    const { text } = await server.ask('GET', '/metrics')
    assert.match(text, /^token_orchestrator_changes_total\{kind="created"\} 1$/m)
  })

  test('who is slow to ask is cut off', async () => {
    const socket = await dial(server.port)
    // Node offers the server only to its own channel. Its true times are checked, then shortened.
    const shorten = (message: unknown): void => {
      const node = (message as { server: Server }).server
      assert.deepEqual([node.headersTimeout, node.requestTimeout], [5000, 10_000])
      assert.deepEqual([node.timeout, node.maxConnections], [90_000, 20_000])
      node.headersTimeout = 1
    }
    subscribe('http.server.request.start', shorten)
    await server.ask('GET', '/healthz')
    unsubscribe('http.server.request.start', shorten)
    socket.write(`GET /keys HTTP/1.1\r\n${HOST}`)
    const answer = await received(socket)
    assert.match(answer, /^HTTP\/1\.1 408 .*cache-control: no-store.*"request_timeout"/is)
    await assertUnharmed()
  })
})

test('no request whatever is answered by anything unknown', async () => {
  const segment = fc.oneof(
    fc.constantFrom('keys', 'keepalive', 'healthz', 'readyz', 'metrics', '', '.', '..', '%2e'),
    fc.constantFrom('constructor', '__proto__', '%zz', '%00', '*', ':id', 'v1', 'x'.repeat(500)),
    fc.uuid(),
    fc.webSegment(),
  )
  const path = fc
    .tuple(fc.array(segment, { maxLength: 4 }), fc.option(fc.webQueryParameters(), { nil: '' }))
    .map(([segments, query]) => `/${segments.join('/')}${query === '' ? '' : `?${query}`}`)
  const name = fc.oneof(
    fc.constantFrom('content-type', 'accept', 'origin', 'referer', 'cookie', 'range', 'te'),
    fc.constantFrom('if-none-match', 'accept-encoding', 'authorization', 'sec-purpose', 'upgrade'),
    fc.stringMatching(/^x-[a-z]{1,20}$/),
  )
  const value = fc.oneof(
    fc.constantFrom('application/json', 'application/json; charset', 'a/b; c="', 'null', '*/*', ''),
    fc.stringMatching(/^[\x20-\x7e\xa0-\xff]{0,200}$/),
  )
  const body = fc.oneof(
    fc.json(),
    fc.string({ maxLength: 200 }),
    fc.constantFrom('{', '\0', '[[[['),
  )
  const method = fc.constantFrom(
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'DELETE',
    'PATCH',
    'OPTIONS',
    'QUERY',
  )
  await fc.assert(
    fc.asyncProperty(
      method,
      path,
      fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true }),
      fc.option(body, { nil: undefined }),
      async (method, path, headers, body) => {
        const answer = await server.ask(method, path, { headers, body })
        assert.ok([200, 201, 400, 403, 404, 405].includes(answer.status), String(answer.status))
        const type = answer.headers['content-type'] ?? ''
        assert.match(type, /^(application\/(problem\+)?json|text\/plain; version=)/)
        if (method === 'HEAD') assert.equal(answer.text, '')
        else if (type.startsWith('application/')) assert.equal(typeof answer.body, 'object')
      },
    ),
    { numRuns: 1000 },
  )
})
