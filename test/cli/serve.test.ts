/** The command as its users meet it: a real process, its settings, its words and its exit codes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import {
  Command,
  type Ended,
  listeningPort,
  MAIN,
  ROOT,
  runCli,
  startServe,
} from '../support/command.ts'

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((all) =>
    all?.some(({ family }) => family === 'IPv6'),
  )
}

function assertUsageError({ code, stdout, stderr }: Ended, named: string): void {
  assert.equal(code, 2, stderr)
  assert.equal(stdout, '')
  assert.match(stderr, /^token-orchestrator: /)
  assert.doesNotMatch(stderr, /\n {4}at |node:internal/)
  assert.ok(stderr.includes(named), stderr)
}

suite('settings', { concurrency: 2 }, () => {
  test('a wrong one ends with 2 and says what it must be', async () => {
    assertUsageError(
      await runCli(['serve', '--port', 'http']),
      '--port must be a whole number from 0 to 65535, not "http".',
    )
    assertUsageError(
      await runCli(['serve'], { TOKEN_ORCHESTRATOR_HOST: '0.0.0.0' }),
      '--host 0.0.0.0 is not a loopback address',
    )
  })

  test('on a Node that is too old it says which one it takes', async () => {
    const code = `Object.defineProperty(process, 'versions', { value: { node: '24.14.1' } })`
    const args = ['--import', `data:text/javascript,${code}`, MAIN, 'serve', '--memory']
    await using command = new Command(process.execPath, args)
    assert.equal(await command.code, 1)
    assert.match(
      command.stderr,
      /^token-orchestrator: serve needs Node\.js 24\.15 or later; this is 24\.14\.1\.\n$/,
    )
  })

  const misunderstood: [name: string, args: string[], named: string][] = [
    ['an unknown flag', ['serve', '--prot', '1'], '"--prot": did you mean "--port"?'],
    ['a short flag', ['serve', '-p', '1'], '-p'],
    ['a stray word', ['serve', 'now'], 'now'],
    ['a flag without its value', ['serve', '--port'], '--port'],
    ['a switch with a value', ['serve', '--memory=false'], '--memory'],
    ['an unknown command', ['server'], 'server'],
    ['a flag before the command', ['--port', '1', 'serve'], '--port'],
  ]
  for (const [name, args, named] of misunderstood) {
    test(`${name} ends with 2`, async () => {
      assertUsageError(await runCli(args), named)
    })
  }

  test('no command at all ends with 2 and the help', async () => {
    const { code, stdout, stderr } = await runCli([])
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /^Usage: /)
  })

  test('a flag goes before a variable, a variable before the default', async () => {
    const lifetimeMs = async (args: string[], env: Record<string, string>): Promise<number> => {
      await using served = await startServe(args, { env })
      const url = `http://127.0.0.1:${String(served.port)}/keys`
      const made = (await (await fetch(url, { method: 'POST' })).json()) as { keyId: string }
      const shown = await (await fetch(`${url}/${made.keyId}`)).json()
      const { createdAt, expiresAt } = shown as Record<string, string>
      return Date.parse(expiresAt!) - Date.parse(createdAt!)
    }
    const flags = ['--key-lifetime', '7s']
    const env = { TOKEN_ORCHESTRATOR_KEY_LIFETIME: '9s' }
    assert.equal(await lifetimeMs(flags, env), 7000)
    assert.equal(await lifetimeMs([], env), 9000)
    assert.equal(await lifetimeMs([], {}), 300_000)
    assert.equal(await lifetimeMs([], { TOKEN_ORCHESTRATOR_KEY_LIFETIME: '' }), 300_000)
  })

  test('the pool is as large and its leases as long as asked for', async () => {
    const terms = ['--max-keys', '1', '--key-lifetime', '3h', '--lease-ttl', '2h']
    await using served = await startServe(terms)
    const url = `http://127.0.0.1:${String(served.port)}/keys`
    const made = (await (await fetch(url, { method: 'POST' })).json()) as { keyId: string }
    assert.equal((await fetch(url, { method: 'POST' })).status, 409)
    await fetch(url)
    const shown = await (await fetch(`${url}/${made.keyId}`)).json()
    const { blockedAt, blockedUntil } = shown as Record<string, string>
    assert.equal(Date.parse(blockedUntil!) - Date.parse(blockedAt!), 2 * 3_600_000)
  })
})

suite('help and version', () => {
  test('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      version: string
    }
    assert.deepEqual(await runCli(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
  })

  for (const args of [['--help'], ['-h'], ['help'], ['serve', '--help'], ['serve', '-h']]) {
    test(`${args.join(' ')} goes to stdout and ends with 0`, async () => {
      const { code, stdout, stderr } = await runCli(args)
      assert.deepEqual([code, stderr], [0, ''])
      assert.match(stdout, /^Usage: token-orchestrator /)
    })
  }
})

test('the help of serve is in columns', async () => {
  const { stdout } = await runCli(['serve', '--help'])
  const rows = [...stdout.matchAll(/^( {2}--\S+(?: [A-Z]+)? {2,})\S/gm)]
  assert.equal(new Set(rows.map(([, left]) => left!.length)).size, 1)
})

test('a port in use ends with 1 and says so', async () => {
  const occupant = createServer().listen(0, '127.0.0.1')
  await once(occupant, 'listening')
  const { port } = occupant.address() as AddressInfo
  const { code, stdout, stderr } = await runCli(['serve', '--memory', '--port', String(port)])
  occupant.close()
  assert.equal(code, 1)
  assert.equal(stdout, '')
  assert.match(stderr, new RegExp(`^token-orchestrator: port ${String(port)} .*is in use`))
  assert.doesNotMatch(stderr, /\n {4}at /)
})

suite('what it says', () => {
  test('to a collector of logs: one JSON object a line', async () => {
    await using served = await startServe()
    served.command.kill('SIGTERM')
    assert.equal(await served.command.code, 0)
    const lines = served.command.stdout.trimEnd().split('\n')
    const logged = lines.map((line) => JSON.parse(line) as Record<string, string>)
    assert.deepEqual(
      logged.map(({ level, message }) => [level, message]),
      [
        ['info', 'listening'],
        ['info', 'draining'],
        ['info', 'stopped'],
      ],
    )
    for (const { time } of logged) assert.match(time!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.equal(logged[0]!.url, `http://127.0.0.1:${String(served.port)}`)
    assert.equal(served.command.stderr, '')
  })

  test('to a person at a terminal: where it listens, where its state is, and what to try', async () => {
    const line = `${process.execPath} src/cli/main.ts serve --memory --port 0`
    await using command = new Command('script', ['-qec', line, '/dev/null'])
    const port = await listeningPort(command)
    await command.says(/Ctrl-C/)
    assert.match(command.stdout, /memory only/)
    assert.ok(command.stdout.includes(`curl -X POST http://127.0.0.1:${String(port)}/keys`))
    assert.ok(command.stdout.includes(`curl http://127.0.0.1:${String(port)}/keys`))
    assert.doesNotMatch(command.stdout, /^\{/m)
  })
})

test('it listens on the address that is asked for', async (t) => {
  for (const [host, name] of [
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.9', '127.0.0.9'],
    ['::1', '[::1]'],
    ['localhost', 'localhost'],
  ] as const) {
    const skip = host === '::1' && !hasIpv6()
    await t.test(host, { skip: skip && 'this machine has no IPv6' }, async () => {
      await using served = await startServe(['--host', host])
      const url = `http://${name}:${String(served.port)}`
      assert.ok(served.command.stdout.includes(`"url":"${url}"`))
      assert.equal((await fetch(`${url}/healthz`)).status, 200)
    })
  }
})

test('npm start passes flags on', async () => {
  const args = [
    'start',
    '--',
    '--memory',
    '--port',
    '0',
    '--key-lifetime',
    '3s',
    '--lease-ttl',
    '1s',
  ]
  await using command = new Command('npm', args)
  const port = await listeningPort(command)
  const url = `http://127.0.0.1:${String(port)}/keys`
  const made = (await (await fetch(url, { method: 'POST' })).json()) as { keyId: string }
  await fetch(url)
  const shown = (await (await fetch(`${url}/${made.keyId}`)).json()) as Record<string, string>
  const { createdAt, expiresAt, blockedAt, blockedUntil } = shown
  assert.equal(Date.parse(expiresAt!) - Date.parse(createdAt!), 3000)
  assert.equal(Date.parse(blockedUntil!) - Date.parse(blockedAt!), 1000)
})
