/** What a server and its pools are at, once or all the time. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../config-error.ts'
import type { Pool, ShownPool } from '../../http/contract/pools.ts'
import { type Api, ApiError, path } from './api.ts'
import type { Call, Command } from './command.ts'
import { type Cell, type Output, stateCell, styledText, tableOf } from './output.ts'
import { durationOf } from './words.ts'

const DEFAULT_INTERVAL_MS = 2000
const LEAST_INTERVAL_MS = 100
/** Each is a request. */
const MOST_POOLS = 50
const AT_A_TIME = 8
const OTHER_SCREEN = '\x1b[?1049h'
const BACK = '\x1b[?1049l'
const CLEAR = '\x1b[H\x1b[J'
const HEAD = ['POOL', 'AVAILABLE', 'LEASED', 'COOLING', 'DISABLED', 'WAITING', 'NEXT AVAILABLE']

export const status: Command = {
  usage: '[POOL...]',
  summary: 'Show what a server and its pools are at',
  more: `On a terminal the table is kept up to date until Ctrl-C; elsewhere it is written once.
Without names it shows the first ${MOST_POOLS} pools.`,
  flags: {
    interval: { placeholder: 'DURATION', help: 'between two looks (2s)' },
    once: { help: 'on a terminal too' },
  },
  run,
}

interface Shown {
  url: string
  /** As /readyz says. */
  status: string
  pools: ShownPool[]
}

async function run(call: Call): Promise<undefined> {
  const { api, out, words } = call
  const intervalMs = durationOf(call, 'interval') ?? DEFAULT_INTERVAL_MS
  if (intervalMs < LEAST_INTERVAL_MS) throw new ConfigError('--interval must be 100ms at least')
  const isLive = process.stdout.isTTY && !call.isSet('once') && !out.json
  if (!isLive) {
    const shown = await look(api, words)
    await (out.json ? out.line(shown) : out.write(textOf(shown)))
    return
  }
  await watch(api, words, intervalMs, out)
}

/** On a screen of its own, which is gone at the end. */
async function watch(api: Api, names: string[], intervalMs: number, out: Output): Promise<void> {
  const stopped = new AbortController()
  process.once('SIGINT', () => {
    stopped.abort()
  })
  let text = ''
  await out.write(OTHER_SCREEN)
  try {
    while (!stopped.signal.aborted) {
      // A server that is away for a while comes back.
      text = await look(api, names).then(textOf, textOfFault)
      const foot = styledText('dim', `${new Date().toISOString()}, Ctrl-C ends it`)
      const { rows } = process.stdout // 0 where the terminal does not know
      const lines = `${text}\n${foot}`.split('\n').slice(0, rows > 0 ? rows : Infinity)
      await out.write(CLEAR + lines.join('\n'))
      await sleep(intervalMs, null, { signal: stopped.signal }).catch(() => null)
    }
  } finally {
    await out.write(BACK)
  }
  await out.write(text)
}

async function look(api: Api, names: string[]): Promise<Shown> {
  const status = await api.readiness()
  const wanted = names.length > 0 ? names : await firstPools(api)
  const pools: ShownPool[] = []
  for (let at = 0; at < wanted.length; at += AT_A_TIME) {
    const some = wanted.slice(at, at + AT_A_TIME)
    const ask = (name: string): Promise<ShownPool> => api.ask('GET', path`/v1/pools/${name}`)
    pools.push(...(await Promise.all(some.map(ask))))
  }
  return { url: api.url, status, pools }
}

async function firstPools(api: Api): Promise<string[]> {
  for await (const page of api.pages<Pool>('/v1/pools', 'pools', MOST_POOLS))
    return page.map(({ name }) => name)
  return []
}

function textOf({ url, status, pools }: Shown): string {
  const rows = pools.map(({ name, counts, waiters, nextAvailableAt, unavailable }): Cell[] => [
    unavailable === null ? name : { text: name, style: 'red' },
    counts.available,
    counts.leased,
    counts.cooling,
    counts.disabled,
    waiters,
    unavailable === null ? 'now' : nextAvailableAt,
  ])
  const state = stateCell(status)
  const shown =
    typeof state === 'object' && state !== null ? styledText(state.style, state.text) : status
  return `${url} is ${shown}\n\n${tableOf(HEAD, rows)}`
}

function textOfFault(error: unknown): string {
  if (error instanceof ApiError && error.code === 'unreachable') return `${error.message}\n`
  throw error
}
