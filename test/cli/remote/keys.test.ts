/** The commands that look after keys, as processes against a real server. */
import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { parse } from 'csv-parse/sync'
import type { Key } from '../../../src/http/contract/keys.ts'
import { Operator } from '../../support/remote.ts'
import { json, NOBODY } from '../../support/server.ts'

const UUID = /^[0-9a-f-]{36}$/
const VALUES = ['sk-live-1', 'sk-live-2', 'sk-live-3']

/** An operator with a pool of imported keys, which never die. */
async function withKeys(): Promise<Operator> {
  const operator = await Operator.start()
  await operator.does(['pools', 'create', 'llm', '--key-lifetime', 'never'])
  const lines = VALUES.map((value, at) => JSON.stringify({ value, name: `key ${at}` }))
  await operator.does(['keys', 'import', 'llm', '--format', 'ndjson'], lines.join('\n'))
  return operator
}

/** By the order of their names. */
async function idsOf(operator: Operator): Promise<string[]> {
  const found = await operator.asks<Key>(['keys', 'list', 'llm'])
  found.sort((a, b) => a.name!.localeCompare(b.name!))
  return found.map(({ keyId }) => keyId)
}

function stateOf(operator: Operator, id: string): Promise<string> {
  return operator.asks<Key>(['keys', 'show', 'llm', id]).then(([key]) => key!.state)
}

