/** Pools as a file says, and what they are at; on a terminal too. Processes against a real server. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { ShownPool } from '../../../src/http/contract/pools.ts'
import { Command, MAIN } from '../../support/command.ts'
import { Operator } from '../../support/remote.ts'
import { json } from '../../support/server.ts'
import { needTool } from '../../support/tools.ts'

const YAML = `
pools:
  llm: { keyLifetimeMs: never, cooldownMs: 1500, leaseTtlMs: 30s }
  default:
    maxKeys: 12
  plain:
`

/** A command on a terminal of its own. */
function onTerminal(operator: Operator, args: string[], env: Record<string, string> = {}): Command {
  const words = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(' ')
  return new Command(needTool('script'), ['-qefc', `exec ${words}`, '/dev/null'], {
    env: { ...operator.env, TERM: 'xterm', ...env },
    input: null,
  })
}

suite('pools apply', () => {
  test('tells what it would do, does it, and does nothing the second time', async () => {
    await using operator = await Operator.start()
    const file = operator.file('pools.yaml', YAML)
    const plan = await operator.does(['pools', 'apply', '-f', file, '--dry-run'])
    assert.equal(
      plan,
      '+ llm\n    keyLifetimeMs: never\n    leaseTtlMs: 30s\n    cooldownMs: 1500ms\n' +
        '~ default\n    maxKeys: 10000000 -> 12\n+ plain\n' +
        '2 pools would be made, 1 would be changed, 0 as they are\n',
    )
    assert.equal((await operator.asks(['pools', 'list'])).length, 1)
    assert.match(
      await operator.does(['pools', 'apply', '-f', file]),
      /\n2 pools made, 1 changed, 0 as they are\n$/,
    )
    const [llm] = (await operator.asks<ShownPool>(['pools', 'show', 'llm'])) as [ShownPool]
    const { keyLifetimeMs, leaseTtlMs, cooldownMs, maxKeys } = llm.policy
    assert.deepEqual(
      [keyLifetimeMs, leaseTtlMs, cooldownMs, maxKeys],
      [null, 30_000, 1500, 10_000_000],
    )
    await operator.does(['pools', 'create', 'another', '--cooldown', '1s'])
    const again = await operator.does(['pools', 'apply', '--file', '-'], YAML)
    assert.equal(again, '= llm\n= default\n= plain\n0 pools made, 0 changed, 3 as they are\n')
    // A field that is not in the file any more is the default again.
    const [change] = await operator.asks(['pools', 'apply', '-f', '-'], 'pools: { llm: {} }')
    assert.deepEqual(change, {
      pool: 'llm',
      action: 'change',
      fields: [
        { field: 'keyLifetimeMs', from: null, to: 300_000 },
        { field: 'leaseTtlMs', from: 30_000, to: 60_000 },
        { field: 'cooldownMs', from: 1500, to: 0 },
      ],
      applied: true,
    })
    assert.equal((await operator.asks(['pools', 'list'])).length, 4, 'none is deleted')
  })

  test('leaves the shards of a pool of which it says nothing', async () => {
    await using operator = await Operator.start()
    await operator.does(['pools', 'create', 'wide', '--shards', '4'])
    const change = await operator.does(
      ['pools', 'apply', '-f', '-'],
      'pools: { wide: { maxKeys: 5 } }',
    )
    assert.match(change, /^~ wide\n {4}maxKeys: 10000000 -> 5\n0 pools made, 1 changed/)
    const file = 'pools: { wide: { maxKeys: 5, shards: 4 }, wider: { shards: 8 } }'
    assert.match(await operator.does(['pools', 'apply', '-f', '-'], file), /^= wide\n\+ wider\n/)
    for (const [name, shards] of [
      ['wide', 4],
      ['wider', 8],
    ] as const) {
      const [shown] = await operator.asks<ShownPool>(['pools', 'show', name])
      assert.equal(shown!.policy.shards, shards)
    }
  })

  const wrong: [string, RegExp][] = [
    ['pools: { llm: { shards: 4s } }', /llm: shards must be a whole number, not "4s"/],
    ['', /must have "pools"/],
    ['pools: [llm]', /must have "pools"/],
    ['pool: {}\npools: {}', /has no place for "pool": did you mean "pools"\?/],
    ['pools: { llm: { cooldown: 1s } }', /llm has no "cooldown"/],
    ['pools: { llm: { coolDownMs: 1s } }', /llm has no "coolDownMs": did you mean "cooldownMs"\?/],
    [
      'pools: { llm: { cooldownMs: soon } }',
      /llm: cooldownMs must be a duration like .*, not "soon"/,
    ],
    ['pools: { llm: { leaseTtlMs: null } }', /llm: leaseTtlMs must be a duration/],
    ['pools: { llm: 5 }', /llm must have the fields of a policy/],
    ['pools: { Llm: {} }', /Llm is no name: 1 to 64/],
    ['pools: { a: {}, a: {} }', /must be unique/],
    ['pools: {', /at line 1/],
    ['pools: { a: { leaseTtlMs: &x 5s } , b: *y }', /alias/i],
  ]

  test('of what cannot be understood says where, and changes nothing', async () => {
    await using operator = await Operator.start()
    for (const [text, expected] of wrong)
      assert.match(await operator.fails(2, ['pools', 'apply', '-f', '-'], text), expected)
    assert.match(await operator.fails(2, ['pools', 'apply']), /name the file: -f FILE/)
    const missing = ['pools', 'apply', '-f', '/nowhere.yaml']
    assert.match(await operator.fails(2, missing), /\/nowhere\.yaml cannot be read: ENOENT/)
    assert.equal((await operator.asks(['pools', 'list'])).length, 1)
    const late = 'pools: { a: {}, b: { leaseTtlMs: 3h } }'
    assert.match(
      await operator.fails(1, ['pools', 'apply', '-f', '-'], late),
      /leaseTtlMs is above maxLeaseTtlMs/,
    )
  })
})

