/** The history of a key, as callers see it. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { HistoryEntry } from '../../../src/http/contract/keys.ts'
import { type Answer, json, TestServer } from '../../support/server.ts'
import { Holder } from '../../support/tokens.ts'
import { assertProblem, assertStatus, PoolClient } from '../../support/v1.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const HISTORY = { keptMs: 24 * 3_600_000, records: 10_000 }

interface Page {
  entries: HistoryEntry[]
  since: string
  nextCursor?: string
}

function pageOf(answer: Answer): Page {
  return assertStatus(answer, 200).body as Page
}

suite('history', () => {
  test('who held the key when, and how that ended, with times as everywhere', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock, history: HISTORY })
    const start = new Date(clock.now()).toISOString()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const { leaseId, fencingToken, expiresAt } = await pool.acquire({ holder: 'worker-7' })
    await clock.advance(1000)
    await pool.release(leaseId, { outcome: 'error', retryAfterMs: 5 })
    const answer = await pool.ask('GET', `/keys/${keyId!}/history`)
    const nobody = { holder: null, by: null, outcome: null, until: null }
    const lease = { fencingToken, holder: 'worker-7', by: null }
    const at = new Date(clock.now()).toISOString()
    const until = new Date(clock.now() + 5).toISOString()
    assert.deepEqual(pageOf(answer), {
      entries: [
        { at, change: 'released', ...lease, outcome: 'error', until },
        { at: start, change: 'leased', ...lease, outcome: null, until: expiresAt },
        { at: start, change: 'created', fencingToken: null, ...nobody },
      ],
      since: start,
    })
    assert(!answer.text.includes(leaseId), 'whoever knows a lease id may release the key')
  })

  test('pages', async () => {
    await using server = await TestServer.start({ history: HISTORY })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    for (let change = 0; change < 3; change++) await pool.ask('POST', `/keys/${keyId!}/keepalive`)
    const path = `/keys/${keyId!}/history`
    const first = pageOf(await pool.ask('GET', `${path}?limit=3`))
    assert.equal(first.entries.length, 3)
    const rest = pageOf(await pool.ask('GET', `${path}?cursor=${first.nextCursor!}`))
    assert.deepEqual(
      rest.entries.map(({ change }) => change),
      ['created'],
    )
    assert.equal(rest.nextCursor, undefined)
    assertProblem(await pool.ask('GET', `${path}?cursor=x`), 'invalid_cursor')
    assertProblem(await pool.ask('GET', '/keys/constructor/history'), 'key_not_found')
    const none = new PoolClient(server, 'none')
    assertProblem(await none.ask('GET', path), 'pool_not_found')
  })

  test('whose access token did what, over each road; a deleted key still has one', async () => {
    await using server = await TestServer.start({ history: HISTORY })
    const admin = await Holder.first(server)
    const ann = await admin.holder({
      name: 'ann',
      scopes: ['read', 'keys:write', 'leases', 'leases:admin'],
    })
    const send = async (method: string, path: string, body?: object): Promise<unknown> => {
      const asking = body === undefined ? {} : json(body)
      const answer = await ann.ask(method, path, asking)
      assert(answer.status < 300, answer.text)
      return answer.body
    }
    const pool = '/v1/pools/default'
    const imported = { keys: [{ value: 'sk-live-1' }] }
    const created = await send('POST', `${pool}/keys`, imported)
    const keyId = (created as { keyIds: string[] }).keyIds[0]!
    const key = `${pool}/keys/${keyId}`
    const lease = (): Promise<unknown> => send('POST', `${pool}/leases`, { keyId })
    await lease()
    await send('DELETE', `${key}/lease`)
    await lease()
    await send('DELETE', `${pool}/leases?holder=ann`)
    await lease()
    await send('PUT', `/keys/${keyId}`)
    await send('PUT', `/keepalive/${keyId}`)
    await send('POST', `${key}/keepalive`)
    await send('POST', `${pool}/batch`, { operations: [{ op: 'keepAlive', keyId }] })
    await send('PATCH', key, { name: 'billing' })
    await send('PATCH', key, { disabled: true })
    await send('DELETE', key)
    const { entries } = pageOf(await ann.ask('GET', `${key}/history`))
    const told = entries.map(({ change, holder, by }) => [change, holder, by]).reverse()
    const leased = ['leased', 'ann', null]
    assert.deepEqual(told, [
      ['created', null, 'ann'],
      ...[leased, ['revoked', 'ann', 'ann']],
      ...[leased, ['revoked', 'ann', 'ann']],
      ...[leased, ['unblocked', 'ann', 'ann']],
      ['kept_alive', null, 'ann'],
      ['kept_alive', null, 'ann'],
      ['kept_alive', null, 'ann'],
      ['updated', null, 'ann'],
      ['disabled', null, 'ann'],
      ['deleted', null, 'ann'],
    ])
  })

  test('none, where none is kept', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    assertProblem(await pool.ask('GET', `/keys/${keyId!}/history`), 'history_off')
  })
})
