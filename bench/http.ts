/** The real server over HTTP beside the least that Node can do, one loaded at a time, in turns. */
import { deepStrictEqual } from 'node:assert'
import { Child, cpuMs, LOAD_CORE, SERVER_CORE } from './child.ts'
import type { Answer, Answers, BaselineTasks } from './http-baselines.ts'
import type { LoadTasks } from './http-load.ts'
import { RealServer } from './real-server.ts'
import { type Figure, figure, figureOf, keysText, type Table } from './report.ts'

const CONNECTIONS = 64
/** Node writes these itself, the same for all. */
const NODE_HEADERS = new Set(['connection', 'date', 'keep-alive'])

type Sample = Awaited<ReturnType<LoadTasks['cycle']>> & { serverUs: number }

export async function http(quick: boolean): Promise<Table[]> {
  const many = quick ? 100_000 : 1_000_000
  const [rounds, forMs] = quick ? [1, 500] : [9, 2000]
  using stack = new DisposableStack()
  const small = stack.use(await RealServer.start(1000))
  const large = stack.use(await RealServer.start(many))
  const answers = await sampleAnswers(small.port)
  const bareHttp = stack.use(new Child<BaselineTasks>('http-baselines.ts', SERVER_CORE))
  const bareFastify = stack.use(new Child<BaselineTasks>('http-baselines.ts', SERVER_CORE))
  const servers: { port: number; pid: number }[] = [
    { port: await bareHttp.ask('http', answers), pid: bareHttp.pid },
    { port: await bareFastify.ask('fastify', answers), pid: bareFastify.pid },
    small,
    large,
  ]
  for (const { port } of servers) await checkSame(port, answers)

  const load = stack.use(new Child<LoadTasks>('http-load.ts', LOAD_CORE))
  const samples = servers.map((): Sample[] => [])
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < servers.length; turn++) {
      const at = (turn + round) % servers.length // nobody is always the one after another
      const sample = await measure(servers[at]!, load, forMs)
      if (round > 0) samples[at]!.push(sample) // the first one only warms up
    }
  }
  const beside = await v1BesideClassic(large, load, many, rounds, forMs)
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: samples.map((runs) => figureOf(runs, key)),
  })
  const ratio = (label: string, to: number) => ({
    label,
    cells: samples.map((runs, at): Figure | null =>
      at === to
        ? null
        : figure(runs.map((run, round) => run.perSecond / samples[to]![round]!.perSecond)),
    ),
  })
  return [
    {
      title: `HTTP: draw, keep-alive, unblock over ${CONNECTIONS} connections`,
      columns: ['bare node:http', 'bare Fastify', 'server, 1 k keys', `server, ${keysText(many)}`],
      rows: [
        row('requests/s', 'perSecond'),
        ratio('ratio to bare node:http', 0),
        ratio('ratio to bare Fastify', 1),
        ratio('ratio to the server at 1 k keys', 2),
        row('CPU time of the server, µs a request', 'serverUs'),
        row('latency p50, ms', 'p50'),
        row('latency p90, ms', 'p90'),
        row('latency p99, ms', 'p99'),
        row('latency p99.9, ms', 'p999'),
        row('share of its time that the load works', 'loadBusy'),
      ],
      notes: ['Ratios are of each round. The servers are saturated: latency is mostly queueing.'],
    },
    beside,
  ]
}

/** A lease and its release by v1, beside a draw and an unblock with the lease's id. */
async function v1BesideClassic(
  server: RealServer,
  load: Child<LoadTasks>,
  keys: number,
  rounds: number,
  forMs: number,
): Promise<Table> {
  const cycles = ['classic', 'v1'] as const
  const samples = cycles.map((): Sample[] => [])
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < cycles.length; turn++) {
      const at = (turn + round) % cycles.length
      const sample = await measure(server, load, forMs, cycles[at]!)
      if (round > 0) samples[at]!.push(sample)
    }
  }
  const [classic, v1] = samples as [Sample[], Sample[]]
  const row = (label: string, key: keyof Sample) => ({
    label,
    cells: [figureOf(classic, key), figureOf(v1, key)],
  })
  const ratios = v1.map((run, round) => run.perSecond / classic[round]!.perSecond)
  return {
    title: `HTTP: a lease and its release over ${CONNECTIONS} connections, ${keysText(keys)}`,
    columns: ['classic', 'v1'],
    rows: [
      row('requests/s', 'perSecond'),
      { label: 'ratio to classic', cells: [null, figure(ratios)] },
      row('CPU time of the server, µs a request', 'serverUs'),
      row('latency p50, ms', 'p50'),
      row('latency p99, ms', 'p99'),
      row('share of its time that the load works', 'loadBusy'),
    ],
    notes: ['Classic: a draw, and an unblock with the id of the lease. v1: JSON bodies in both.'],
  }
}

async function measure(
  { port, pid }: { port: number; pid: number },
  load: Child<LoadTasks>,
  forMs: number,
  ...cycle: [] | ['classic' | 'v1']
): Promise<Sample> {
  const cpuBefore = cpuMs(pid)
  const sample = await load.ask('cycle', port, CONNECTIONS, forMs, ...cycle)
  return { ...sample, serverUs: ((cpuMs(pid) - cpuBefore) / sample.requests) * 1000 }
}

/** What that server answers to each request of the cycle. */
export async function sampleAnswers(port: number): Promise<Answers> {
  const draw = await sampleAnswer(port, 'GET', '/keys')
  const { keyId } = JSON.parse(draw.body) as { keyId: string }
  const keepAlive = await sampleAnswer(port, 'PUT', `/keepalive/${keyId}`)
  const unblock = await sampleAnswer(port, 'PUT', `/keys/${keyId}`)
  return { draw, keepAlive, unblock }
}

async function sampleAnswer(port: number, method: string, path: string): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method })
  const body = await response.text()
  if (response.status !== 200) throw new Error(`${method} ${path}: ${response.status} ${body}`)
  const headers = [...response.headers].filter(([name]) => !NODE_HEADERS.has(name))
  return { headers: Object.fromEntries(headers), body }
}

/** The comparison is fair only while all send the same headers and as many bytes. */
async function checkSame(port: number, expected: Answers): Promise<void> {
  const shape = ({ draw, keepAlive, unblock }: Answers): Answer['headers'][] =>
    [draw, keepAlive, unblock].map(({ headers }) => headers)
  deepStrictEqual(shape(await sampleAnswers(port)), shape(expected))
}
