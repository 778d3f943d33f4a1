/** The real server on a data directory of its own, under whatever makes its life hard. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command, type CommandOptions, listeningPort, ROOT } from '../support/command.ts'

const MAIN = join(ROOT, 'src/cli/main.ts')
const PATIENCE_MS = 20_000
const LOOK_MS = 20

export interface Reply {
  status: number
  /** The code of a problem; else empty. */
  code: string
  text: string
  body: Record<string, unknown>
}

export interface StartOptions extends CommandOptions {
  args?: string[]
  /** A command that starts the server. */
  under?: string[]
}

/** A running server. `await using` kills it. */
export class Served implements AsyncDisposable {
  readonly command: Command
  readonly directory: string
  readonly port: number

  private constructor(command: Command, directory: string, port: number) {
    this.command = command
    this.directory = directory
    this.port = port
  }

  static async start(directory: string, options: StartOptions = {}): Promise<Served> {
    const command = commandOn(directory, options)
    try {
      return new Served(command, directory, await listeningPort(command))
    } catch (error) {
      await command[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Null: the connection broke, so that nobody knows what became of it. */
  async ask(method: string, path: string, body?: object): Promise<Reply | null> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
        method,
        signal: AbortSignal.timeout(PATIENCE_MS),
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      })
      const text = await response.text()
      const isJson = response.headers.get('content-type')?.includes('json') === true
      const parsed = (isJson ? JSON.parse(text) : {}) as Record<string, unknown>
      const code = typeof parsed.code === 'string' ? parsed.code : ''
      return { status: response.status, code, text, body: parsed }
    } catch (error) {
      if ((error as Error).name === 'TimeoutError') throw error
      return null
    }
  }

  /** Asks for what must succeed. */
  async do(method: string, path: string, body?: object): Promise<Record<string, unknown>> {
    const reply = await this.ask(method, path, body)
    assert.ok(reply !== null, `${method} ${path}: the connection broke`)
    assert.ok(reply.status < 300, `${method} ${path}: ${reply.status} ${reply.text}`)
    return reply.body
  }

  async create(count = 1): Promise<string[]> {
    return (await this.do('POST', '/keys', { count })).keyIds as string[]
  }

  async draw(): Promise<Drawn> {
    return (await this.do('GET', '/keys')) as unknown as Drawn
  }

  async show(keyId: string): Promise<Shown> {
    return (await this.do('GET', `/keys/${keyId}`)) as unknown as Shown
  }

  async status(method: string, path: string): Promise<number | undefined> {
    return (await this.ask(method, path))?.status
  }

  /** The figure of the metrics that is called so. */
  async keyCount(): Promise<number> {
    const reply = await this.ask('GET', '/metrics')
    const figures = reply!.text.matchAll(/^token_orchestrator_keys\{.*\} (\d+)$/gm)
    return [...figures].reduce((sum, [, figure]) => sum + Number(figure), 0)
  }

  async kill(): Promise<void> {
    this.command.kill('SIGKILL')
    await this.command.code
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.command[Symbol.asyncDispose]()
  }
}

export interface Drawn {
  keyId: string
  leaseId: string
  fencingToken: number
  blockedUntil: string
}

export interface Shown {
  isBlocked: boolean
  createdAt: string
  blockedUntil: string | null
  expiresAt: string | null
  keepAliveAt: string
  state: string
}

/**
 * Starts a server that must not come up. @returns what it says: one line of plain words, and exit code 1.
 */
export async function refusalOf(directory: string, options: StartOptions = {}): Promise<string> {
  await using command = commandOn(directory, options)
  const started = listeningPort(command).then(
    () => true,
    () => false,
  )
  assert.ok(!(await started), `it started on ${directory}`)
  assert.equal(await command.code, 1, command.stderr)
  assert.match(command.stderr, /^token-orchestrator: [^\n]+\n$/)
  assertPlainWords(command.stderr)
  return command.stderr
}

/** No stack trace, and none of the words of a programming error. */
export function assertPlainWords(said: string): void {
  assert.doesNotMatch(said, /\n {4}at |node:internal|TypeError|SyntaxError|RangeError/)
  assert.doesNotMatch(said, /undefined|Cannot read propert|is not a function|argument must be/)
}

function commandOn(directory: string, { args = [], under = [], ...rest }: StartOptions): Command {
  const serve = ['serve', '--data-dir', directory, '--port', '0', '--max-total-keys', '100000']
  const line = [...under, process.execPath, MAIN, ...serve, ...args]
  return new Command(line[0]!, line.slice(1), rest)
}

/** The process that holds a data directory, as it says itself. */
export function pidIn(directory: string): number {
  return Number(readFileSync(join(directory, 'pid'), 'utf8'))
}

/** A directory that is gone with its user. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))

  /** A place in it where nothing is yet. */
  get data(): string {
    return join(this.path, 'data')
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** Looks again and again, until it is so. */
export async function until(
  what: string,
  isSo: () => Promise<boolean> | boolean,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, `it took too long until ${what}`)
    await delay(LOOK_MS)
  }
}