suite('keys', () => {
  test('are made, and their ids written', async () => {
    await using operator = await Operator.start()
    const [id, ...rest] = (await operator.does(['keys', 'create', 'default'])).trim().split('\n')
    assert.match(id!, UUID)
    assert.deepEqual(rest, [])
    const many = await operator.does(['keys', 'create', 'default', '--count', '10003'])
    const ids = many.trim().split('\n')
    assert.equal(new Set(ids).size, 10_003)
    const made = await operator.asks<Key>(['keys', 'create', 'default', '--prefix', 'acme_live'])
    assert.deepEqual(Object.keys(made[0]!), ['keyId'])
    const listed = await operator.asks<Key>(['keys', 'list', 'default'])
    assert.equal(new Set(listed.map(({ keyId }) => keyId)).size, 10_005)
  })

  test('tell who held them when, the latest first', async () => {
    await using operator = await Operator.start({ history: { keptMs: 60_000, records: 1000 } })
    const id = (await operator.does(['keys', 'create', 'default'])).trim()
    const acquired = await operator.server.ask(
      'POST',
      '/v1/pools/default/leases',
      json({ holder: 'worker 7' }),
    )
    const { leaseId, fencingToken } = acquired.body as { leaseId: string; fencingToken: number }
    await operator.server.ask('POST', `/v1/pools/default/leases/${leaseId}/release`)
    const told = await operator.does(['keys', 'history', 'default', '-'], id)
    assert.match(
      told,
      new RegExp(
        `^AT +CHANGE +HOLDER +BY +OUTCOME +UNTIL +TOKEN\\n20\\S+ +released +worker 7 .*ok.* ${fencingToken}\\n` +
          `20\\S+ +leased +worker 7 .* 20\\S+ +${fencingToken}\\n20\\S+ +created`,
      ),
    )
    assert(!told.includes(leaseId))
    const entries = await operator.asks<{ change: string }>([
      ...['keys', 'history', 'default', id, '--limit', '2'],
    ])
    assert.deepEqual(
      entries.map(({ change }) => change),
      ['released', 'leased'],
    )
    await using other = await Operator.start()
    assert.match(
      await other.fails(1, ['keys', 'history', 'default', id]),
      /The server keeps no history/,
    )
  })

  test('are listed a hundred at a time, or as many as asked for', async () => {
    await using operator = await Operator.start()
    await operator.does(['keys', 'create', 'default', '--count', '1500'])
    const rows = (text: string): number => text.trim().split('\n').length - 1
    const { stdout, stderr } = await operator.tries(['keys', 'list', 'default'])
    assert.equal(rows(stdout), 100)
    assert.match(stderr, /There are more: --limit NUMBER, or --all/)
    assert.equal(rows(await operator.does(['keys', 'list', 'default', '--limit', '1201'])), 1201)
    const all = await operator.tries(['keys', 'list', 'default', '--all'])
    assert.deepEqual([rows(all.stdout), all.stderr], [1500, ''])
    assert.equal((await operator.asks(['keys', 'list', 'default', '--limit', '7'])).length, 7)
    assert.equal(rows(await operator.does(['keys', 'list', 'default', '--state', 'leased'])), 0)
  })

  test('are disabled with a reason, enabled, kept alive, revoked and deleted', async () => {
    await using operator = await withKeys()
    const ids = await idsOf(operator)
    const [first, second, third] = ids as [string, string, string]
    const reason = ['--reason', 'leaked to a log']
    const said = await operator.does(['keys', 'disable', 'llm', first, second, ...reason])
    assert.equal(said, `disabled ${first}\ndisabled ${second}\n`)
    const [key] = await operator.asks<Key>(['keys', 'show', 'llm', first])
    assert.deepEqual([key!.state, key!.disabledReason], ['disabled', 'leaked to a log'])
    await operator.does(['keys', 'enable', 'llm', first])
    assert.equal(await stateOf(operator, first), 'available')
    assert.equal(await stateOf(operator, second), 'disabled')
    const body = json({ keyId: third, holder: 'worker-7' })
    assert.equal((await operator.server.ask('POST', '/v1/pools/llm/leases', body)).status, 201)
    assert.match(await operator.does(['keys', 'list', 'llm']), /leased +worker-7 +20\d\d-/)
    await operator.does(['keys', 'keepalive', 'llm', third])
    await operator.does(['keys', 'revoke', 'llm', third])
    assert.equal(await stateOf(operator, third), 'available')
    assert.match(await operator.fails(1, ['keys', 'revoke', 'llm', third]), /not leased/)
    // Ids are secrets where keys are plain, and need not be arguments.
    await operator.does(['keys', 'delete', 'llm', '-'], `${first}\n\n${second}\n`)
    assert.deepEqual((await operator.asks<Key>(['keys', 'list', 'llm'])).length, 1)
  })

  test('rest until somebody ends it', async () => {
    await using operator = await withKeys()
    const ids = await idsOf(operator)
    const [keyId] = ids as [string]
    const leased = await operator.server.ask('POST', '/v1/pools/llm/leases', json({ keyId }))
    const { leaseId } = leased.body as { leaseId: string }
    const outcome = json({ outcome: 'rate_limited', retryAfterMs: 3_600_000 })
    await operator.server.ask('POST', `/v1/pools/llm/leases/${leaseId}/release`, outcome)
    await operator.does(['keys', 'enable', 'llm', keyId])
    assert.equal(await stateOf(operator, keyId), 'cooling')
    await operator.does(['keys', 'enable', 'llm', keyId, '--end-rest'])
    assert.equal(await stateOf(operator, keyId), 'available')
  })

  test('are exported without their values, to a file for its owner only', async () => {
    await using operator = await withKeys()
    const ids = await idsOf(operator)
    const metadata = { note: 'a "quote",\nand a comma' }
    const path = `/v1/pools/llm/keys/${ids[0]!}`
    await operator.server.ask('PATCH', path, json({ metadata, name: '=1+1, "x"' }))
    const file = join(operator.directory, 'keys.csv')
    await operator.does(['keys', 'export', 'llm', '--format', 'csv', '-o', file])
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const text = readFileSync(file, 'utf8')
    for (const value of VALUES) assert(!text.includes(value))
    const rows: Record<string, string>[] = parse(text, { columns: true })
    const row = rows.find(({ keyId }) => keyId === ids[0])!
    assert.equal(row.name, '=1+1, "x"')
    assert.deepEqual(JSON.parse(row.metadata!), metadata)
    assert.equal(row.hasValue, 'true')
    const again = ['keys', 'export', 'llm', '-o', file]
    assert.match(await operator.fails(2, again), /is there already; move it away first/)
    const lines = await operator.asks<Key>(['keys', 'export', 'llm', '--state', 'available'])
    assert.deepEqual(lines.map(({ keyId }) => keyId).sort(), ids.toSorted())
    await operator.does(['keys', 'create', 'default', '--count', '1001'])
    assert.equal((await operator.asks(['keys', 'export', 'default'])).length, 1001)
  })

  test('whose names would move the cursor are shown harmless', async () => {
    await using operator = await withKeys()
    const ids = await idsOf(operator)
    const name = 'a\u001b[2J\u001b]0;title\u0007\u202ez'
    await operator.server.ask('PATCH', `/v1/pools/llm/keys/${ids[0]!}`, json({ name }))
    for (const args of [
      ['keys', 'list', 'llm'],
      ['keys', 'show', 'llm', ids[0]!],
    ]) {
      const shown = await operator.does(args)
      for (const control of ['\u001b', '\u0007', '\u202e']) assert(!shown.includes(control))
    }
    const [key] = await operator.asks<Key>(['keys', 'show', 'llm', ids[0]!])
    assert.equal(key!.name, name, 'but whole for programs')
  })

  test('that are not there stop the command where they come', async () => {
    await using operator = await withKeys()
    const ids = await idsOf(operator)
    const args = ['keys', 'delete', 'llm', ids[0]!, NOBODY, ids[1]!]
    const { code, stdout, stderr } = await operator.tries(args)
    assert.deepEqual([code, stdout], [1, `deleted ${ids[0]!}\n`])
    assert.match(stderr, /No such key\./)
    assert.equal((await operator.asks<Key>(['keys', 'list', 'llm'])).length, 2)
  })

  test('commands that cannot be understood say what is wrong', async () => {
    await using operator = await Operator.start()
    for (const [args, expected] of [
      [['show', 'llm'], /KEY is missing: it takes POOL KEY/],
      [['delete', 'llm'], /KEY is missing: it takes POOL KEY\.\.\./],
      [['delete', 'llm', '-'], /there is nothing on stdin, which "-" stands for/],
      [['delete', 'llm', '..'], /"\.\." names nothing/],
      [['list', 'llm', '--state', 'coolin'], /--state must be one of .*: did you mean "cooling"\?/],
      [['list', 'llm', '--limit', '0'], /--limit must be a whole number/],
      [['list', 'llm', '--limit', '5', '--all'], /say --limit or --all, not both/],
      [['create', 'llm', '--count', '-1'], /--count/],
      [['create', 'llm', '--count', '1.5'], /--count must be a whole number/],
    ] as const)
      assert.match(await operator.fails(2, ['keys', ...args], ''), expected)
    assert.match(await operator.fails(1, ['keys', 'create', 'default', '--prefix', '_']), /prefix/)
  })
})
