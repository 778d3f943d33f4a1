/** Backup, restore and check, as their users meet them. */
import assert from 'node:assert/strict'
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, suite, test } from 'node:test'
import { type Command, listeningPort, runCli, startCli } from '../support/command.ts'

const FOLDER = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
after(() => {
  rmSync(FOLDER, { recursive: true })
})

interface Shown {
  state: string
  expiresAt: string
  blockedUntil: string | null
}

class Server implements AsyncDisposable {
  readonly url: string
  readonly #command: Command

  private constructor(url: string, command: Command) {
    this.url = url
    this.#command = command
  }

  static async start(directory: string): Promise<Server> {
    const options = ['--port', '0', '--key-lifetime', '1h', '--lease-ttl', '30m']
    const command = startCli(['serve', '--data-dir', directory, ...options])
    return new Server(`http://127.0.0.1:${await listeningPort(command)}`, command)
  }

  async ask(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.url}${path}`, {
      method,
      ...(body && {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    })
    return response.json()
  }

  async create(count: number): Promise<string[]> {
    return ((await this.ask('POST', '/keys', { count })) as { keyIds: string[] }).keyIds
  }

  async show(keyId: string): Promise<Shown> {
    return (await this.ask('GET', `/keys/${keyId}`)) as Shown
  }

  async stop(): Promise<void> {
    this.#command.kill('SIGTERM')
    assert.equal(await this.#command.code, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#command[Symbol.asyncDispose]()
  }
}

test('a backup of a server at work is whole, and restored it is what was saved', async () => {
  const file = join(FOLDER, 'busy.db')
  const source = join(FOLDER, 'busy')
  await using server = await Server.start(source)
  const before = await server.create(5000)
  const { keyId, leaseId } = (await server.ask('GET', '/keys')) as Record<string, string>
  const states = await Promise.all(before.slice(0, 20).map((id) => server.show(id)))
  // While it is made, keys come by the hundred: each hundred is in it whole or not at all.
  const work = new AbortController()
  const during: string[][] = []
  const busy = (async () => {
    while (!work.signal.aborted) during.push(await server.create(100))
  })()
  const made = await runCli(['backup', file], { TOKEN_ORCHESTRATOR_URL: server.url })
  work.abort()
  await busy
  assert.equal(made.code, 0, made.stderr)
  assert.match(made.stdout, /no faults\. \d+ keys in 1 pools/)
  assert.deepEqual(
    readdirSync(source).filter((name) => name.startsWith('backup')),
    [],
  )

  const target = join(FOLDER, 'restored')
  const restored = await runCli(['restore', file, '--data-dir', target])
  assert.equal(restored.code, 0, restored.stderr)
  await using second = await Server.start(target)
  assert.deepEqual(await Promise.all(before.slice(0, 20).map((id) => second.show(id))), states)
  assert.equal((await second.show(keyId!)).state, 'leased')
  assert.deepEqual(await second.ask('PUT', `/keys/${keyId!}?leaseId=${leaseId!}`), {})
  for (const ids of during) {
    const found = await Promise.all([ids[0]!, ids[50]!, ids[99]!].map((id) => second.show(id)))
    const known = found.filter(({ state }) => state === 'available').length
    assert(known === 0 || known === 3, 'a group was torn')
  }
})

suite('what cannot be done is said, and changes nothing', () => {
  const file = join(FOLDER, 'good.db')
  const directory = join(FOLDER, 'good')

  async function refused(args: string[], pattern: RegExp, code = 1): Promise<void> {
    const ended = await runCli(args)
    assert.deepEqual([ended.code, ended.stdout], [code, ''], ended.stderr)
    assert.match(ended.stderr, pattern)
    assert.doesNotMatch(ended.stderr, /\n {4}at |node:internal/)
  }

  test('while a server runs', async () => {
    await using server = await Server.start(directory)
    await server.create(10)
    assert.equal((await runCli(['backup', file, '--url', server.url])).code, 0)
    await refused(['backup', file, '--url', server.url], /good\.db is there already/)
    await refused(['check', '--data-dir', directory], /in use by process \d+/)
    await refused(['restore', file, '--data-dir', directory], /state\.db is there already/)
    await refused(['serve', '--data-dir', directory, '--port', '0'], /in use by process \d+/)
    await server.stop()
  })

  test('afterwards', async () => {
    assert.equal((await runCli(['check', directory])).code, 0)
    assert.equal((await runCli(['check', file])).code, 0)
    await refused(['backup'], /name the FILE/, 2)
    await refused(['restore'], /name the FILE/, 2)
    await refused(['check', file, '--data-dir', directory], /not both/, 2)
    await refused(['check', file, 'more'], /unexpected "more"/, 2)
    await refused(['backup', 'x.db', '--url', 'nowhere'], /--url must be like http/, 2)
    await refused(['backup', 'x.db', '--url', 'http://127.0.0.1:9'], /no server answers at/)
    await refused(['check', join(FOLDER, 'nothing')], /nothing/)
    await refused(['check', '--data-dir', FOLDER], /there are no data in/)
    await refused(['check', '--data-dir', ''], /--data-dir must be the path of a directory/, 2)
    const text = join(FOLDER, 'text')
    writeFileSync(text, 'not a database, but long enough to be looked at as if it were one')
    await refused(['restore', text, '--data-dir', join(FOLDER, 'new')], /not a database/)
    assert.deepEqual(readdirSync(FOLDER).includes('new'), false)
  })

  test('an empty variable is none', async () => {
    const env = { TOKEN_ORCHESTRATOR_DATA_DIR: '' }
    await using command = startCli(['restore', file], { cwd: FOLDER, env })
    assert.equal(await command.code, 0, command.stderr)
    assert.match(command.stdout, /^\.\/data: no faults/)
    assert(readdirSync(join(FOLDER, 'data')).includes('state.db'))
  })

  test('of a damaged backup', async () => {
    const damaged = join(FOLDER, 'damaged.db')
    copyFileSync(file, damaged)
    const database = new DatabaseSync(damaged)
    database.exec(`UPDATE journal SET changes = zeroblob(length(changes))
      WHERE sequence = (SELECT max(sequence) FROM journal)`)
    database.close()
    await refused(['check', damaged], /is damaged:\n {2}group \d+ of the journal/)
    await refused(['restore', damaged, '--data-dir', join(FOLDER, 'new')], /is damaged/)
    const cut = join(FOLDER, 'cut.db')
    const whole = readFileSync(file)
    writeFileSync(cut, whole.subarray(0, whole.length / 2))
    await refused(['check', cut], /cut\.db/)
  })
})
