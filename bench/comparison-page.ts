/** What `compare` found as a page with plots, and as the JSON that it can be made of again. */
import { format, resolveConfig } from 'prettier'
import { aimsOf, type Cell, type Comparison, isMet, ratioOf } from './comparison.ts'
import { BATCH_CONNECTIONS, CONNECTIONS, leasesInBatch, sdkWorkers } from './contenders.ts'
import { barPlot, linePlot } from './plot.ts'
import { type Figure, figure, figureText, keysText, type Table } from './report.ts'

const OWN = ['classic', 'v1', 'batch', 'SDK', 'v1 over Redis']
/** Whose requests carry one lease or release each, so that their latencies can be held against each other. */
const isSingle = ({ contender }: Cell): boolean => !/batch|SDK|pipelined/.test(contender)

/** By name, in the folder of the documents. */
export async function filesOf(comparison: Comparison): Promise<Map<string, string>> {
  const options = await resolveConfig(import.meta.filename)
  const page = await format(pageOf(comparison), { ...options, parser: 'markdown' })
  const json = await format(JSON.stringify(comparison, null, 2), { ...options, parser: 'json' })
  return new Map([
    ['benchmarks.md', page],
    ['benchmarks.json', json],
    ...[false, true].flatMap((durable) => plotsOf(comparison, durable)),
  ])
}

export function tablesOf(comparison: Comparison): Table[] {
  return [false, true].flatMap((durable) => [
    throughput(comparison, durable),
    latency(comparison, durable),
  ])
}

/** The cells of each contender, by size. */
function byContender({ cells }: Comparison, durable: boolean): [string, Cell[]][] {
  const those = cells.filter((cell) => cell.durable === durable)
  return [...Map.groupBy(those, ({ contender }) => contender)]
}

function throughput(comparison: Comparison, durable: boolean): Table {
  return {
    title: `Leases and releases a second, ${durable ? 'durable' : 'in memory'}`,
    columns: comparison.sizes.map(keysText),
    rows: byContender(comparison, durable).map(([label, cells]) => ({
      label,
      cells: cells.map(({ perSecond }) => figure(perSecond)),
    })),
    notes: [],
  }
}

function latency(comparison: Comparison, durable: boolean): Table {
  const { sizes } = comparison
  return {
    title: `Latency in ms, ${durable ? 'durable' : 'in memory'}`,
    columns: [
      `p50, ${keysText(sizes.at(-1)!)}`,
      ...sizes.map((keys) => `p99, ${keysText(keys)}`),
      'p99, most to fewest keys',
      'load at work',
    ],
    rows: byContender(comparison, durable).map(([label, cells]) => {
      const [fewest, most] = [cells[0]!, cells.at(-1)!]
      const ratio: Figure | null = isSingle(most) ? ratioOf(most.p99, fewest.p99) : null
      return {
        label,
        cells: [
          figure(most.p50),
          ...cells.map(({ p99 }) => figure(p99)),
          ratio,
          figure(most.loadBusy),
        ],
      }
    }),
    notes: [],
  }
}

function plotsOf(comparison: Comparison, durable: boolean): [string, string][] {
  const where = durable ? 'durable' : 'memory'
  const kept = durable ? 'durable' : 'in memory'
  const keys = comparison.sizes.at(-1)!
  const contenders = byContender(comparison, durable)
  const bars = contenders
    .map(([label, cells]) => ({
      label,
      figure: figure(cells.at(-1)!.perSecond),
      own: OWN.includes(label),
    }))
    .sort((a, b) => b.figure.median - a.figure.median)
  const lines = contenders
    .filter(([, cells]) => isSingle(cells[0]!))
    .map(([label, cells]) => ({ label, figures: cells.map(({ p99 }) => figure(p99)) }))
  const xs = comparison.sizes.map((value) => ({ value, label: keysText(value) }))
  return [
    [
      `images/throughput-${where}.svg`,
      barPlot(`Leases and releases a second, ${keysText(keys)}, ${kept}`, bars),
    ],
    [`images/p99-${where}.svg`, linePlot(`p99 of one request in ms, ${kept}`, xs, lines)],
  ]
}

function markdown(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n')
}

function tableText({ title, columns, rows }: Table): string {
  const cells = rows.map((row) => [row.label, ...row.cells.map(figureText)])
  return `**${title}**\n\n${markdown(['', ...columns], cells)}`
}

function busyText(load: number): string {
  const text = `The load average of the minute before was ${load.toFixed(1)}`
  return load < 0.5
    ? `${text}: the machine had no other work.`
    : `**${text}: the machine had other work**, so these figures say little of what it can do.`
}

