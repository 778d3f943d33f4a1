/** The largest imports and creates: how long others have to wait for a turn meanwhile. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { RealServer } from './real-server.ts'
import { figureOf, type Table } from './report.ts'

const KEYS = 10_000
/** So that what went before is over, and what came of it is seen. */
const APART_MS = 150

interface Sample {
  longestMs: number
  tookMs: number
}

let made = 0

function values(count: number, length: number, more: object = {}): object {
  const keys = Array.from({ length: count }, () => {
    const number = ++made
    return { value: `sk-${number}-${'x'.repeat(length)}`, name: `account ${number}`, ...more }
  })
  return { keys }
}

const REQUESTS: Record<string, () => object> = {
  'plain keys': () => ({ count: KEYS }),
  'made with a prefix': () => ({ count: KEYS, prefix: 'acme_live' }),
  'imported, 50 bytes each': () => values(KEYS, 40),
  'imported, 400 bytes each, with metadata': () =>
    values(KEYS, 390, { metadata: { region: 'eu', tags: ['a', 'b'] } }),
  'imported, 500 of 16 KiB': () => values(500, 16_000),
}

export async function imports(quick: boolean): Promise<Table[]> {
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'imports-bench-'))
  try {
    return [await measure(quick, join(directory, 'data'))]
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

async function measure(quick: boolean, dataDir: string): Promise<Table> {
  const rounds = quick ? 1 : 15
  await using server = await RealServer.start(0, { dataDir, preload: 'delay-probe.ts' })
  const samples: Record<string, Sample[]> = {}
  for (let round = 0; round <= rounds; round++) {
    for (const [label, body] of Object.entries(REQUESTS)) {
      const sample = await create(server, JSON.stringify(body()))
      if (round > 0) (samples[label] ??= []).push(sample) // the first one only warms up
    }
  }
  const rows = Object.entries(samples).map(([label, runs]) => ({
    label,
    cells: [figureOf(runs, 'longestMs'), figureOf(runs, 'tookMs')],
  }))
  return {
    title: `Creates and imports of up to ${KEYS} keys in one request, durable`,
    columns: ['longest stop of the event loop, ms', 'answered after, ms'],
    rows,
    notes: ['Garbage collection counts.'],
  }
}

async function create(server: RealServer, body: string): Promise<Sample> {
  await sleep(APART_MS)
  await server.ask('begin')
  const start = performance.now()
  const response = await fetch(`http://127.0.0.1:${server.port}/v1/pools/default/keys`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  const text = await response.text()
  if (response.status !== 201) throw new Error(`not created: ${text.slice(0, 500)}`)
  const tookMs = performance.now() - start
  await sleep(APART_MS)
  return { longestMs: await server.ask('end'), tookMs }
}
