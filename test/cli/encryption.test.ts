/** What values are encrypted with, as the operator meets it: real processes, their files and their words. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { type Command, type Ended, listeningPort, runCli, startCli } from '../support/command.ts'

const FOLDER = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
after(() => {
  rmSync(FOLDER, { recursive: true })
})

const VALUE = 'a-credential-of-somebody'

/** A server on a data directory. `await using` ends it. */
class Server implements AsyncDisposable {
  readonly url: string
  readonly command: Command

  private constructor(url: string, command: Command) {
    this.url = url
    this.command = command
  }

  static async start(...args: string[]): Promise<Server> {
    const command = startCli(['serve', '--port', '0', ...args])
    return new Server(`http://127.0.0.1:${await listeningPort(command)}`, command)
  }

  async ask(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.url}/v1/pools/default${path}`, {
      method,
      ...(body && {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    })
    assert(response.ok, `${method} ${path}: ${response.status}`)
    return (await response.json()) as Record<string, unknown>
  }

  async import(value: string): Promise<string> {
    const { keyIds } = await this.ask('POST', '/keys', { keys: [{ value }] })
    return (keyIds as [string])[0]
  }

  /** The value of that key, which is free afterwards. */
  async valueOf(keyId: string): Promise<unknown> {
    const { value, leaseId } = await this.ask('POST', '/leases', { keyId })
    await this.ask('POST', `/leases/${String(leaseId)}/release`)
    return value
  }

  async stop(): Promise<string> {
    this.command.kill('SIGTERM')
    assert.equal(await this.command.code, 0)
    return this.command.stdout
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.command[Symbol.asyncDispose]()
  }
}

let directories = 0

function newDirectory(): string {
  return join(FOLDER, String(directories++))
}

/** A data directory with one key that has a value. */
async function withValue(...args: string[]): Promise<{ directory: string; keyId: string }> {
  const directory = newDirectory()
  await using server = await Server.start('--data-dir', directory, ...args)
  const keyId = await server.import(VALUE)
  await server.stop()
  return { directory, keyId }
}

function keyFile(...lines: string[]): string {
  const file = join(FOLDER, `${directories++}.key`)
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 })
  return file
}

function newKey(): string {
  return randomBytes(32).toString('base64')
}

function start(...args: string[]): Promise<Ended> {
  return runCli(['serve', '--port', '0', ...args])
}

/** It ended with that code, in words and not in a stack. */
function assertEnded({ code, stderr }: Ended, wanted: number, ...words: RegExp[]): void {
  assert.equal(code, wanted, stderr)
  assert.match(stderr, /^token-orchestrator: /)
  assert.doesNotMatch(stderr, /\n {4}at |node:internal/)
  for (const word of words) assert.match(stderr, word)
}

suite('without a configured key', { concurrency: 2 }, () => {
  test('one is made once, for the owner only, and told in the log by its id', async () => {
    const directory = newDirectory()
    const file = join(directory, 'encryption.key')
    let key = ''
    for (const isFirst of [true, false]) {
      await using server = await Server.start('--data-dir', directory)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      const told = await server.stop()
      const made = /^.*made an encryption key.*$/m.exec(told)
      assert.equal(made !== null, isFirst)
      if (made === null) {
        assert.equal(readFileSync(file, 'utf8'), key)
        continue
      }
      key = readFileSync(file, 'utf8')
      assert.equal(Buffer.from(key, 'base64').length, 32)
      const line = JSON.parse(made[0]) as Record<string, string>
      assert.equal(line.level, 'info')
      assert.equal(line.file, file)
      assert.match(line.keyId!, /^[0-9a-f]{8}$/)
      assert(!told.includes(key.trim()) && !told.includes(key.slice(0, 12)))
      assert(!existsSync(`${file}.new`))
    }
  })

  test('values are read after a restart', async () => {
    const { directory, keyId } = await withValue()
    await using server = await Server.start('--data-dir', directory)
    assert.equal(await server.valueOf(keyId), VALUE)
  })

  test('one that is lost is not replaced where there are values', async () => {
    const { directory } = await withValue()
    const file = join(directory, 'encryption.key')
    renameSync(file, `${file}.elsewhere`)
    assertEnded(await start('--data-dir', directory), 1, /encryption key [0-9a-f]{8} only/)
    assert(!existsSync(file), 'it would only be in the way of the right one')
    renameSync(`${file}.elsewhere`, file)
    await using server = await Server.start('--data-dir', directory)
    await server.stop()
  })

  test('one that was left unfinished is made anew', async () => {
    const directory = newDirectory()
    await using first = await Server.start('--data-dir', directory)
    await first.stop()
    const file = join(directory, 'encryption.key')
    renameSync(file, `${file}.new`)
    writeFileSync(`${file}.new`, '', { mode: 0o644 })
    await using server = await Server.start('--data-dir', directory)
    const keyId = await server.import(VALUE)
    assert.equal(await server.valueOf(keyId), VALUE)
    assert.equal(statSync(file).mode & 0o777, 0o600)
  })

  test('one in a directory that takes no files stops the start', async () => {
    const directory = newDirectory()
    await using first = await Server.start('--data-dir', directory)
    await first.stop()
    rmSync(join(directory, 'encryption.key'))
    // Even root cannot put a file where a directory is.
    rmSync(join(directory, 'encryption.key.new'), { force: true })
    mkdirSync(join(directory, 'encryption.key.new'))
    assertEnded(await start('--data-dir', directory), 1, /no encryption key can be kept/)
  })

  test('in memory it needs none', async () => {
    await using server = await Server.start('--memory')
    const keyId = await server.import(VALUE)
    assert.equal(await server.valueOf(keyId), VALUE)
    assert.doesNotMatch(await server.stop(), /encryption/)
  })
})

suite('--encryption-key-file', { concurrency: 2 }, () => {
  const wrong: [name: string, lines: string[] | null, word: RegExp][] = [
    ['is missing', null, /cannot be read: ENOENT/],
    ['is empty', [], /holds no encryption key.*openssl rand -base64 32/],
    ['has comments only', ['# a key', ''], /holds no encryption key/],
    ['holds garbage', ['correct horse battery staple'], /key 1 in .* is not 32 bytes in base64/],
    ['holds a short key', [randomBytes(31).toString('base64')], /key 1 in .*openssl/],
    ['holds a long key', [randomBytes(33).toString('base64')], /key 1 in/],
    ['holds a second one that is none', [newKey(), '# old', 'x'], /key 2 in/],
  ]
  for (const [name, lines, word] of wrong) {
    test(`that ${name} ends with 2 and says what to do`, async () => {
      const file = lines === null ? join(FOLDER, 'missing.key') : keyFile(...lines)
      const ended = await start('--data-dir', newDirectory(), '--encryption-key-file', file)
      assertEnded(ended, 2, word)
      for (const line of lines ?? []) {
        if (!line.startsWith('#') && line.length > 5) assert(!ended.stderr.includes(line))
      }
    })
  }

  test('takes comments, blank lines, base64url and no padding', async () => {
    const key = randomBytes(32)
    const file = keyFile('# made today', '', `  ${key.toString('base64')}  `)
    const { directory, keyId } = await withValue('--encryption-key-file', file)
    assert(!existsSync(join(directory, 'encryption.key')), 'it made none of its own')
    const other = keyFile(key.toString('base64url'))
    const args = ['--data-dir', directory, '--encryption-key-file', other]
    await using server = await Server.start(...args)
    assert.equal(await server.valueOf(keyId), VALUE)
  })

  test('that others may read is a warning', async () => {
    const file = keyFile(newKey())
    const args = ['--data-dir', newDirectory(), '--encryption-key-file', file]
    await using server = await Server.start(...args)
    assert.doesNotMatch(await server.stop(), /"warn"/)
    chmodSync(file, 0o640)
    await using open = await Server.start(...args)
    const warning = /^.*"level":"warn".*others than the owner may use the encryption key file.*$/m
    assert.match(await open.stop(), warning)
  })

  test('with a wrong key ends with 1 and names both by their ids', async () => {
    const { directory, keyId } = await withValue('--encryption-key-file', keyFile(newKey()))
    const wrongFile = keyFile(newKey())
    const args = ['--data-dir', directory, '--encryption-key-file', wrongFile]
    assertEnded(await start(...args), 1, /key [0-9a-f]{8} only, not [0-9a-f]{8}\./, /backup/)
    assert.notEqual(keyId, '')
  })

  test('with a new key before the old one rotates; then the new one is enough', async () => {
    const [old, next] = [newKey(), newKey()]
    const { directory, keyId } = await withValue('--encryption-key-file', keyFile(old))
    const given = (...keys: string[]): string[] => [
      '--data-dir',
      directory,
      '--encryption-key-file',
      keyFile(...keys),
    ]
    let added: string
    {
      await using server = await Server.start(...given(next, old))
      assert.equal(await server.valueOf(keyId), VALUE)
      added = await server.import('another')
      await server.stop()
    }
    await using server = await Server.start(...given(next))
    assert.deepEqual([await server.valueOf(keyId), await server.valueOf(added)], [VALUE, 'another'])
    await server.stop()
    assertEnded(await start(...given(old)), 1, /encryption key/)
  })

  test('may take the place of the key that the server made', async () => {
    const { directory, keyId } = await withValue()
    const own = readFileSync(join(directory, 'encryption.key'), 'utf8').trim()
    const file = keyFile(newKey(), own)
    await using server = await Server.start('--data-dir', directory, '--encryption-key-file', file)
    assert.equal(await server.valueOf(keyId), VALUE)
  })
})

test('a backup does not hold the key: without it the start is refused, with it all is there', async () => {
  const directory = newDirectory()
  const [backup, restored] = [join(FOLDER, 'backup.db'), newDirectory()]
  await using server = await Server.start('--data-dir', directory)
  const keyId = await server.import(VALUE)
  assert.equal((await runCli(['backup', backup, '--url', server.url])).code, 0)
  await server.stop()
  const file = join(directory, 'encryption.key')
  const key = readFileSync(file)
  const bytes = readFileSync(backup)
  const raw = Buffer.from(key.toString(), 'base64')
  for (const spelt of [raw, raw.toString('base64').slice(0, 43), raw.toString('hex'), VALUE]) {
    assert(!bytes.includes(spelt))
  }
  assert.equal((await runCli(['restore', backup, '--data-dir', restored])).code, 0)
  assertEnded(
    await start('--data-dir', restored),
    1,
    /none was given/,
    /Put its file back into the data directory as encryption\.key, or name it by --encryption-key-file/,
    /A backup does not hold the key/,
  )
  copyFileSync(file, join(restored, 'encryption.key'))
  await using again = await Server.start('--data-dir', restored)
  assert.equal(await again.valueOf(keyId), VALUE)
})
