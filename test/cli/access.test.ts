/** Access as operators meet it: the first admin, TLS, and what does not start. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { connect } from 'node:tls'
import { type Command, listeningPort, runCli, startCli, startServe } from '../support/command.ts'
import { exchange } from '../support/server.ts'
import { needTool, run } from '../support/tools.ts'

const FOLDER = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
after(() => {
  rmSync(FOLDER, { recursive: true })
})

const SECRET = 'a-secret.of_the~operator+/0123456789=='

function file(name: string, text: string, mode = 0o600): string {
  const path = join(FOLDER, name)
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

const secretFile = file('admin', `${SECRET}\nthe rest is a remark\n`)

/** A certificate for localhost that signs itself, and its key. */
function certificate(name: string): { cert: string; key: string; flags: string[] } {
  const [cert, key] = [join(FOLDER, `${name}.pem`), join(FOLDER, `${name}.key`)]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const how = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  run(needTool('openssl'), 'req', '-x509', ...how, ...subject, '-keyout', key, '-out', cert)
  return { cert, key, flags: ['--tls-cert', cert, '--tls-key', key] }
}

async function status(
  port: number,
  path: string,
  secret?: string,
  method = 'GET',
): Promise<number> {
  const headers = secret === undefined ? {} : { authorization: `Bearer ${secret}` }
  return (await fetch(`http://127.0.0.1:${port}${path}`, { method, headers })).status
}

