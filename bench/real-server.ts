/** The server as it is shipped, a process of its own that is filled over its own API. */
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { nodeCommand, SERVER_CORE } from './child.ts'

const CREATED_AT_A_TIME = 10_000
/** A Redis that is slow to write must answer in time all the same. */
const CREATED_AT_A_TIME_IN_REDIS = 1000

export interface ServerOptions {
  /** Null: all of them. */
  core?: number | null
  /** Where its state is kept; without, in memory. */
  dataDir?: string
  /** Or the Redis that keeps it. */
  redis?: string
  /** What runs it and becomes it: a command line to put before its own. */
  under?: string[]
  /** A file of this folder that is run in its process first. */
  preload?: string
}

export class RealServer {
  readonly port: number
  readonly pid: number
  readonly #process: ChildProcess

  private constructor(port: number, process: ChildProcess) {
    this.port = port
    this.pid = process.pid!
    this.#process = process
  }

  /** With so many keys more than it has. */
  static async start(
    keys: number,
    { dataDir, redis, under = [], core = SERVER_CORE, preload }: ServerOptions = {},
  ) {
    const cli = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
    const kept = dataDir === undefined ? ['--memory'] : ['--data-dir', dataDir]
    const state = redis === undefined ? kept : ['--redis', redis]
    const options = ['serve', ...state, '--port', '0', '--key-lifetime', '1h']
    const first = preload === undefined ? [] : ['--import', new URL(preload, import.meta.url).href]
    const [command, ...args] = [...under, ...nodeCommand(core), ...first, cli, ...options]
    const stdio: StdioOptions = ['ignore', 'pipe', 'inherit', 'ipc']
    const process = spawn(command!, args, {
      stdio: preload === undefined ? stdio.slice(0, 3) : stdio,
    })
    const server = new RealServer(await portOf(process), process)
    const atATime = redis === undefined ? CREATED_AT_A_TIME : CREATED_AT_A_TIME_IN_REDIS
    try {
      for (let left = keys; left > 0; left -= atATime) await server.#create(Math.min(left, atATime))
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
    return server
  }

  async #create(count: number): Promise<void> {
    const response = await fetch(`http://127.0.0.1:${this.port}/keys`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ count }),
    })
    if (response.status !== 201) throw new Error(`not created: ${await response.text()}`)
    await response.arrayBuffer()
  }

  /** Ends the run unless all its keys are available again. */
  async checkReleased(keys: number): Promise<void> {
    const response = await fetch(`http://127.0.0.1:${this.port}/v1/pools/default`)
    const body = await response.text()
    const { counts } = JSON.parse(body) as { counts?: { available: number; leased: number } }
    if (counts?.available !== keys || counts.leased !== 0) throw new Error(`left behind: ${body}`)
  }

  /** What the preloaded file answers. */
  async ask(question: string): Promise<number> {
    const answer = once(this.#process, 'message')
    this.#process.send(question)
    return ((await answer) as [number])[0]
  }

  [Symbol.dispose](): void {
    this.#process.kill()
  }

  /** Ends when the server has: what it kept can be deleted then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill()
    await once(this.#process, 'exit')
  }
}

/** The port that it says it listens on. */
function portOf(process: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    createInterface(process.stdout!).on('line', (line) => {
      const { url } = JSON.parse(line) as { url?: string }
      if (url !== undefined) resolve(Number(new URL(url).port))
    })
    process.once('exit', (code) => {
      reject(new Error(`the server ended with ${String(code)} before it listened`))
    })
  })
}
