/** Exclusive, whoever else draws at the same time. In real time, over many connections. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Drawn, json, TestServer } from '../support/server.ts'

const KEYS = 1000
const SOCKETS = 500

suite('parallel callers', () => {
  test('1 000 draws of 1 000 keys give each key once, and one more gives none', async () => {
    await using server = await TestServer.start({ maxSockets: SOCKETS })
    await server.ask('POST', '/keys', json({ count: KEYS }))
    const drawn = await Promise.all(Array.from({ length: KEYS }, () => server.draw()))
    for (const field of ['keyId', 'leaseId', 'fencingToken'] as const) {
      assert.equal(new Set(drawn.map((lease) => lease[field])).size, KEYS, field)
    }
    const { status, body } = await server.ask('GET', '/keys')
    assert.deepEqual([status, body], [404, {}])
  })

  test('20 draws of 20 keys, and 5 of one', async () => {
    await using server = await TestServer.start({ maxSockets: SOCKETS })
    for (const [keys, draws] of [
      [20, 20],
      [1, 5],
    ] as const) {
      await server.ask('POST', '/keys', json({ count: keys }))
      const answers = await Promise.all(
        Array.from({ length: draws }, () => server.ask('GET', '/keys')),
      )
      const given = answers.filter(({ status }) => status === 200)
      const distinct = new Set(given.map(({ body }) => (body as Drawn).keyId))
      assert.deepEqual([given.length, distinct.size], [keys, keys])
      assert.ok(answers.every(({ status }) => status === 200 || status === 404))
    }
  })

  test('one of many who unblock, and one of many who delete, succeeds', async () => {
    await using server = await TestServer.start({ maxSockets: SOCKETS })
    const keyId = await server.create()
    await server.draw()
    for (const method of ['PUT', 'DELETE']) {
      const statuses = await Promise.all(
        Array.from({ length: 100 }, () => server.status(method, `/keys/${keyId}`)),
      )
      assert.equal(statuses.filter((status) => status === 200).length, 1, method)
    }
  })

  test('no key has two holders while workers draw and unblock', async () => {
    await using server = await TestServer.start({ maxSockets: SOCKETS })
    await server.ask('POST', '/keys', json({ count: 10 }))
    const held = new Set<string>()
    let lastToken = 0
    const work = async (): Promise<void> => {
      for (let round = 0; round < 25; round++) {
        const { status, body } = await server.ask('GET', '/keys')
        if (status === 404) continue
        const { keyId, leaseId, fencingToken } = body as Drawn
        assert.ok(!held.has(keyId), 'two holders')
        held.add(keyId)
        lastToken = Math.max(lastToken, fencingToken)
        await server.ask('GET', `/keys/${keyId}`) // The work: others have their turn.
        held.delete(keyId)
        assert.equal(await server.status('PUT', `/keys/${keyId}?leaseId=${leaseId}`), 200)
      }
    }
    await Promise.all(Array.from({ length: 40 }, work))
    assert.ok((await server.draw()).fencingToken > lastToken)
  })
})
