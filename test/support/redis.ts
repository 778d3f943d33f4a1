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
import { HERE, type Place } from './network.ts'
import { freePort } from './ports.ts'
import { type ServerOptions, TestServer } from './server.ts'
import { needTool, run } from './tools.ts'

const MAX_ATTEMPTS = 5

async function begin(
  args: string[],
  sign: string,
  { enter, env }: Place = HERE,
): Promise<ChildProcess> {
  const [command, ...rest] = [...enter, needTool('redis-server'), ...args]
  const child = spawn(command!, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
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
  readonly #place: Place
  #isStopped = false

  private constructor(
    port: number,
    process: ChildProcess,
    directory: string,
    options: Record<string, string | number>,
    place: Place,
  ) {
    this.#options = options
    this.#place = place
    this.port = port
    this.pid = process.pid!
    this.#process = process
    this.#directory = directory
  }

  /** Keeps nothing on disk but what the options say, each a line of its configuration. */
  static async start(
    options: Record<string, string | number> = {},
    place = HERE,
  ): Promise<RedisServer> {
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    for (let attempt = 1; ; attempt++) {
      const port = await freePort()
      try {
        return await RedisServer.#startAt(port, directory, options, place)
      } catch (error) {
        // A node of a cluster takes the port 10 000 above too, which somebody's connection may have.
        const isTaken = (error as Error).message.includes('Address already in use')
        if (!isTaken || attempt === MAX_ATTEMPTS) throw error
      }
    }
  }

  static async #startAt(
    port: number,
    directory: string,
    options: Record<string, string | number>,
    place: Place,
  ): Promise<RedisServer> {
    const own = { port, bind: place.address, dir: directory, save: '', appendonly: 'no' }
    const all = { ...own, ...options }
    const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, String(value)])
    const process = await begin(args, 'Ready to accept connections', place)
    return new RedisServer(port, process, directory, options, place)
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
    return new RedisServer(port, process, directory, {}, HERE)
  }

  /** It does nothing more, and knows nothing of that when it is woken. */
  stop(): void {
    process.kill(this.pid, 'SIGSTOP')
    this.#isStopped = true
  }

  wake(): void {
    process.kill(this.pid, 'SIGCONT')
    this.#isStopped = false
  }

  get answers(): boolean {
    return this.isAlive && !this.#isStopped
  }

  get isAlive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** What `redis-cli` answers. */
  cli(...args: string[]): string {
    const { address, enter } = this.#place
    const cli = [needTool('redis-cli'), '-h', address, '-p', String(this.port), ...args]
    const [command, ...rest] = [...enter, ...cli]
    return run(command!, ...rest).trim()
  }

  get address(): string {
    return `${this.#place.address}:${String(this.port)}`
  }

  get url(): string {
    return `redis://${this.address}`
  }

  /** It is gone, and what it has on disk is not. */
  async kill(): Promise<void> {
    if (!this.isAlive) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }

  /** Another one in its place, with what it has on disk. */
  again(): Promise<RedisServer> {
    return RedisServer.#startAt(this.port, this.#directory, this.#options, this.#place)
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
    history: options.history,
    follow: (instant: number) => {
      clock.follow(instant)
    },
  }
  const openStore = (events: StoreEvents): Promise<Store> =>
    openRedis(setting, events, () => undefined)
  return TestServer.start({ clock, openStore, ...options })
}