suite('status', () => {
  test('shows each pool, and why it gives no key', async () => {
    await using operator = await Operator.start()
    await operator.does(['pools', 'create', 'llm'])
    await operator.does(['keys', 'create', 'llm', '--count', '3'])
    await operator.server.ask('POST', '/v1/pools/llm/leases')
    const text = await operator.does(['status'])
    assert.match(text, /^http:\/\/127\.0\.0\.1:\d+ is ready\n\nPOOL +AVAILABLE +LEASED +COOLING/)
    assert.match(text, /^llm +2 +1 +0 +0 +0 +now$/m)
    assert.match(text, /^default +0 +0 +0 +0 +0 +-$/m)
    const [one] = await operator.asks<{ status: string; pools: ShownPool[] }>(['status', 'llm'])
    assert.deepEqual([one!.status, one!.pools.map(({ name }) => name)], ['ready', ['llm']])
    operator.server.orchestrator.drain()
    assert.match(await operator.does(['status', 'llm']), /is draining\n/)
    assert.match(await operator.fails(1, ['status', 'nowhere']), /No such pool/)
    assert.match(await operator.fails(2, ['status', '--interval', '1ms']), /100ms at least/)
  })

  test('follows them on a terminal until Ctrl-C', async () => {
    await using operator = await Operator.start()
    await using command = onTerminal(operator, ['status', '--interval', '100ms'])
    await command.says(/default.*\s0.*\s-/)
    await operator.server.ask('POST', '/keys', json({ count: 42 }))
    await command.says(/default.*\s42.*now/)
    command.type('\x03')
    assert.equal(await command.code, 0)
    const screens = command.stdout.split('\x1b[?1049l')
    assert.equal(screens.length, 2, 'the screen is given back')
    assert.match(screens[1]!, /default.*42.*now\r\n$/, 'and the last look stays')
  })
})

suite('colours', () => {
  test('are there on a terminal, unless NO_COLOR is set, and nowhere else', async () => {
    await using operator = await Operator.start()
    await operator.does(['keys', 'create', 'default'])
    const args = ['keys', 'list', 'default']
    assert(!(await operator.does(args)).includes('\x1b'))
    for (const [env, has] of [
      [{}, true],
      [{ NO_COLOR: '1' }, false],
    ] as const) {
      await using command = onTerminal(operator, args, env)
      assert.equal(await command.code, 0)
      assert.equal(command.stdout.includes('\x1b[32mavailable'), has)
    }
  })

  test('and a bar are what an import shows on a terminal', async () => {
    await using operator = await Operator.start()
    const values = Array.from({ length: 5000 }, (_, at) => `sk-${at}`).join('\n')
    const file = operator.file('keys.txt', values)
    await using command = onTerminal(operator, ['keys', 'import', 'default', file])
    assert.equal(await command.code, 0)
    const lines = command.stdout.split('\r\x1b[K')
    assert(lines.length > 2)
    for (const line of lines.slice(1, -1))
      assert.match(line, /^\[#+ *\] \d+ imported, 0 there already$/)
    assert.equal(lines.at(-1), 'imported 5000 keys; 0 were there already\r\n')
  })
})
