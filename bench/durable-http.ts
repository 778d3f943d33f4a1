/** The server over HTTP with its state on disk beside itself in memory, one loaded at a time, in turns. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canPin, Child, cpuMs, LOAD_CORE } from './child.ts'
import type { LoadTasks } from './http-load.ts'
import { RealServer } from './real-server.ts'
import { type Figure, figure, figureOf, keysText, type Table } from './report.ts'

const CONNECTIONS = [1, 64, 256]
const MOST = 256
const DELAY_MS = 2

type Sample = Awaited<ReturnType<LoadTasks['cycle']>> & { serverUs: number }
/** What is measured in turns: so many connections to that server. */
interface Contender {
  server: RealServer
  connections: number
  samples: Sample[]
}

export async function durableHttp(quick: boolean, directory: string): Promise<Table> {
  const keys = quick ? 100_000 : 1_000_000
  const [rounds, forMs] = quick ? [1, 300] : [7, 1500]
  await using stack = new AsyncDisposableStack()
  const start = async (name: string, under: string[]): Promise<RealServer> =>
    stack.use(await RealServer.start(keys, { dataDir: join(directory, name), under, core: null }))
  const memory = stack.use(await RealServer.start(keys, { core: null }))
  const durable = await start('http', [])
  const slowly = slowFsync(directory)
  const delayed = slowly === null ? null : await start('http-slow', slowly)

  const inMemory = CONNECTIONS.map((connections) => contender(memory, connections))
  const onDisk = CONNECTIONS.map((connections) => contender(durable, connections))
  if (delayed !== null) onDisk.push(contender(delayed, MOST))
  const load = stack.use(new Child<LoadTasks>('http-load.ts', LOAD_CORE))
  for (let round = 0; round <= rounds; round++) {
    const all = [...inMemory, ...onDisk].sort((a, b) => a.connections - b.connections)
    if (round % 2 === 1) all.reverse() // nobody is always the one after another
    for (const { server, connections, samples } of all) {
      const cpuBefore = cpuMs(server.pid)
      const sample = await load.ask('cycle', server.port, connections, forMs)
      const serverUs = ((cpuMs(server.pid) - cpuBefore) / sample.requests) * 1000
      if (round > 0) samples.push({ ...sample, serverUs }) // the first one only warms up
    }
  }
  return table(keys, inMemory, onDisk)
}

function contender(server: RealServer, connections: number): Contender {
  return { server, connections, samples: [] }
}

function table(keys: number, inMemory: Contender[], onDisk: Contender[]): Table {
  const rivals = onDisk.map(({ connections }) =>
    inMemory.find((other) => other.connections === connections)!,
  )
  const rows = (label: string, key: keyof Sample): Table['rows'] => [
    { label: `${label}, in memory`, cells: rivals.map(({ samples }) => figureOf(samples, key)) },
    { label: `${label}, durable`, cells: onDisk.map(({ samples }) => figureOf(samples, key)) },
  ]
  const ratios = onDisk.map(({ samples }, at): Figure => {
    const others = rivals[at]!.samples
    return figure(samples.map((run, round) => run.perSecond / others[round]!.perSecond))
  })
  return {
    title: `HTTP: draw, keep-alive, unblock, durable beside in memory, ${keysText(keys)}`,
    columns: onDisk.map(({ connections }, at) => {
      const words = connections === 1 ? '1 connection' : `${connections} connections`
      return at < CONNECTIONS.length ? words : `${words}, fsync ${DELAY_MS} ms slower`
    }),
    rows: [
      ...rows('requests/s', 'perSecond'),
      { label: 'ratio of durable to in memory', cells: ratios },
      ...rows('CPU time of the server, µs a request', 'serverUs'),
      ...rows('latency p50, ms', 'p50'),
      ...rows('latency p99, ms', 'p99'),
      ...rows('share of its time that the load works', 'loadBusy'),
    ],
    notes: [
      canPin
        ? 'Servers may use all cores, so that a journal is not in its own way; the load is bound to one.'
        : 'Servers, their journals and the load share all cores.',
      onDisk.length > CONNECTIONS.length
        ? 'The slow fsync sleeps after the real one, in the thread of the journal only.'
        : 'A slow fsync could not be tried: there is no C compiler here.',
    ],
  }
}

/**
 * Builds what makes every fsync slower by that. Null: there is no C compiler. (strace could do it too, but a
 * traced server is slower by more than that.)
 */
function slowFsync(directory: string): string[] | null {
  const library = join(directory, 'slow-fsync.so')
  const source = fileURLToPath(new URL('slow-fsync.c', import.meta.url))
  const args = ['-shared', '-fPIC', `-DDELAY_MS=${DELAY_MS}`, '-o', library, source, '-ldl']
  return spawnSync('cc', args).status === 0 ? ['env', `LD_PRELOAD=${library}`] : null
}
