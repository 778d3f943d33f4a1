/** Commands in processes of their own, the server's above all. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** Where Node keeps compiled code, so that the next start is faster. One that is killed leaves none there. */
const CODE = join(ROOT, 'node_modules/.cache/node')

/** Longer than any command here takes to say what is waited for. */
const PATIENCE_MS = 60_000

/** Settings of whoever runs the tests that would reach a server, or what a command says. */
const UNWANTED =
  /^(TOKEN_ORCHESTRATOR_.*|OTEL_.*|NODE_TEST_CONTEXT|CI|NO_COLOR|FORCE_COLOR|NODE_DISABLE_COLORS)$/

export interface CommandOptions {
  env?: Record<string, string>
  cwd?: string
  /** All that it finds on its standard input; null: that stays open, to type. */
  input?: string | null
}

/** A running command and what it has said so far. `await using` ends it, and whatever it started. */
export class Command implements AsyncDisposable {
  stdout = ''
  stderr = ''
  /** The exit code; null if a signal ended it. */
  readonly code: Promise<number | null>
  readonly #process: ChildProcess
  /** Called at each word, and at the end. */
  #onNews = (): void => undefined
  #ended = false

  constructor(file: string, args: string[], { env, cwd = ROOT, input }: CommandOptions = {}) {
    this.#process = spawn(file, args, {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: true, // a process group, so that what npm or a shell starts can be ended too
    })
    // Who does not read to the end is not to be blamed for it.
    this.#process.stdin?.on('error', () => undefined)
    if (typeof input === 'string') this.#process.stdin!.end(input)
    for (const stream of ['stdout', 'stderr'] as const) {
      this.#process[stream]!.setEncoding('utf8').on('data', (text: string) => {
        this[stream] += text
        this.#onNews()
      })
    }
    this.code = new Promise((resolve, reject) => {
      this.#process.on('error', reject)
      this.#process.on('close', (code) => {
        this.#ended = true
        this.#onNews()
        resolve(code)
      })
    })
  }

  get pid(): number {
    return this.#process.pid!
  }

  /** On its standard input, which is there where it was given one. */
  type(text: string): void {
    this.#process.stdin!.write(text)
  }

  /** What it says from now on is an error to it. */
  stopReading(): void {
    this.#process.stdout!.destroy()
    this.#process.stderr!.destroy()
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(-this.#process.pid!, signal)
  }

  /** Waits until the command has said it. @returns the match. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    let late = false
    for (;;) {
      const match = pattern.exec(this.stdout)
      if (match !== null) return match
      const said = `${this.stdout}${this.stderr}`
      assert.ok(!this.#ended && !late, `It never said ${pattern.source}, but:\n${said}`)
      await new Promise<void>((resolve) => {
        const patience = setTimeout(() => {
          late = true
          resolve()
        }, PATIENCE_MS)
        this.#onNews = () => {
          clearTimeout(patience)
          resolve()
        }
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.kill('SIGKILL')
    await this.code
  }
}

/** The CLI from its sources. */
export function startCli(args: string[], options?: CommandOptions): Command {
  return new Command(process.execPath, [MAIN, ...args], options)
}

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the CLI to its end. */
export async function runCli(
  args: string[],
  env: Record<string, string> = {},
  input?: string,
): Promise<Ended> {
  await using command = startCli(args, { env, ...(input === undefined ? {} : { input }) })
  const code = await command.code
  return { code, stdout: command.stdout, stderr: command.stderr }
}

/** Starts a server on a port of its own and waits until it listens. */
export async function startServe(
  args: string[] = [],
  options?: CommandOptions,
): Promise<{ command: Command; port: number } & AsyncDisposable> {
  const command = startCli(['serve', '--memory', '--port', '0', ...args], options)
  const port = await listeningPort(command)
  return { command, port, [Symbol.asyncDispose]: () => command[Symbol.asyncDispose]() }
}

/** Waits for the line that says where the server listens. */
export async function listeningPort(command: Command): Promise<number> {
  const [, port] = await command.says(/https?:\/\/[^/\s"]+:(\d+)/)
  return Number(port)
}

/** This process's environment with its own Node first. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { NODE_COMPILE_CACHE: CODE }
  for (const [name, value] of Object.entries(process.env)) {
    if (!UNWANTED.test(name)) env[name] = value
  }
  return { ...env, PATH: `${dirname(process.execPath)}:${process.env.PATH ?? ''}` }
}
