/** What is asked in the wrong way, on every path. */
import assert from 'node:assert/strict'
import { METHODS } from 'node:http'
import { suite, test } from 'node:test'
import { dial, exchange, idRoutes, NOBODY, TestServer } from '../support/server.ts'

/** CONNECT names a host, not a path, and Node's client expects a tunnel. */
const PATH_METHODS = METHODS.filter((method) => method !== 'CONNECT')

test('bodies are ignored where none is read', async () => {
  await using server = await TestServer.start()
  for (const type of ['application/json', 'text/plain', 'gar bage']) {
    const asking = { headers: { 'content-type': type }, body: '{"broken' }
    const keyId = await server.create()
    assert.equal((await server.ask('GET', '/keys', asking)).status, 200)
    for (const [method, path] of idRoutes(keyId)) {
      assert.equal((await server.ask(method, path, asking)).status, 200, `${method} ${type}`)
    }
  }
})

test('a type without a body is no type', async () => {
  await using server = await TestServer.start()
  const statuses = {
    'POST /keys': 201,
    'GET /keys': 200,
    'POST /v1/pools/default/leases': 429,
    'POST /v1/pools/default/batch': 400,
    'POST /v1/introspect': 400,
    'PATCH /v1/pools/default': 400,
  }
  for (const [route, status] of Object.entries(statuses)) {
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'gar bage']) {
      const head = `${route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`
      const answer = await exchange(server.port, `${head}Content-Type: ${type}\r\n\r\n`)
      assert(answer.startsWith(`HTTP/1.1 ${status} `), `${route} ${type}: ${answer}`)
    }
  }
})

suite('any method on any path', () => {
  const allowed: [string, string[]][] = [
    ['/keys', ['GET', 'POST']],
    ['/keys/', ['GET', 'POST']],
    [`/keys/${NOBODY}`, ['GET', 'PUT', 'DELETE']],
    [`/keepalive/${NOBODY}`, ['PUT']],
    ['/healthz', ['GET']],
    ['/readyz', ['GET']],
    ['/metrics', ['GET']],
  ]
  for (const [path, methods] of allowed) {
    test(`${path} knows ${methods.join(', ')}; the rest is a 405 that says so`, async () => {
      await using server = await TestServer.start()
      for (const method of PATH_METHODS) {
        const { status, headers, body } = await server.ask(method, path)
        if (methods.includes(method)) {
          assert.notEqual(status, 405, method)
          continue
        }
        assert.equal(status, 405, method)
        assert.equal(headers.allow, methods.join(', '))
        const code = method === 'HEAD' ? undefined : 'method_not_allowed'
        assert.equal((body as { code?: string } | undefined)?.code, code)
      }
    })
  }

  test('an unknown path is a 404 problem', async () => {
    await using server = await TestServer.start()
    for (const path of ['/', '/key', '/keys/a/b', '/keepalive', '/KEYS', '//keys', '/keys;a']) {
      for (const method of PATH_METHODS) {
        const { status, body } = await server.ask(method, path)
        assert.equal(status, 404, `${method} ${path}`)
        const code = method === 'HEAD' ? undefined : 'route_not_found'
        assert.equal((body as { code?: string } | undefined)?.code, code)
      }
    }
  })

  test('CONNECT is refused like any other', async () => {
    await using server = await TestServer.start()
    for (const target of ['/keys', 'example.com:443']) {
      const answer = await exchange(
        server.port,
        `CONNECT ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      )
      assert.match(answer, /^HTTP\/1\.1 4\d\d .*cache-control: no-store\r\n/is)
    }
  })

  test('a CONNECT whose caller resets the connection ends nothing', async () => {
    await using server = await TestServer.start()
    for (let time = 0; time < 20; time++) {
      const socket = await dial(server.port)
      socket.write('CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n')
      await new Promise(setImmediate)
      socket.resetAndDestroy()
    }
    assert.equal(await server.status('POST', '/keys'), 201)
  })
})