function pageOf(comparison: Comparison): string {
  const { machine, versions, sizes, rounds, seconds, fsyncMs } = comparison
  const [inMemory, latencyInMemory, durable, latencyDurable] = tablesOf(comparison)
  const aims = aimsOf(comparison).map((aim) => [
    aim.label,
    figureText(aim.ratio),
    isMet(aim) ? 'met' : '**missed**',
  ])
  const batches = sizes.map((keys) => `${leasesInBatch(keys)} with ${keysText(keys)}`)
  const workers = sizes.map((keys) => `${sdkWorkers(keys)} with ${keysText(keys)}`)
  const named = Object.entries(versions).map(([name, number]) => `${name} ${number}`)
  return `# Benchmarks: beside what would be used instead

Everything on this page is written by one command, from one run (${comparison.minutes} minutes), which anybody can repeat:

\`\`\`
${comparison.command}
\`\`\`

The work is the same for all: lease one of N keys, then release it, over and over. A figure is the median of ${rounds} rounds, with the
lowest and the highest in brackets. All servers with all their keys are there at once and take turns of ${seconds} s, one loaded at a
time, after a round that only warms up, and each turn begins with two seconds that do not count; ratios are taken within a round.
All samples are in [benchmarks.json](benchmarks.json).

- ${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}, ${machine.date.slice(0, 10)}. ${busyText(machine.load)}
- ${named.join(', ')}; the others as Debian has them.
- An fsync of 4 KiB takes ${figureText(fsyncMs)} ms on this disk.
- ${machine.pinned ? 'Each server, with all its threads and processes, is bound to core 0 and the load to core 1.' : 'Nothing is bound to a core: servers and load share all of them.'}

## What was aimed at

${markdown(['aim', 'ratio', ''], aims)}

## In memory

![Leases and releases a second, in memory](images/throughput-memory.svg)

${tableText(inMemory!)}

![p99 in memory](images/p99-memory.svg)

${tableText(latencyInMemory!)}

## Durable

![Leases and releases a second, durable](images/throughput-durable.svg)

${tableText(durable!)}

![p99, durable](images/p99-durable.svg)

${tableText(latencyDurable!)}

## Who is who

All are asked over TCP on the loopback interface. One lease or release a request, over ${CONNECTIONS} connections with one request on its way in each:

- **classic**, **v1**: this server; \`GET /keys\` and \`PUT /keys/:id?leaseId=\`, or a lease and its release with JSON bodies. In memory
  with \`--memory\`; durable with \`--data-dir\`, where an answer waits for the fsync of its change.
- **v1 over Redis**: this server with \`--redis\`, on the same core as its Redis.
- **Redis Lua**: two scripts by \`EVALSHA\` that lease and release (\`bench/redis.ts\`), with every advantage: ids made by the caller, and \`SPOP\`. As with
  PostgreSQL, who leases finds what is over its 60 s. In memory it saves nothing; durable it has \`appendfsync always\`.
- **PostgreSQL**: a row a key, drawn with \`FOR UPDATE SKIP LOCKED\` by an index, prepared statements, a transaction each, asked again where others were faster (\`bench/postgres-load.ts\`).
  \`synchronous_commit=on\`, \`shared_buffers=1GB\`, \`max_wal_size=4GB\`, the rest as it comes, autovacuum too. It gives the key that was free for longest, not a random one.
- **beanstalkd**: a job a key, reserve and release. Durable is \`-b -f0\`; but it writes neither a reserve nor a release to its log, so that its leases are
  forgotten when it stops, and nobody can lose what was never promised: it is no durable peer for this work.
- **bare node:http**: sends what this server once answered to the classic requests, as constants. It has no keys: how its figures differ between sizes is the noise of the machine.
- **naive server**: what one writes in an afternoon (\`bench/naive-server.ts\`): an array that is filtered for free keys, and a sweep every second.

Many leases and releases on their way, over ${BATCH_CONNECTIONS} connections; a latency is that of the whole batch or pipeline:

- **batch**: leases and as many releases in one request, one acquire with a count: ${batches.join(', ')}.
- **Redis Lua, pipelined**: the same scripts, as many leases and releases in a pipeline; a call for each, or for up to 200 of them.
- **SDK**: workers of one process that lease by \`withKey\` and give back (${workers.join(', ')}); calls are joined to batches. A latency is that of a lease with its
  release as the worker sees it.

With few keys, batches and workers are fewer, so that nobody finds the pool empty: across sizes only those with one request on its way can be compared.

## What this does not say

- The machine decides more than it should. On 2026-11-26 an AMD EPYC gave 0.77, 0.53, 7.9, 5.4 and 4.0 for the first five aims, with 84 thousand a second of bare node:http. An Intel Xeon,
  hours later and with a server that had become quicker, gave 0.46, 0.38, 6.0, 3.6 and 3.1, with 58 thousand; and with one that had become quicker again 0.53, 0.39, 5.5, 4.0 and 3.3, with 70.
- One machine, loopback, no TLS, no access tokens. Over a real network all that ask for one key at a time are closer together.
- The load is one process on one core. Where it was at work for nearly all of its time (\`load at work\` near 1) it is what was measured, and the server could do more.
- One core for each server. PostgreSQL, and this server's journal, would use more; Redis and beanstalkd hardly.
- Saturated servers: latency is mostly queueing, so p99 says how even the work is, not how fast one request can be.
- Nobody else asks for anything: no expiries, no waiting, no pools beside this one. What this server does beyond the others (random draws, deadlines that are exact,
  cooldowns, fencing tokens that survive a restore) is not in their figures, nor are their other strengths: PostgreSQL has your data beside the lease, Redis and beanstalkd are likely there already.
`
}
