/** Real Redis servers on free ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { SystemClock } from '../../src/clock.ts'
import { SystemRandom } from '../../src/random.ts'
import { parseAddress } from '../../src/store/redis/address.ts'
import { openRedis } from '../../src/store/redis/open.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'
import { freePort } from './ports.ts'
import { type ServerOptions, TestServer } from './server.ts'
import { needTool, run } from './tools.ts'

async function begin(args: string[], sign: string): Promise<ChildProcess> {
  const child = spawn(needTool('redis-server'), args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line)
    if (!line.includes(sign)) continue
    child.stdout.resume()
    return child
  }
  throw new Error(`redis-server does not start: ${lines.slice(-3).join(' ')}`)
}

export class RedisServer implements AsyncDisposable {
  readonly port: number
  readonly pid: number
  readonly #process: ChildProcess
  readonly #directory: string
  readonly #options: Record<string, string | number>

  private constructor(
    port: number,
    process: ChildProcess,
    directory: string,
    options: Record<string, string | number>,
  ) {
    this.#options = options
    this.port = port
    this.pid = process.pid!
    this.#process = process
    this.#directory = directory
  }

  /** Keeps nothing on disk but what the options say, each a line of its configuration. */
  static async start(options: Record<string, string | number> = {}): Promise<RedisServer> {
    const port = await freePort()
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    return RedisServer.#startAt(port, directory, options)
  }

  static async #startAt(
    port: number,
    directory: string,
    options: Record<string, string | number>,
  ): Promise<RedisServer> {
    const all = { port, bind: '127.0.0.1', dir: directory, save: '', appendonly: 'no', ...options }
    const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, String(value)])
    const process = await begin(args, 'Ready to accept connections')
    return new RedisServer(port, process, directory, options)
  }

  /** A Sentinel that watches the primary, alone, under the name `main`. */
  static async sentinel(primary: RedisServer): Promise<RedisServer> {
    const port = await freePort()
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    const file = join(directory, 'sentinel.conf')
    const lines = [
      ...[`port ${port}`, 'bind 127.0.0.1', `dir ${directory}`],
      `sentinel monitor main 127.0.0.1 ${primary.port} 1`,
      ...['sentinel down-after-milliseconds main 1000', 'sentinel failover-timeout main 10000'],
    ]
    writeFileSync(file, lines.join('\n'))
    const process = await begin([file, '--sentinel'], '+monitor')
    return new RedisServer(port, process, directory, {})
  }

  get isAlive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** What `redis-cli` answers. */
  cli(...args: string[]): string {
    return run(needTool('redis-cli'), '-p', String(this.port), ...args).trim()
  }

  get url(): string {
    return `redis://127.0.0.1:${String(this.port)}`
  }

  /** It is gone, and what it has on disk is not. */
  async kill(): Promise<void> {
    if (!this.isAlive) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }

  /** Another one in its place, with what it has on disk. */
  again(): Promise<RedisServer> {
    return RedisServer.#startAt(this.port, this.#directory, this.#options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** A server in this process on a Redis, by its own clock, as `serve` starts it. */
export async function serveOn(
  urls: readonly string[],
  { replicas = 0, ...options }: { replicas?: number } & Partial<ServerOptions> = {},
): Promise<TestServer> {
  const clock = new SystemClock()
  const setting = {
    address: parseAddress(urls),
    prefix: 'test',
    replicas,
    maxPools: 10,
    clock,
    random: new SystemRandom(),
    follow: (instant: number) => {
      clock.follow(instant)
    },
  }
  const openStore = (events: StoreEvents): Promise<Store> =>
    openRedis(setting, events, () => undefined)
  return TestServer.start({ clock, openStore, ...options })
}
