/** The batch route beside scripts in a real Redis that do the same work, one loaded at a time, in turns. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Asked, BatchTasks } from './batch-load.ts'
import { Child, cpuMs, LOAD_CORE } from './child.ts'
import { RealServer } from './real-server.ts'
import { hasRedis, RedisServer } from './redis.ts'
import type { RedisTasks } from './redis-load.ts'
import { type Figure, figure, figureOf, keysText, type Table } from './report.ts'

const KEYS = 100_000
const CONNECTIONS = 4
/** In a batch or a pipeline, and as many releases. */
const LEASES = 1000
const AT_A_CALL = 200

interface Load {
  operations: number
  perSecond: number
  loadBusy: number
  /** Of a whole batch or pipeline. */
  p50: number
}
/** What is measured in turns. */
interface Contender {
  label: string
  pid: number
  run: (forMs: number) => Promise<Load>
  samples: Sample[]
}
interface Sample {
  perSecond: number
  serverUs: number
  p50: number
  loadBusy: number
}

export async function batch(quick: boolean): Promise<Table[]> {
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'batch-bench-'))
  try {
    return [await compare(quick, directory, false), await compare(quick, directory, true)]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function compare(quick: boolean, directory: string, durable: boolean): Promise<Table> {
  const [rounds, forMs] = quick ? [1, 300] : [9, 1500]
  await using stack = new AsyncDisposableStack()
  const load = stack.use(new Child<BatchTasks>('batch-load.ts', LOAD_CORE))
  const redisLoad = stack.use(new Child<RedisTasks>('redis-load.ts', LOAD_CORE))
  const server = stack.use(
    await RealServer.start(KEYS, durable ? { dataDir: join(directory, 'data') } : {}),
  )
  const http = (label: string, asked: Asked): Contender => ({
    label,
    pid: server.pid,
    run: (milliseconds) =>
      load.ask('batches', server.port, CONNECTIONS, milliseconds, LEASES, asked),
    samples: [],
  })
  const contenders = [http('acquires of 1 000', 'atOnce'), http('1 000 acquires of 1', 'oneByOne')]
  let redis: RedisServer | null = null
  if (hasRedis) {
    const data = join(directory, durable ? 'redis-durable' : 'redis')
    mkdirSync(data)
    const started = (redis = stack.use(await RedisServer.start(data, durable)))
    await redisLoad.ask('fill', started.path, KEYS)
    const scripts = (label: string, perCall: number): Contender => ({
      label,
      pid: started.pid,
      run: (milliseconds) =>
        redisLoad.ask('pipelines', started.path, CONNECTIONS, milliseconds, LEASES, perCall),
      samples: [],
    })
    contenders.push(scripts('Redis, a call each', 1))
    contenders.push(scripts(`Redis, ${AT_A_CALL} a call`, AT_A_CALL))
  }
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const { pid, run, samples } = contenders[(turn + round) % contenders.length]!
      const cpuBefore = cpuMs(pid)
      const { operations, perSecond, loadBusy, p50 } = await run(forMs)
      const serverUs = ((cpuMs(pid) - cpuBefore) / operations) * 1000
      if (round > 0) samples.push({ perSecond, serverUs, p50, loadBusy }) // the first one only warms up
    }
  }
  await server.checkReleased(KEYS)
  if (redis !== null) await redisLoad.ask('checkReleased', redis.path, KEYS)
  return table(contenders, durable)
}

function table(contenders: Contender[], durable: boolean): Table {
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: contenders.map(({ samples }) => figureOf(samples, key)),
  })
  const ratio = (to: Contender) => ({
    label: `ratio to ${to.label}`,
    cells: contenders.map((one): Figure | null =>
      one === to
        ? null
        : figure(one.samples.map((run, at) => run.perSecond / to.samples[at]!.perSecond)),
    ),
  })
  return {
    title:
      `Batches: leases and releases over ${CONNECTIONS} connections, ${keysText(KEYS)}, ` +
      (durable ? 'durable' : 'in memory'),
    columns: contenders.map(({ label }) => label),
    rows: [
      row('leases + releases/s', 'perSecond'),
      ...contenders.slice(2).map(ratio),
      row('CPU time of the server, µs each', 'serverUs'),
      row('latency p50 of a batch or pipeline, ms', 'p50'),
      row('share of its time that the load works', 'loadBusy'),
    ],
    notes: [
      'A batch or a pipeline leases 1 000 keys and releases the 1 000 of the one before.',
      hasRedis
        ? durable
          ? 'Redis writes to its log and calls fsync before it answers, as the server does.'
          : 'Redis saves nothing.'
        : 'Redis is left out: there is no redis-server here.',
    ],
  }
}
