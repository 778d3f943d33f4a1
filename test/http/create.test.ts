/** `POST /keys`, the one classic route that reads a body. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { json, TestServer } from '../support/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

suite('POST /keys', () => {
  test('makes a key and says where it is', async () => {
    await using server = await TestServer.start()
    const { status, headers, body } = await server.ask('POST', '/keys')
    const { keyId } = body as { keyId: string }
    assert.equal(status, 201)
    assert.match(keyId, UUID)
    assert.deepEqual(body, { keyId, key_id: keyId })
    assert.equal(headers.location, `/keys/${keyId}`)
    assert.equal(headers['content-type'], 'application/json; charset=utf-8')
    assert.equal(await server.status('GET', `/keys/${keyId}`), 200)
  })

  for (const count of [1, 2, 10_000]) {
    test(`makes ${String(count)} at a time`, async () => {
      await using server = await TestServer.start()
      const { status, body } = await server.ask('POST', '/keys', json({ count }))
      const { keyIds, ...first } = body as { keyIds: string[] }
      assert.equal(status, 201)
      assert.equal(new Set(keyIds).size, count)
      assert.deepEqual(first, { keyId: keyIds[0], key_id: keyIds[0] })
    })
  }

  const refused: [string, string][] = [
    ['count 0', '{"count": 0}'],
    ['count 10 001', '{"count": 10001}'],
    ['a fraction', '{"count": 1.5}'],
    ['a negative count', '{"count": -1}'],
    ['an endless count', '{"count": 1e999}'],
    ['a text', '{"count": "2"}'],
    ['an empty text', '{"count": ""}'],
    ['a boolean', '{"count": true}'],
    ['an array', '{"count": [2]}'],
    ['an object', '{"count": {"count": 2}}'],
    ['a body that is an array', '[]'],
    ['a body that is a number', '3'],
    ['broken JSON', '{"count": 2'],
    ['JSON and a half', '{"count": 2}{'],
    ['no JSON at all', 'count=2'],
  ]
  test('refuses a wrong count and broken JSON, and makes nothing', async (t) => {
    await using server = await TestServer.start()
    for (const [name, body] of refused) {
      await t.test(name, async () => {
        const { status, body: problem } = await server.ask('POST', '/keys', json(body))
        assert.equal(status, 400)
        assert.equal((problem as { code: string }).code, 'invalid_request')
      })
    }
    assert.equal(await server.status('GET', '/keys'), 404)
  })

  const single: [string, string | undefined, string][] = [
    ['nothing', undefined, ''],
    ['an empty JSON body', 'application/json', ''],
    ['a blank JSON body', 'application/json', ' \n'],
    ['an empty object', 'application/json', '{}'],
    ['null', 'application/json', 'null'],
    ['a null count', 'application/json', '{"count": null}'],
    ['unknown fields', 'application/json', '{"counts": 7, "name": [1, {"count": 9}]}'],
    ['__proto__', 'application/json', '{"__proto__": {"count": 3}, "constructor": 1}'],
    ['a text', 'text/plain', '{"count": 3}'],
    ['a form', 'application/x-www-form-urlencoded', 'count=3'],
    ['parts', 'multipart/form-data; boundary=x', '--x--'],
    ['bytes', 'application/octet-stream', '\0\x01{'],
    ['JSON by another name', 'text/json', '{"count": 3}'],
    ['a type that is none', 'gar bage', '{"count": 3}'],
    ['an empty type', '', '{"count": 3}'],
    ['a body without a type', undefined, '{"count": 3}'],
  ]
  test('makes one key for any other body', async (t) => {
    await using server = await TestServer.start()
    for (const [name, type, body] of single) {
      await t.test(name, async () => {
        const headers = type === undefined ? {} : { 'content-type': type }
        const made = await server.ask('POST', '/keys', { headers, body })
        assert.equal(made.status, 201)
        assert.deepEqual(Object.keys(made.body as object), ['keyId', 'key_id'])
      })
    }
  })

  test('knows JSON however its type is spelt and however it is sent', async (t) => {
    await using server = await TestServer.start()
    const types = ['application/json', 'Application/JSON', 'application/merge-patch+json']
    for (const type of [...types, 'application/json; charset=utf-8', 'application/json;a=b']) {
      for (const chunked of [false, true]) {
        await t.test(`${type}${chunked ? ', chunked' : ''}`, async () => {
          const framing = chunked ? { 'transfer-encoding': 'chunked' } : {}
          const headers = { 'content-type': type, ...framing }
          const { body } = await server.ask('POST', '/keys', {
            headers,
            body: '{"count": 3}',
          })
          assert.equal((body as { keyIds?: string[] }).keyIds?.length, 3)
        })
      }
    }
  })

  test('is refused whole at maxKeys', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock, policy: { maxKeys: 3 } })
    await server.create()
    const { status, body } = await server.ask('POST', '/keys', json({ count: 3 }))
    assert.equal(status, 409)
    assert.equal((body as { code: string }).code, 'pool_full')
    assert.equal((await server.ask('POST', '/keys', json({ count: 2 }))).status, 201)
    assert.equal(await server.status('POST', '/keys'), 409)
    await clock.advance(300_000) // The dead take no room.
    assert.equal((await server.ask('POST', '/keys', json({ count: 3 }))).status, 201)
  })

  test('is refused at --max-total-keys', async () => {
    await using server = await TestServer.start({ maxTotalKeys: 2 })
    const { status, body } = await server.ask('POST', '/keys', json({ count: 3 }))
    assert.deepEqual([status, (body as { code: string }).code], [409, 'server_full'])
  })
})
