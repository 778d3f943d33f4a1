/** `exec`: a real command with a real server, and each way in which either may end. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Key } from '../../src/http/contract/keys.ts'
import { type Command, listeningPort, startCli, startServe } from '../support/command.ts'
import { Operator } from '../support/remote.ts'
import { PoolClient } from '../support/v1.ts'

/** Says that it runs, and waits for a signal, which it may not heed. */
const WAITING = `console.log('runs', process.pid); setInterval(() => {}, 1000)`
const STUBBORN = `process.on('SIGTERM', () => console.log('heard')); ${WAITING}`
const node = (code: string): string[] => [process.execPath, '-e', code]

class Bench implements AsyncDisposable {
  readonly operator: Operator
  readonly pool: PoolClient
  readonly keyId: string

  private constructor(operator: Operator, pool: PoolClient, keyId: string) {
    this.operator = operator
    this.pool = pool
    this.keyId = keyId
  }

  static async start(): Promise<Bench> {
    const operator = await Operator.start()
    const pool = await PoolClient.make(operator.server, { keyLifetimeMs: null })
    const [keyId] = await pool.importKeys({ value: 'sk-exec' })
    return new Bench(operator, pool, keyId!)
  }

  exec(command: string[], ...options: string[]): Command {
    const { env } = this.operator
    return startCli(['exec', '--pool', 'pool', ...options, '--', ...command], { env })
  }

  key(): Promise<Key> {
    return this.pool.key(this.keyId)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.operator[Symbol.asyncDispose]()
  }
}