async function makeToken(port: number, secret: string | null, terms: object): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/tokens`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(secret === null ? {} : { authorization: `Bearer ${secret}` }),
    },
    body: JSON.stringify({ name: 'made', ...terms }),
  })
  assert.equal(response.status, 201)
  return ((await response.json()) as { token: string }).token
}

interface Served extends AsyncDisposable {
  command: Command
  port: number
  stop: () => Promise<void>
}

async function serve(directory: string, ...args: string[]): Promise<Served> {
  const command = startCli(['serve', '--data-dir', directory, '--port', '0', ...args])
  const port = await listeningPort(command)
  const stop = async (): Promise<void> => {
    command.kill('SIGTERM')
    assert.equal(await command.code, 0, command.stderr)
  }
  return { command, port, stop, [Symbol.asyncDispose]: () => command[Symbol.asyncDispose]() }
}

async function assertNoStart(args: string[], ...said: RegExp[]): Promise<void> {
  const { code, stdout, stderr } = await runCli(['serve', '--memory', '--port', '0', ...args])
  assert.equal(code, 2, stdout + stderr)
  assert.doesNotMatch(stderr, /\n {4}at |node:internal/)
  for (const pattern of said) assert.match(stderr, pattern)
  assert.ok(!(stdout + stderr).includes(SECRET))
}

suite('what does not start', { concurrency: 2 }, () => {
  test('an address that others reach, without TLS or a proxy, whoever is admin', async () => {
    await assertNoStart(['--host', '0.0.0.0'], /--host 0\.0\.0\.0 is not a loopback address/)
    await assertNoStart(['--host', '0.0.0.0', '--admin-token-file', secretFile], /--behind-proxy/)
  })

  test('one that others reach, without an admin', async () => {
    const { flags } = certificate('strangers')
    const wants = /takes an admin access token: give --admin-token-file/
    await assertNoStart(['--host', '0.0.0.0', '--behind-proxy'], wants)
    await assertNoStart(['--host', '::', ...flags], wants)
    await assertNoStart(['--behind-proxy'], /^token-orchestrator: --behind-proxy lets in/, wants)
  })

  test('a file that holds no secret', async () => {
    const missing = join(FOLDER, 'missing')
    await assertNoStart(
      ['--admin-token-file', missing],
      /--admin-token-file cannot be read: ENOENT/,
    )
    await assertNoStart(['--admin-token-file', FOLDER], /cannot be read: EISDIR/)
    for (const text of ['', '\n', 'x'.repeat(31), `${'x'.repeat(40)} y`, 'ü'.repeat(40)]) {
      const args = ['--admin-token-file', file('bad', text)]
      await assertNoStart(args, /must be 32 to 512 random characters/, /openssl rand/)
    }
  })

  test('a certificate that is none, or not of that key', async () => {
    const [one, other] = [certificate('one'), certificate('other')]
    const garbage = file('garbage', 'no certificate')
    const pairs = [
      [one.cert, other.key],
      [garbage, one.key],
      [one.cert, garbage],
      [one.key, one.cert],
    ] as const
    for (const [cert, key] of pairs) {
      const args = ['--tls-cert', cert, '--tls-key', key]
      await assertNoStart(args, /must be a certificate and its unencrypted key in PEM/)
    }
    const args = ['--tls-cert', join(FOLDER, 'missing'), '--tls-key', one.key]
    await assertNoStart(args, /--tls-cert cannot be read: ENOENT/)
    await assertNoStart(['--tls-cert', one.cert], /go together/)
  })
})

suite('the admin of the file', () => {
  test('is let in from the first start; what is kept and said holds no secret', async () => {
    const directory = join(FOLDER, 'first')
    let token: string
    {
      await using served = await serve(directory, '--admin-token-file', secretFile)
      assert.equal(await status(served.port, '/v1/tokens'), 401)
      assert.equal(await status(served.port, '/v1/tokens', SECRET), 200)
      token = await makeToken(served.port, SECRET, { scopes: ['admin'] })
      await served.stop()
      const said = served.command.stdout + served.command.stderr
      for (const secret of [SECRET, token.slice(4)]) assert.ok(!said.includes(secret))
      assert.doesNotMatch(said, /can read/)
    }
    const names = readdirSync(directory)
    assert.ok(names.includes('state.db'))
    const kept = names.map((name) => readFileSync(join(directory, name), 'latin1')).join('')
    assert.ok(kept.includes('admin-token-file'))
    for (const secret of [SECRET, token.slice(4)]) assert.ok(!kept.includes(secret))

    // Another secret in the file takes the first one's place; without the flag it goes.
    const second = 'the-second-secret-of-the-operator-01'
    {
      const changed = file('second', second)
      await using served = await serve(directory, '--admin-token-file', changed)
      const tried = [SECRET, second, token].map((secret) =>
        status(served.port, '/v1/tokens', secret),
      )
      assert.deepEqual(await Promise.all(tried), [401, 200, 200])
      await served.stop()
    }
    await assertNoStart(['--data-dir', directory, '--behind-proxy'], /takes an admin/)
    await using served = await serve(directory, '--host', '0.0.0.0', '--behind-proxy')
    const tried = [undefined, second, token].map((secret) =>
      status(served.port, '/v1/tokens', secret),
    )
    assert.deepEqual(await Promise.all(tried), [401, 401, 200])
    assert.ok(served.command.stdout.includes('"url":"http://0.0.0.0:'))
  })

  test('stays if no other is left, and that is said', async () => {
    const directory = join(FOLDER, 'last')
    {
      await using served = await serve(directory, '--admin-token-file', secretFile)
      await served.stop()
    }
    await using served = await serve(directory)
    assert.match(served.command.stdout, /an earlier --admin-token-file stays valid/)
    assert.equal(await status(served.port, '/v1/tokens'), 401)
    assert.equal(await status(served.port, '/v1/tokens', SECRET), 200)
  })

  test('has a secret of his own', async () => {
    const directory = join(FOLDER, 'twice')
    await using served = await serve(directory)
    const token = await makeToken(served.port, null, { scopes: ['admin'] })
    await served.stop()
    const again = ['--admin-token-file', file('again', token)]
    const { code, stderr } = await runCli(['serve', '--data-dir', directory, ...again])
    assert.equal(code, 2)
    assert.match(stderr, /has the secret of another access token/)
    assert.ok(!stderr.includes(token))
  })

  test('is warned of where everybody can read it', async () => {
    const open = file('open', SECRET, 0o644)
    await using served = await startServe(['--admin-token-file', open])
    const lines = served.command.stdout.split('\n')
    const warning = JSON.parse(lines.find((line) => line.includes('can read'))!) as object
    assert.deepEqual(
      { ...warning, time: '' },
      {
        time: '',
        level: 'warn',
        message: 'every user of this machine can read a secret: chmod o-r',
        flag: '--admin-token-file',
        file: open,
      },
    )
  })
})

suite('TLS', () => {
  const { cert, flags } = certificate('served')
  const ca = readFileSync(cert)

  function ask(
    port: number,
    path: string,
    headers = {},
  ): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const local = { servername: 'localhost', agent: false } // whatever the Host header says
      const asked = request({ host: '127.0.0.1', port, path, ca, headers, ...local })
      asked.on('error', reject)
      asked.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (part: string) => (text += part))
        response.on('end', () => {
          resolve({ status: response.statusCode!, text })
        })
      })
      asked.end()
    })
  }

  test('serves those who check its certificate, on any address', async () => {
    const args = ['--host', '0.0.0.0', '--admin-token-file', secretFile, ...flags]
    await using served = await startServe(args)
    const { command, port } = served
    assert.ok(command.stdout.includes(`"url":"https://0.0.0.0:${port}"`))
    assert.equal((await ask(port, '/healthz')).status, 200)
    assert.equal((await ask(port, '/keys')).status, 401)
    const authorization = `Bearer ${SECRET}`
    const { status, text } = await ask(port, '/v1/pools', { authorization })
    assert.equal(status, 200)
    assert.match(text, /"name":"default"/)
    command.kill('SIGTERM')
    assert.equal(await command.code, 0)
    assert.equal(command.stderr, '')
  })

  test('has open mode on loopback too, where its own origin is https', async () => {
    await using served = await startServe(flags)
    const host = `127.0.0.1:${served.port}`
    assert.equal((await ask(served.port, '/v1/pools')).status, 200)
    assert.equal((await ask(served.port, '/healthz', { origin: `https://${host}` })).status, 200)
    assert.equal((await ask(served.port, '/healthz', { origin: `http://${host}` })).status, 403)
    assert.equal((await ask(served.port, '/healthz', { host: 'example.com' })).status, 403)
  })

  test('has the limits of HTTP, and outlives those who speak none of it', async () => {
    await using served = await startServe(flags)
    const { port } = served
    const many = Object.fromEntries(Array.from({ length: 501 }, (_, at) => [`x${at}`, '']))
    assert.equal((await ask(port, '/healthz', many)).status, 431)
    assert.equal((await ask(port, '/healthz', { x: 'x'.repeat(9000) })).status, 431)
    await exchange(port, 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await exchange(port, Buffer.from('160301', 'hex'), Buffer.alloc(300, 0xff))
    const socket = connect({ port, host: '127.0.0.1', ca })
    socket.end('no request\r\n\r\n')
    let answer = ''
    for await (const part of socket) answer += String(part)
    assert.match(answer, /^HTTP\/1\.1 400 /)
    assert.equal((await ask(port, '/healthz')).status, 200)
    assert.equal(served.command.stderr, '')
  })
})

