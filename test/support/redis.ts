/** Real Redis servers on free ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from './ports.ts'
import { needTool } from './tools.ts'

export class RedisServer {
  readonly port: number
  readonly pid: number
  readonly #process: ChildProcess
  readonly #directory: string

  private constructor(port: number, process: ChildProcess, directory: string) {
    this.port = port
    this.pid = process.pid!
    this.#process = process
    this.#directory = directory
  }

  /** Keeps nothing on disk but what the options say, each a line of its configuration. */
  static async start(options: Record<string, string | number> = {}): Promise<RedisServer> {
    const port = await freePort()
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    const all = { port, bind: '127.0.0.1', dir: directory, save: '', appendonly: 'no', ...options }
    const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, String(value)])
    const process = spawn(needTool('redis-server'), args, { stdio: ['ignore', 'pipe', 'inherit'] })
    for await (const line of createInterface({ input: process.stdout })) {
      if (line.includes('Ready to accept connections')) break
    }
    process.stdout.resume()
    return new RedisServer(port, process, directory)
  }

  get url(): string {
    return `redis://127.0.0.1:${String(this.port)}`
  }

  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill(signal)
      await once(this.#process, 'exit')
    }
    rmSync(this.#directory, { recursive: true, force: true })
  }
}
