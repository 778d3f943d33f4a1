/** All that `compare` compares: each way to do the work, with pools of each size, all of them there at once. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { needTool } from '../test/support/tools.ts'
import type { BatchTasks } from './batch-load.ts'
import { Beanstalkd } from './beanstalkd.ts'
import type { BeanstalkdTasks } from './beanstalkd-load.ts'
import { Child, LOAD_CORE, SERVER_CORE } from './child.ts'
import type { Load } from './cycles.ts'
import { sampleAnswers } from './http.ts'
import type { BaselineTasks } from './http-baselines.ts'
import type { CycleName, LoadTasks } from './http-load.ts'
import type { NaiveTasks } from './naive-server.ts'
import { PostgresServer } from './postgres.ts'
import type { PostgresTasks } from './postgres-load.ts'
import { RealServer } from './real-server.ts'
import { RedisServer } from './redis.ts'
import type { RedisTasks } from './redis-load.ts'
import type { SdkTasks } from './sdk-load.ts'

/** Of who has one request on its way in each. */
export const CONNECTIONS = 64
/** Of who has a batch or a pipeline on its way in each. */
export const BATCH_CONNECTIONS = 4
/** In a batch or a pipeline, and as many releases. */
const LEASES = 1000
const AT_A_CALL = 200
const SDK_WORKERS = 1000

export interface Contender {
  name: string
  durable: boolean
  run: (keys: number, forMs: number) => Promise<Load>
}

/** Leases in a batch: no more than a pool has that holds those of the batches before too. */
export function leasesInBatch(keys: number): number {
  return Math.min(LEASES, Math.floor(keys / (2 * BATCH_CONNECTIONS)))
}

/** Half of the keys at most, so that nobody waits for one. */
export function sdkWorkers(keys: number): number {
  return Math.min(SDK_WORKERS, Math.floor(keys / 2))
}

