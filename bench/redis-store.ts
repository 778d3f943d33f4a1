/** What servers over Redis cost: the store beside its own script, by the number of keys, and servers beside their Redis. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { needTool } from '../test/support/tools.ts'
import { Child, cpuMs, LOAD_CORE, onCore } from './child.ts'
import type { LoadTasks } from './http-load.ts'
import { RealServer } from './real-server.ts'
import { RedisServer } from './redis.ts'
import type { RedisStoreTasks } from './redis-store-child.ts'
import { figure, figureOf, keysText, type Table } from './report.ts'

const CONNECTIONS = 64
/** As the store: so many calls on their way at a time, on one connection. */
const PIPELINE = 2

export async function redisStore(quick: boolean): Promise<Table[]> {
  needTool('redis-server')
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'redis-bench-'))
  try {
    return [await stores(quick, directory), await servers(quick, directory)]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

interface Size {
  redis: RedisServer
  child: Child<RedisStoreTasks>
  /** That Redis takes for a plain key. */
  bytes: number
  call: { words: string[]; pairs: number }
  samples: StoreSample[]
}

interface StoreSample {
  leases: number
  redisUs: number
  pairs: number
  bare: number
}

async function stores(quick: boolean, directory: string): Promise<Table> {
  const sizes = quick ? [1000, 10_000] : [1000, 100_000, 1_000_000]
  const [rounds, forMs] = quick ? [1, 200] : [7, 1000]
  await using stack = new AsyncDisposableStack()
  const all: Size[] = []
  for (const keys of sizes) {
    const place = join(directory, `redis-${keys}`)
    mkdirSync(place)
    const redis = stack.use(await RedisServer.start(place, false))
    const child = stack.use(new Child<RedisStoreTasks>('redis-store-child.ts', LOAD_CORE))
    await child.ask('open', redis.port)
    const before = memoryOf(redis)
    await child.ask('fill', keys)
    const bytes = (memoryOf(redis) - before) / keys
    const call = await child.ask('call')
    all.push({ redis, child, bytes, call, samples: [] })
  }
  for (let round = 0; round <= rounds; round++) {
    for (const { redis, child, call, samples } of all) {
      const cpuBefore = cpuMs(redis.pid)
      const begun = performance.now()
      const leases = await child.ask('leases', forMs)
      const operations = 2 * leases * ((performance.now() - begun) / 1000)
      const redisUs = ((cpuMs(redis.pid) - cpuBefore) * 1000) / operations
      const pairs = await child.ask('pairs', forMs)
      const calls = Math.ceil(((pairs / call.pairs) * forMs) / 1000)
      const bare = callsASecond(redis, call.words, calls) * call.pairs
      if (round > 0) samples.push({ leases, redisUs, pairs, bare }) // the first one only warms up
    }
  }
  const row = (label: string, key: keyof StoreSample) => ({
    label,
    cells: all.map(({ samples }) => figureOf(samples, key)),
  })
  const callSizes = all.map(({ call }) => call.pairs).join(', ')
  return {
    title: 'Store over Redis, 200 callers in one process',
    columns: sizes.map(keysText),
    rows: [
      row('leases of any key, and their releases, a second', 'leases'),
      row("Redis's CPU time for a lease or a release, us", 'redisUs'),
      row('leases of one key and unblocks in one call, a second', 'pairs'),
      row('the same by the bare script, called by redis-benchmark', 'bare'),
      {
        label: 'store / bare script',
        cells: all.map(({ samples }) => figure(samples.map(({ pairs, bare }) => pairs / bare))),
      },
      { label: 'bytes of Redis a plain key', cells: all.map(({ bytes }) => figure([bytes])) },
    ],
    notes: [
      `redis-benchmark makes a call that the store has made again and again (of ${callSizes} pairs), ${PIPELINE} at a time on one connection, as the store does.`,
      'Redis has one core, and whoever asks it the other. Nothing is saved.',
    ],
  }
}

interface ServersSample {
  perSecond: number
  serverUs: number
  redisUs: number
  p50: number
}

/** All cores are for all but Redis, which has one: with two cores more servers have no more of them. */
async function servers(quick: boolean, directory: string): Promise<Table> {
  const keys = quick ? 1000 : 100_000
  const [rounds, forMs] = quick ? [1, 200] : [7, 2000]
  await using stack = new AsyncDisposableStack()
  const place = join(directory, 'redis')
  mkdirSync(place)
  const redis = stack.use(await RedisServer.start(place, false))
  const url = `redis://127.0.0.1:${redis.port}`
  const both = [
    stack.use(await RealServer.start(keys, { redis: url, core: null })),
    stack.use(await RealServer.start(0, { redis: url, core: null })),
  ]
  const loads = both.map(() => stack.use(new Child<LoadTasks>('http-load.ts')))
  const counts = [1, 2]
  const samples = counts.map((): ServersSample[] => [])
  for (let round = 0; round <= rounds; round++) {
    for (const [at, count] of counts.entries()) {
      const asked = both.slice(0, count)
      const cpu = (): number => asked.reduce((sum, { pid }) => sum + cpuMs(pid), 0)
      const [serversBefore, redisBefore] = [cpu(), cpuMs(redis.pid)]
      const begun = performance.now()
      const told = await Promise.all(
        asked.map(({ port }, at) =>
          loads[at]!.ask('cycle', port, CONNECTIONS / count, forMs, 'v1'),
        ),
      )
      const perSecond = told.reduce((sum, one) => sum + one.perSecond, 0)
      const requests = perSecond * ((performance.now() - begun) / 1000)
      const usARequest = (ms: number): number => (ms * 1000) / requests
      if (round === 0) continue // it only warms up
      samples[at]!.push({
        perSecond,
        serverUs: usARequest(cpu() - serversBefore),
        redisUs: usARequest(cpuMs(redis.pid) - redisBefore),
        p50: Math.max(...told.map(({ p50 }) => p50)),
      })
    }
  }
  const row = (label: string, key: keyof ServersSample) => ({
    label,
    cells: samples.map((runs) => figureOf(runs, key)),
  })
  return {
    title: `Servers over one Redis, leases and releases by v1, ${CONNECTIONS} connections in all, ${keysText(keys)}`,
    columns: ['one server', 'two servers'],
    rows: [
      row('requests a second', 'perSecond'),
      row('CPU time of the servers for each, us', 'serverUs'),
      row('CPU time of Redis for each, us', 'redisUs'),
      row('p50, ms', 'p50'),
    ],
    notes: ['Redis has a core, which the servers and the load may use as well: they have all.'],
  }
}

function memoryOf({ port }: RedisServer): number {
  const told = spawnSync('redis-cli', ['-p', String(port), 'info', 'memory'], { encoding: 'utf8' })
  return Number(/used_memory:(\d+)/.exec(told.stdout)![1])
}

function callsASecond({ port }: RedisServer, words: readonly string[], calls: number): number {
  const terms = ['-p', String(port), '-c', '1', '-P', String(PIPELINE), '-n', String(calls)]
  const [command, ...args] = onCore(LOAD_CORE, ['redis-benchmark', ...terms, '--csv', ...words])
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  // The command, calls a second, and six latencies.
  const perSecond = /","([\d.]+)"(?:,"[\d.]+"){6}$/m.exec(stdout)?.[1]
  if (perSecond === undefined) throw new Error(`redis-benchmark: ${stdout.slice(-200)}${stderr}`)
  return Number(perSecond)
}
