/** Commands that ask a server, in processes of their own, and a real server to ask. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Ended, runCli } from './command.ts'
import { type ServerOptions, TestServer } from './server.ts'

export class Operator implements AsyncDisposable {
  readonly server: TestServer
  readonly directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
  /** For all commands. */
  readonly env: Record<string, string>

  private constructor(server: TestServer) {
    this.server = server
    this.env = { TOKEN_ORCHESTRATOR_URL: `http://127.0.0.1:${server.port}` }
  }

  static async start(options: ServerOptions = {}): Promise<Operator> {
    return new Operator(await TestServer.start(options))
  }

  /** Runs a command, whatever becomes of it. */
  tries(args: string[], input?: string): Promise<Ended> {
    return runCli(args, this.env, input)
  }

  /** Runs a command that must succeed. @returns what it writes to stdout. */
  async does(args: string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.tries(args, input)
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
    return stdout
  }

  /** The same with --json: an object for each line. */
  async asks<T>(args: string[], input?: string): Promise<T[]> {
    const lines = (await this.does([...args, '--json'], input)).split('\n')
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T)
  }

  /** Runs a command that must fail with that exit code. @returns what it says. */
  async fails(code: number, args: string[], input?: string): Promise<string> {
    const ended = await this.tries(args, input)
    assert.equal(ended.code, code, `${args.join(' ')}: ${ended.stdout}${ended.stderr}`)
    assert.doesNotMatch(ended.stderr, /\n {4}at |node:internal/)
    return ended.stderr
  }

  file(name: string, text: string): string {
    const path = join(this.directory, name)
    writeFileSync(path, text)
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]()
    rmSync(this.directory, { recursive: true })
  }
}