/** Starts what it is told to, and ends it all when the run does. */
export class Contenders implements AsyncDisposable {
  readonly all: Contender[] = []
  readonly #stack = new AsyncDisposableStack()
  readonly #directory: string
  readonly #sizes: readonly number[]
  /** What must hold once all is released; each rejects if it does not. */
  readonly #checks: (() => Promise<void>)[] = []
  readonly #http = this.#stack.use(new Child<LoadTasks>('http-load.ts', LOAD_CORE))
  readonly #batch = this.#stack.use(new Child<BatchTasks>('batch-load.ts', LOAD_CORE))
  readonly #sdk = this.#stack.use(new Child<SdkTasks>('sdk-load.ts', LOAD_CORE))
  readonly #redis = this.#stack.use(new Child<RedisTasks>('redis-load.ts', LOAD_CORE))
  readonly #postgres = this.#stack.use(new Child<PostgresTasks>('postgres-load.ts', LOAD_CORE))
  readonly #beanstalkd = this.#stack.use(
    new Child<BeanstalkdTasks>('beanstalkd-load.ts', LOAD_CORE),
  )

  private constructor(directory: string, sizes: readonly number[]) {
    this.#directory = directory
    this.#sizes = sizes
  }

  /** `directory` is where what is durable goes. */
  static async start(directory: string, sizes: readonly number[]): Promise<Contenders> {
    const contenders = new Contenders(directory, sizes)
    try {
      for (const durable of [false, true]) {
        await contenders.#addServer(durable)
        await contenders.#addRedis(durable)
        await contenders.#addServerOverRedis(durable)
        if (durable) await contenders.#addPostgres()
        await contenders.#addBeanstalkd(durable)
      }
      await contenders.#addNodeHttp()
      await contenders.#addNaive()
      return contenders
    } catch (error) {
      await contenders[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Ends the run unless nobody holds a key any more. */
  async checkReleased(): Promise<void> {
    for (const check of this.#checks) await check()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }

  async #addServer(durable: boolean): Promise<void> {
    const servers = await this.#each((keys) => {
      const dataDir = join(this.#directory, `server-${keys}`)
      return RealServer.start(keys, durable ? { dataDir } : {})
    })
    this.#addHttp('classic', durable, servers, 'classic')
    this.#addHttp('v1', durable, servers, 'v1')
    this.#add('batch', durable, (keys, forMs) => {
      const { port } = servers(keys)
      return this.#batch.ask(
        'batches',
        port,
        BATCH_CONNECTIONS,
        forMs,
        leasesInBatch(keys),
        'atOnce',
      )
    })
    this.#add('SDK', durable, (keys, forMs) =>
      this.#sdk.ask('cycles', servers(keys).port, sdkWorkers(keys), forMs, 'batches'),
    )
    this.#check((keys) => servers(keys).checkReleased(keys))
  }

  async #addServerOverRedis(durable: boolean): Promise<void> {
    const below = await this.#redisServers(`below-${String(durable)}`, durable)
    const servers = await this.#each((keys) =>
      RealServer.start(keys, { redis: `redis://127.0.0.1:${below(keys).port}` }),
    )
    this.#addHttp('v1 over Redis', durable, servers, 'v1')
    this.#check((keys) => servers(keys).checkReleased(keys))
  }

  async #addRedis(durable: boolean): Promise<void> {
    const servers = await this.#redisServers(`redis-${String(durable)}`, durable)
    for (const keys of this.#sizes) await this.#redis.ask('fill', servers(keys).port, keys)
    this.#add('Redis Lua', durable, (keys, forMs) =>
      this.#redis.ask('singles', servers(keys).port, CONNECTIONS, forMs),
    )
    const pipelined = (name: string, perCall: (leases: number) => number): void => {
      this.#add(name, durable, (keys, forMs) => {
        const leases = leasesInBatch(keys)
        const { port } = servers(keys)
        return this.#redis.ask('pipelines', port, BATCH_CONNECTIONS, forMs, leases, perCall(leases))
      })
    }
    pipelined('Redis Lua, pipelined', () => 1)
    pipelined(`Redis Lua, pipelined, ${AT_A_CALL} a call`, (leases) =>
      leases % AT_A_CALL === 0 ? AT_A_CALL : leases,
    )
    this.#check((keys) => this.#redis.ask('checkReleased', servers(keys).port, keys))
  }

  async #redisServers(name: string, durable: boolean): Promise<(keys: number) => RedisServer> {
    needTool('redis-server')
    return this.#each((keys) => {
      const directory = join(this.#directory, `${name}-${keys}`)
      mkdirSync(directory)
      return RedisServer.start(directory, durable)
    })
  }

  async #addPostgres(): Promise<void> {
    const { port } = this.#stack.use(await PostgresServer.start(this.#directory))
    for (const keys of this.#sizes) await this.#postgres.ask('fill', port, keys)
    this.#add('PostgreSQL', true, (keys, forMs) =>
      this.#postgres.ask('singles', port, CONNECTIONS, forMs, keys),
    )
    this.#check((keys) => this.#postgres.ask('checkReleased', port, keys))
  }

  async #addBeanstalkd(durable: boolean): Promise<void> {
    const directory = join(this.#directory, 'beanstalkd')
    if (durable) mkdirSync(directory)
    // An fsync for each of a million jobs would take minutes, so they are put without and taken over.
    const filled = await Beanstalkd.start(durable ? { directory, fsync: false } : undefined)
    for (const keys of this.#sizes) await this.#beanstalkd.ask('fill', filled.port, keys)
    if (durable) await filled[Symbol.asyncDispose]()
    const server = durable ? await Beanstalkd.start({ directory, fsync: true }) : filled
    const { port } = this.#stack.use(server)
    this.#add('beanstalkd', durable, (keys, forMs) =>
      this.#beanstalkd.ask('singles', port, CONNECTIONS, forMs, keys),
    )
    this.#check((keys) => this.#beanstalkd.ask('checkReleased', port, keys))
  }

  /** What the server answers, as constants: it has no keys, and shows what the machine's noise makes of the same work. */
  async #addNodeHttp(): Promise<void> {
    await using server = await RealServer.start(1)
    const answers = await sampleAnswers(server.port)
    const child = this.#stack.use(new Child<BaselineTasks>('http-baselines.ts', SERVER_CORE))
    const port = await child.ask('http', answers)
    this.#addHttp('bare node:http', false, () => ({ port }), 'classic')
  }

  async #addNaive(): Promise<void> {
    const children = await this.#each(() =>
      Promise.resolve(new Child<NaiveTasks>('naive-server.ts', SERVER_CORE)),
    )
    const ports = new Map<number, number>()
    for (const keys of this.#sizes) ports.set(keys, await children(keys).ask('serve', keys))
    this.#addHttp('naive server', false, (keys) => ({ port: ports.get(keys)! }), 'plain')
    this.#check((keys) => children(keys).ask('checkReleased', keys))
  }

  #addHttp(
    name: string,
    durable: boolean,
    servers: (keys: number) => { port: number },
    cycle: CycleName,
  ): void {
    this.#add(name, durable, (keys, forMs) =>
      this.#http.ask('cycle', servers(keys).port, CONNECTIONS, forMs, cycle),
    )
  }

  #add(name: string, durable: boolean, run: Contender['run']): void {
    this.all.push({ name, durable, run })
  }

  #check(check: (keys: number) => Promise<void>): void {
    for (const keys of this.#sizes) this.#checks.push(() => check(keys))
  }

  /** One for each size. Returns how to find that of a size. */
  async #each<T extends AsyncDisposable>(
    start: (keys: number) => Promise<T>,
  ): Promise<(keys: number) => T> {
    const all = new Map<number, T>()
    for (const keys of this.#sizes) all.set(keys, this.#stack.use(await start(keys)))
    return (keys) => all.get(keys)!
  }
}