suite('exec', () => {
  test('gives the command the key, its arguments as they are, and its exit code on', async () => {
    await using bench = await Bench.start()
    const code = `const { CRED, CRED_LEASE_ID, CRED_FENCING_TOKEN, TOKEN_ORCHESTRATOR_TOKEN } = process.env
      console.log(CRED, CRED_LEASE_ID.length, CRED_FENCING_TOKEN > 0, TOKEN_ORCHESTRATOR_TOKEN, process.argv.slice(1).join())`
    await using ended = bench.exec([...node(code), '--', '--help'], '--env', 'CRED')
    assert.equal(await ended.code, 0, ended.stderr)
    assert.equal(ended.stdout, 'sk-exec 32 true undefined --help\n')
    assert.equal((await bench.key()).state, 'available')
  })

  test('tells by the exit code how the key did', async () => {
    const cases = [
      [3, [], 'cooling'],
      [3, ['--outcome', '3=ok'], 'available'],
      [4, ['--outcome', '3=ok', '--outcome', '4=invalid'], 'disabled'],
    ] as const
    for (const [code, options, state] of cases) {
      await using bench = await Bench.start()
      await using ended = bench.exec(node(`process.exit(${code})`), ...options)
      assert.equal(await ended.code, code, ended.stderr)
      assert.equal((await bench.key()).state, state)
    }
  })

  test('passes signals on, and gives the key back', async () => {
    for (const [signal, code] of [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ] as const) {
      await using bench = await Bench.start()
      await using ended = bench.exec(node(WAITING))
      await ended.says(/runs/)
      ended.kill(signal)
      assert.equal(await ended.code, code)
      assert.equal((await bench.key()).state, 'available')
    }
  })

  test('a command that is killed is 128 and the signal', async () => {
    await using bench = await Bench.start()
    await using ended = bench.exec(node(WAITING))
    const [, pid] = await ended.says(/runs (\d+)/)
    process.kill(Number(pid), 'SIGKILL')
    assert.equal(await ended.code, 137)
    assert.equal((await bench.key()).state, 'available')
  })

  test('one that cannot be run is 127', async () => {
    await using bench = await Bench.start()
    await using ended = bench.exec(['./no-such-command'])
    assert.equal(await ended.code, 127)
    assert.notEqual((await bench.key()).state, 'leased')
  })

  test('a signal while it waits for a key ends the waiting', async () => {
    await using bench = await Bench.start()
    await bench.pool.acquire()
    await using ended = bench.exec(node(WAITING))
    while (ended.stderr === '' || (await bench.pool.show()).waiters === 0)
      await new Promise((done) => setTimeout(done, 10))
    ended.kill('SIGTERM')
    assert.equal(await ended.code, 143)
    assert.equal(ended.stdout, '')
    assert.equal(ended.stderr, 'token-orchestrator: waiting for a key of the pool "pool"\n')
  })

  test('without a key to have it says why', async () => {
    await using bench = await Bench.start()
    await bench.pool.acquire()
    await using ended = bench.exec(node(WAITING), '--wait', '1ms')
    assert.equal(await ended.code, 1)
    assert.match(ended.stderr, /^token-orchestrator: pool_exhausted: /)
  })

  test('when the lease is revoked the command is told to end, and killed if it does not', async () => {
    for (const code of [WAITING, STUBBORN]) {
      await using bench = await Bench.start()
      await using ended = bench.exec(node(code), '--lease-ttl', '600ms', '--grace', '100ms')
      const [, pid] = await ended.says(/runs (\d+)/)
      await bench.pool.ask('DELETE', `/keys/${bench.keyId}/lease`)
      assert.equal(await ended.code, 75)
      assert.match(ended.stderr, /ended \(revoked\).* told to end/)
      assert.throws(() => process.kill(Number(pid), 0), { code: 'ESRCH' })
      if (code === STUBBORN) assert.match(ended.stdout, /heard/)
    }
  })

  test('when the server is gone the command ends before the lease could', async () => {
    const served = await startServe(['--lease-ttl', '1500ms'])
    const url = `http://127.0.0.1:${served.port}`
    await fetch(`${url}/keys`, { method: 'POST' })
    await using ended = startCli(['exec', '--url', url, '--', ...node(WAITING)])
    await ended.says(/runs/)
    served.command.kill('SIGKILL')
    assert.equal(await ended.code, 75)
    assert.match(ended.stderr, /could not be renewed in time/)
    assert.match(ended.stderr, /could not be given back/)
  })

  test('outlives a restart of the server, and gives the key back to the new one', async () => {
    await using operator = await Operator.start()
    const folder = join(operator.directory, 'served')
    const serve = (port: number): Command =>
      startCli(['serve', '--data-dir', folder, '--port', String(port), '--lease-ttl', '15s'])
    await using first = serve(0)
    const port = await listeningPort(first)
    const url = `http://127.0.0.1:${port}`
    const { keyId } = (await (await fetch(`${url}/keys`, { method: 'POST' })).json()) as Key
    const look = async (): Promise<Key> =>
      (await (await fetch(`${url}/v1/pools/default/keys/${keyId}`)).json()) as Key
    await using ended = startCli(
      [
        'exec',
        '--url',
        url,
        '--',
        ...node(`${WAITING}; process.stdin.on('data', () => process.exit(7))`),
      ],
      { input: null },
    )
    await ended.says(/runs/)
    first.kill('SIGKILL')
    await first.code
    await using second = serve(port)
    await listeningPort(second)
    const before = await look()
    assert.equal(before.state, 'leased')
    // Until a renewal has come through to the new server.
    while ((await look()).lease?.expiresAt === before.lease!.expiresAt)
      await new Promise((done) => setTimeout(done, 20))
    ended.type('end')
    assert.equal(await ended.code, 7, ended.stderr)
    assert.equal((await look()).state, 'cooling')
  })

  test('killed itself, its lease ends by time', async () => {
    await using bench = await Bench.start()
    await using ended = bench.exec(node(WAITING), '--lease-ttl', '500ms')
    const [, pid] = await ended.says(/runs (\d+)/)
    ended.kill('SIGKILL')
    // The command, a group of its own, holds its outputs open and outlives it.
    while ((await bench.key()).state === 'leased') await new Promise((done) => setTimeout(done, 20))
    process.kill(Number(pid), 'SIGKILL')
    assert.equal(await ended.code, null)
  })

  test('a command line that cannot be understood is told so', async () => {
    await using bench = await Bench.start()
    for (const [options, why] of [
      [['--outcome', '3=fine'], /--outcome must be like 75=rate_limited/],
      [['--env', '1A'], /--env must be a name/],
      [['--grace', 'soon'], /--grace must be a duration/],
    ] as const) {
      await using ended = bench.exec(['true'], ...options)
      assert.equal(await ended.code, 2)
      assert.match(ended.stderr, why)
    }
  })
})
