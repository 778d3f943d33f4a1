/** Imports of all kinds and kinds of mistakes, as processes against a real server. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Key } from '../../../src/http/contract/keys.ts'
import { Operator } from '../../support/remote.ts'

interface Imported {
  imported: number
  duplicates: { line: number; keyId: string }[]
}

async function start(): Promise<Operator> {
  const operator = await Operator.start()
  await operator.does(['pools', 'create', 'llm', '--key-lifetime', 'never'])
  return operator
}

function keysOf(operator: Operator): Promise<Key[]> {
  return operator.asks<Key>(['keys', 'list', 'llm'])
}

/** The values of all keys of the pool, which are leased for that. */
async function values(operator: Operator): Promise<string[]> {
  const found: string[] = []
  for (;;) {
    const { status, body } = await operator.server.ask('POST', '/v1/pools/llm/leases')
    if (status !== 201) return found.sort()
    found.push((body as { value: string }).value)
  }
}

suite('imports', () => {
  test('of CSV know quotes, names, lifetimes and metadata', async () => {
    await using operator = await start()
    const text =
      '\ufeffname,value,lifetime,metadata\r\n' +
      'first,"sk ""1"", with a\nline",1h,"{""region"": ""eu""}"\r\n' +
      '\r\n' +
      ',sk-2,,\r\n'
    const file = operator.file('keys.CSV', text)
    assert.equal(
      await operator.does(['keys', 'import', 'llm', file]),
      'imported 2 keys; 0 were there already\n',
    )
    const found = await keysOf(operator)
    const [first, second] = found.toSorted((a, b) => (b.name ?? '').localeCompare(a.name ?? ''))
    assert.deepEqual([first!.name, first!.metadata], ['first', { region: 'eu' }])
    assert.notEqual(first!.expiresAt, null)
    assert.deepEqual([second!.name, second!.metadata, second!.expiresAt], [null, null, null])
    assert.deepEqual(await values(operator), ['sk "1", with a\nline', 'sk-2'])
  })

  test('of lines, and of JSON lines, come from stdin too', async () => {
    await using operator = await start()
    await operator.does(
      ['keys', 'import', 'llm', '--format', 'text'],
      '\ufeffsk-1\r\n\n  sk-2  \nsk-3',
    )
    const lines = '{"value": "sk-4", "name": "four"}\n\n{"value": "sk-5", "lifetimeMs": 1000000}\n'
    await operator.does(['keys', 'import', 'llm', '-', '--format', 'ndjson'], lines)
    assert.deepEqual(await values(operator), ['sk-1', 'sk-2', 'sk-3', 'sk-4', 'sk-5'])
  })

  test('tell which values were there already, by their lines', async () => {
    await using operator = await start()
    const [first] = await operator.asks<Imported>(
      ['keys', 'import', 'llm', '--format', 'text'],
      'a\nb\n',
    )
    assert.deepEqual(first, { imported: 2, duplicates: [] })
    const text = 'c\nb\n\nc\na\nd\n'
    const { code, stdout, stderr } = await operator.tries(
      ['keys', 'import', 'llm', '--format', 'text'],
      text,
    )
    assert.deepEqual([code, stdout], [0, 'imported 2 keys; 3 were there already\n'])
    assert.match(stderr, /^( {2}line [245]: key [0-9a-f-]{36} has that value\n){3}$/)
    const [again] = await operator.asks<Imported>(
      ['keys', 'import', 'llm', '--format', 'text'],
      text,
    )
    assert.equal(again!.imported, 0)
    assert.deepEqual(
      again!.duplicates.map(({ line }) => line),
      [1, 2, 4, 5, 6],
    )
    const ids = new Set((await keysOf(operator)).map(({ keyId }) => keyId))
    for (const { keyId } of again!.duplicates) assert(ids.has(keyId))
    const many = Array.from({ length: 30 }, (_, at) => `m${at}\nm${at}`).join('\n')
    const told = await operator.tries(['keys', 'import', 'llm', '--format', 'text'], many)
    assert.match(told.stderr, /and 20 more: --json lists them all/)
  })

  test('of many keys go a thousand at a time, and of large ones fewer', async () => {
    await using operator = await start()
    const many = Array.from({ length: 4321 }, (_, at) => `sk-${at}`).join('\n')
    await operator.does(['keys', 'import', 'llm', operator.file('many.txt', many)])
    const large = Array.from({ length: 900 }, (_, at) => `${at}-${'x'.repeat(16_000)}`).join('\n')
    await operator.does(['keys', 'import', 'llm', '--format', 'text'], large)
    assert.equal((await keysOf(operator)).length, 4321 + 900)
  })

  test('that break off say what is imported, and go on when they are repeated', async () => {
    await using operator = await start()
    const good = Array.from({ length: 1500 }, (_, at) => JSON.stringify({ value: `sk-${at}` }))
    const bad = [...good.slice(0, 1200), '{"value": 7}', ...good.slice(1200)].join('\n')
    const args = ['keys', 'import', 'llm', '--format', 'ndjson']
    const said = await operator.fails(2, args, bad)
    assert.match(said, /^1000 keys are imported by now\. Mend what is wrong and import again/)
    assert.match(said, /line 1201: there is no value/)
    const [mended] = await operator.asks<Imported>(args, good.join('\n'))
    assert.deepEqual([mended!.imported, mended!.duplicates.length], [500, 1000])
  })

  const wrong: [string, string, RegExp][] = [
    ['csv', '', /imported 0 keys/],
    [
      'csv',
      'value,nmae\nsk-secret,x\n',
      /line 1 must name columns, of value, name, lifetime, metadata; there is another "nmae": did you mean "name"\?/,
    ],
    [
      'csv',
      'sk-secret\nsk-secret-2\n',
      /line 1 must name columns, of value, name, lifetime, metadata; there is another\n/,
    ],
    ['csv', 'name,metadata\nx,\n', /line 1 names no column "value"/],
    ['csv', 'value,name\nsk-secret\n', /line 2: it is no CSV \(record inconsistent columns\)/],
    ['csv', 'value\n"sk-secret\n', /line 2: it is no CSV \(quote not closed\)/],
    ['csv', 'value\nsk-"secret"\n', /line 2: it is no CSV \(invalid opening quote\)/],
    ['csv', 'value,lifetime\nsk-secret,soon\n', /line 2: the lifetime must be a duration/],
    ['csv', 'value,metadata\nsk-secret,[1]\n', /line 2: it must be a JSON object/],
    ['csv', 'value,name\n,x\n', /line 2: there is no value/],
    ['ndjson', '{"value": "sk-secret"', /line 1: it must be a JSON object/],
    ['ndjson', '\n["sk-secret"]', /line 2: it must be a JSON object/],
    ['ndjson', 'sk-secret', /line 1: it must be a JSON object/],
    [
      'ndjson',
      '{"value": "sk-secret", "nam": "x"}',
      /line 1: a key has value, .* "nam": did you mean "name"\?/,
    ],
    [
      'ndjson',
      '{"sk-secret": 1}',
      /line 1: a key has value, name, metadata, lifetimeMs, and no other field\n/,
    ],
    ['ndjson', '{"name": "x"}', /line 1: there is no value/],
    ['ndjson', '{"value": ""}', /line 1: there is no value/],
    [
      'ndjson',
      '{"value": "a"}\n{"value": "sk-secret", "lifetimeMs": 0}',
      /line 2: lifetimeMs must be >= 1/,
    ],
    ['ndjson', `{"value": "${'sk-secret'.repeat(2000)}"}`, /line 1: .*value/],
  ]

  test('that are not what they say tell the line and never what is in it', async () => {
    await using operator = await start()
    for (const [format, text, expected] of wrong) {
      const ended = await operator.tries(['keys', 'import', 'llm', '--format', format], text)
      const said = ended.stdout + ended.stderr
      assert.match(said, expected, text.slice(0, 80))
      assert.equal(ended.code === 0, text === '', said)
      assert.doesNotMatch(said, /sk-secret/)
    }
    assert.deepEqual(await keysOf(operator), [])
  })

  test('of nothing that can be read say so', async () => {
    await using operator = await start()
    for (const [args, expected] of [
      [['llm'], /say what stdin is: --format csv, ndjson, text/],
      [['llm', operator.file('keys', 'a')], /say what .*keys is: --format/],
      [['llm', '/nowhere.csv'], /\/nowhere\.csv cannot be read: ENOENT/],
      [['llm', operator.directory, '--format', 'csv'], /is no file/],
      [
        ['llm', '--format', 'cvs'],
        /--format must be one of csv, ndjson, text: did you mean "csv"\?/,
      ],
    ] as const)
      assert.match(await operator.fails(2, ['keys', 'import', ...args], ''), expected)
    const nowhere = ['keys', 'import', 'nowhere', '--format', 'text']
    assert.match(await operator.fails(1, nowhere, 'a'), /No such pool/)
  })
})
