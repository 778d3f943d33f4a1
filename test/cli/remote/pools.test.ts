/** The commands that look after pools, as processes against a real server. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Pool, ShownPool } from '../../../src/http/contract/pools.ts'
import { type Ended, runCli } from '../../support/command.ts'
import { Upstream } from '../../support/gateway.ts'
import { Operator } from '../../support/remote.ts'
import { Holder } from '../../support/tokens.ts'

suite('pools', () => {
  test('are made, shown, changed, listed and deleted', async () => {
    await using operator = await Operator.start()
    const flags = ['--key-lifetime', 'never', '--lease-ttl', '90s', '--max-keys', '12']
    assert.equal(await operator.does(['pools', 'create', 'llm', ...flags]), 'made the pool llm\n')
    const [made] = await operator.asks<ShownPool>(['pools', 'show', 'llm'])
    const { keyLifetimeMs, leaseTtlMs, maxKeys, cooldownMs } = made!.policy
    assert.deepEqual([keyLifetimeMs, leaseTtlMs, maxKeys, cooldownMs], [null, 90_000, 12, 0])
    assert.equal(made!.unavailable, 'pool_empty')
    await operator.does(['pools', 'set', 'llm', '--cooldown', '250ms'])
    const [changed] = await operator.asks<Pool>(['pools', 'show', 'llm'])
    assert.deepEqual(changed!.policy, { ...made!.policy, cooldownMs: 250 })
    await operator.does(['pools', 'set', 'llm', '--cooldown', '0'])
    const table = await operator.does(['pools', 'list'])
    assert.match(table, /^POOL +KEY LIFETIME +LEASE TTL +COOLDOWN +MAX KEYS\n/)
    assert.match(table, /^default +5m +1m +0 +10000000$/m)
    assert.match(table, /^llm +never +90s +0 +12$/m)
    const names = (await operator.asks<Pool>(['pools', 'list'])).map(({ name }) => name)
    assert.deepEqual(names, ['default', 'llm'])
    await operator.does(['keys', 'create', 'llm'])
    assert.match(
      await operator.fails(1, ['pools', 'delete', 'llm']),
      /^token-orchestrator: The pool has keys\. Say --force to delete its keys too\.\n$/,
    )
    assert.equal(
      await operator.does(['pools', 'delete', 'llm', '--force']),
      'deleted the pool llm\n',
    )
    assert.match(await operator.fails(1, ['pools', 'show', 'llm']), /No such pool\./)
  })

  test('that are there are not made again', async () => {
    await using operator = await Operator.start()
    await operator.does(['pools', 'create', 'llm', '--cooldown', '1s'])
    const said = await operator.fails(2, ['pools', 'create', 'llm'])
    assert.match(said, /there is a pool "llm" already: change it with pools set/)
    const [{ policy }] = (await operator.asks<Pool>(['pools', 'show', 'llm'])) as [Pool]
    assert.equal(policy.cooldownMs, 1000)
  })

  const wrong: [string[], RegExp][] = [
    [['pools'], /say what to do with pools: list, show, create, set, apply, delete/],
    [['pools', 'lits'], /pools knows no "lits": did you mean "list"\?/],
    [['pools', 'xyzzy'], /pools knows no "xyzzy"\n/],
    [['pools', 'show'], /POOL is missing: it takes POOL/],
    [['pools', 'show', 'a', 'b'], /unexpected "b": it takes POOL/],
    [['pools', 'list', 'a'], /unexpected "a": it takes no arguments/],
    [['pools', 'show', '..'], /"\.\." names nothing/],
    [['pools', 'show', ''], /"" names nothing/],
    [['pools', 'set', 'default'], /say what to change/],
    [
      ['pools', 'create', 'a', '--lease-tll', '5s'],
      /unknown option "--lease-tll": did you mean "--lease-ttl"\?/,
    ],
    [
      ['pools', 'create', 'a', '--token', 'x'],
      /unknown option "--token": did you mean "--token-file"\?/,
    ],
    [['pools', 'create', 'a', '--xyzzy'], /unknown option "--xyzzy"\n/],
    [
      ['pools', 'show', '--pool', 'a'],
      /unknown option "--pool": it takes POOL, without "--pool"\n/,
    ],
    [['pools', 'create', 'a', '-x'], /Unknown option '-x'\n/],
    [['pools', 'create', 'a', '--lease-ttl'], /'--lease-ttl <value>' argument missing\n/],
    [
      ['pools', 'create', 'a', '--lease-ttl', '5 minutes'],
      /--lease-ttl must be a duration like .*, not "5 minutes"/,
    ],
    [['pools', 'create', 'a', '--lease-ttl', 'never'], /--lease-ttl must be a duration/],
    [
      ['pools', 'create', 'a', '--key-lifetime', 'x'],
      /--key-lifetime must be a duration like .*, or never, not "x"/,
    ],
    [['pools', 'create', 'a', '--max-keys', '1e3'], /--max-keys must be a whole number, not "1e3"/],
    [['pools', 'delete', 'a', '--force=yes'], /'--force' does not take an argument\n/],
  ]

  test('commands that cannot be understood say what is wrong and what to do', async () => {
    await using operator = await Operator.start()
    for (const [args, expected] of wrong) {
      const said = await operator.fails(2, args)
      assert.match(said, expected)
      assert.match(said, /^token-orchestrator: .*\nSee token-orchestrator pools --help\.\n$/)
    }
  })

  test('what the server refuses is told in its words', async () => {
    await using operator = await Operator.start()
    const contradiction = ['pools', 'create', 'a', '--lease-ttl', '2h', '--max-lease-ttl', '1h']
    assert.match(await operator.fails(1, contradiction), /leaseTtlMs is above maxLeaseTtlMs/)
    assert.match(await operator.fails(1, ['pools', 'create', 'A B']), /1 to 64 of a-z/)
    assert.match(
      await operator.fails(1, ['pools', 'create', 'a', '--lease-ttl', '0']),
      /leaseTtlMs must be >= 1/,
    )
  })
})

suite('the server', () => {
  test('is named by --url, by a variable, or the default', async () => {
    await using operator = await Operator.start()
    const url = operator.env.TOKEN_ORCHESTRATOR_URL!
    const nowhere = 'http://127.0.0.1:1'
    const named = await runCli(['pools', 'list', '--url', url], { TOKEN_ORCHESTRATOR_URL: nowhere })
    assert.equal(named.code, 0)
    const lost = await runCli(['pools', 'list'], { TOKEN_ORCHESTRATOR_URL: nowhere })
    assert.equal(lost.code, 1)
    assert.match(lost.stderr, /^token-orchestrator: no server answers at http:\/\/127\.0\.0\.1:1: /)
    for (const wrong of ['localhost:3000', 'ftp://127.0.0.1', 'http://', '']) {
      const said = await operator.fails(2, ['pools', 'list', '--url', wrong])
      assert.match(said, /--url must be like http:\/\/127\.0\.0\.1:3000, not "/)
    }
    const variable = await runCli(['pools', 'list'], { TOKEN_ORCHESTRATOR_URL: 'x' })
    assert.match(variable.stderr, /TOKEN_ORCHESTRATOR_URL must be like/)
  })

  test('may be below a path, and what is none is told apart', async () => {
    using other = await Upstream.start(({ url }, response) => {
      if (url?.startsWith('/keys/v1/pools?') === true) response.end('{"pools": []}')
      else response.writeHead(url?.startsWith('/moved') === true ? 302 : 200).end('<html>')
    })
    const at = (path: string): Promise<Ended> =>
      runCli(['pools', 'list', '--url', `http://127.0.0.1:${other.port}${path}`])
    const below = await at('/keys/')
    assert.equal(below.code, 0, below.stderr)
    for (const [path, status] of [
      ['', 200],
      ['/moved', 302],
    ] as const) {
      const { code, stderr } = await at(path)
      assert.equal(code, 1)
      assert.match(stderr, new RegExp(`is no Token Orchestrator: it answers ${status}\n$`))
    }
  })

  test('is given an access token from a file or a variable, which no message shows', async () => {
    await using operator = await Operator.start()
    const admin = await Holder.first(operator.server)
    const { token } = await admin.make({ name: 'reader', scopes: ['read'] })
    assert.match(
      await operator.fails(1, ['pools', 'list']),
      /Name a file with --token-file, or set TOKEN/,
    )
    const file = operator.file('token', `${token}\n`)
    await operator.does(['pools', 'list', '--token-file', file])
    operator.env.TOKEN_ORCHESTRATOR_TOKEN = token
    await operator.does(['pools', 'list'])
    const refused = await operator.fails(1, ['pools', 'create', 'a'])
    assert.match(refused, /lacks a scope\. It needs the scope pools:write\./)
    operator.env.TOKEN_ORCHESTRATOR_TOKEN = 'tok_unknown'
    const unknown = await operator.fails(1, ['pools', 'list'])
    assert.match(unknown, /wrong, deleted or expired\. Ask whoever runs the server/)
    operator.env.TOKEN_ORCHESTRATOR_TOKEN = 'no token'
    const broken = await operator.fails(2, ['pools', 'list'])
    for (const said of [refused, unknown, broken]) assert.doesNotMatch(said, /tok_|no token$/)
    const missing = await operator.fails(2, ['pools', 'list', '--token-file', `${file}.not`])
    assert.match(missing, /--token-file cannot be read: ENOENT/)
  })
})