suite('backup', () => {
  test('shows its token, from a file or the environment, and says what is wrong with it', async () => {
    const directory = join(FOLDER, 'backup')
    await using served = await serve(directory, '--admin-token-file', secretFile)
    const url = ['--url', `http://127.0.0.1:${served.port}`]
    const reader = await makeToken(served.port, SECRET, { scopes: ['read', 'metrics'] })
    const variable = 'TOKEN_ORCHESTRATOR_TOKEN'
    for (const [args, env, code, said] of [
      [[], {}, 1, /wants an access token: name a file with --token-file, or set TOKEN_/],
      [[], { [variable]: '' }, 1, /wants an access token/],
      [[], { [variable]: 'x'.repeat(40) }, 1, /does not know this access token/],
      [[], { [variable]: reader }, 1, /wants an access token with the scope admin/],
      [[], { [variable]: `${SECRET}\n` }, 2, /TOKEN_ORCHESTRATOR_TOKEN is no access token/],
      [['--token-file', join(FOLDER, 'missing')], {}, 2, /--token-file cannot be read: ENOENT/],
      [['--token-file', file('empty', '')], { [variable]: SECRET }, 2, /is no access token/],
      [[], { [variable]: SECRET }, 0, /^$/],
      [['--token-file', secretFile], { [variable]: reader }, 0, /^$/],
    ] as const) {
      const copy = join(FOLDER, 'copy.db')
      const ended = await runCli(['backup', copy, ...url, ...args], { ...env })
      assert.equal(ended.code, code, ended.stderr)
      assert.match(ended.stderr, said)
      for (const secret of [SECRET, reader]) assert.ok(!ended.stderr.includes(secret))
      if (code === 0) rmSync(copy)
    }
  })
})
