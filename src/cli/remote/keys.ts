import { createWriteStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigError } from '../config-error.ts'
import { STATE_NAMES } from '../../engine/rows.ts'
import type { HistoryEntry, Key } from '../../http/contract/keys.ts'
import { path } from './api.ts'
import type { Call, Group } from './command.ts'
import type { Flag } from '../flags.ts'
import { FORMATS, importKeys } from './import.ts'
import { type Cell, stateCell } from './output.ts'
import { limitOf, LIMIT_FLAGS, secretWords } from './words.ts'

const AT_A_TIME = 10_000
const EXPORTED = [
  'keyId',
  'name',
  'metadata',
  'state',
  'hasValue',
  'createdAt',
  'expiresAt',
] as const
const EXPORT_FORMATS = ['csv', 'ndjson']
const STATE: Record<string, Flag> = {
  state: { placeholder: 'STATE', words: STATE_NAMES, help: 'only those' },
}
const BY_STDIN =
  'KEY is an id, or - to read ids from stdin, a line each: ids of plain keys are secrets.'

export const keys: Group = {
  summary:
    'The keys of a pool. No command shows the value of a key: only who leases it is given that.',
  commands: {
    list: {
      usage: 'POOL',
      summary: 'List keys',
      flags: { ...STATE, ...LIMIT_FLAGS },
      run: list,
    },
    show: { usage: 'POOL KEY', summary: 'Show a key', more: BY_STDIN, run: show },
    history: {
      usage: 'POOL KEY',
      summary: 'Show who held a key when and who changed what, the latest first',
      more: BY_STDIN,
      flags: LIMIT_FLAGS,
      run: history,
    },
    create: {
      usage: 'POOL',
      summary: 'Make keys, and write their ids',
      flags: {
        count: { placeholder: 'NUMBER', help: 'how many (1)' },
        prefix: { placeholder: 'TEXT', help: 'give them values that begin so' },
      },
      run: create,
    },
    import: {
      usage: 'POOL [FILE]',
      summary: 'Take in credentials that you hold, from a file or stdin',
      more: `csv:    a line of column names (value; if you like name, lifetime, metadata as JSON), then a key a line
ndjson: {"value", "name", "metadata", "lifetimeMs"} a line
text:   a value a line
Values that the pool has already are passed over, so that an import that broke off can be repeated.`,
      flags: {
        format: {
          placeholder: 'FORMAT',
          words: FORMATS,
          help: 'of the file, unless its name tells',
        },
      },
      run: importKeys,
    },
    export: {
      usage: 'POOL',
      summary: 'Write all keys, without their values',
      more: 'Ids of plain keys are secrets: a file is made for its owner only.',
      flags: {
        ...STATE,
        format: { placeholder: 'FORMAT', words: EXPORT_FORMATS, help: 'ndjson unless said' },
        output: { placeholder: 'FILE', short: 'o', help: 'where to; stdout unless said' },
      },
      run: exportKeys,
    },
    enable: {
      usage: 'POOL KEY...',
      summary: 'Let keys be leased again',
      more: BY_STDIN,
      flags: { 'end-rest': { help: 'at once, where they are cooling' } },
      run: (call) =>
        change(call, 'enabled', 'PATCH', '', {
          disabled: false,
          ...(call.isSet('end-rest') ? { coolingUntil: null } : {}),
        }),
    },
    disable: {
      usage: 'POOL KEY...',
      summary: 'Lease keys to nobody any more; who has one may finish',
      more: BY_STDIN,
      flags: { reason: { placeholder: 'TEXT', help: 'why, for others who look at them' } },
      run: (call) => {
        const reason = call.text('reason')
        return change(call, 'disabled', 'PATCH', '', {
          disabled: true,
          ...(reason === undefined ? {} : { reason }),
        })
      },
    },
    keepalive: {
      usage: 'POOL KEY...',
      summary: 'Put the death of keys off',
      more: BY_STDIN,
      run: (call) => change(call, 'kept alive', 'POST', '/keepalive'),
    },
    revoke: {
      usage: 'POOL KEY...',
      summary: 'Take keys from who holds them',
      more: BY_STDIN,
      run: (call) => change(call, 'revoked', 'DELETE', '/lease'),
    },
    delete: {
      usage: 'POOL KEY...',
      summary: 'Delete keys, leased or not',
      more: BY_STDIN,
      run: (call) => change(call, 'deleted', 'DELETE', ''),
    },
  },
}

const HEAD = ['KEY', 'NAME', 'STATE', 'HOLDER', 'UNTIL', 'DIES']

function cells({ keyId, name, state, lease, coolingUntil, expiresAt }: Key): Cell[] {
  return [keyId, name, stateCell(state), lease?.holder, lease?.expiresAt ?? coolingUntil, expiresAt]
}

function listing(pool: string, state: string | undefined): string {
  return path`/v1/pools/${pool}/keys` + (state === undefined ? '' : `?state=${state}`)
}

async function list(call: Call): Promise<undefined> {
  const { api, out, text, words } = call
  const path = listing(words[0]!, text('state'))
  await out.listing((most) => api.pages<Key>(path, 'keys', most), limitOf(call), HEAD, cells)
}

async function show({ api, out, words }: Call): Promise<undefined> {
  const [pool, id] = (await secretWords(words)) as [string, string]
  await out.record(await api.ask<Key>('GET', path`/v1/pools/${pool}/keys/${id}`))
}

const HISTORY_HEAD = ['AT', 'CHANGE', 'HOLDER', 'BY', 'OUTCOME', 'UNTIL', 'TOKEN']

async function history(call: Call): Promise<undefined> {
  const { api, out, words } = call
  const [pool, id] = (await secretWords(words)) as [string, string]
  const entries = path`/v1/pools/${pool}/keys/${id}/history`
  await out.listing(
    (most) => api.pages<HistoryEntry>(entries, 'entries', most),
    limitOf(call),
    HISTORY_HEAD,
    ({ at, change, holder, by, outcome, until, fencingToken }) => [
      ...[at, change, holder, by, outcome, until],
      fencingToken,
    ],
  )
}

async function create({ api, out, text, words: [pool] }: Call): Promise<undefined> {
  const count = text('count') ?? '1'
  const prefix = text('prefix')
  if (!/^[1-9]\d{0,7}$/.test(count))
    throw new ConfigError(`--count must be a whole number from 1, not "${count}"`)
  for (let left = Number(count); left > 0; left -= AT_A_TIME) {
    const some = { count: Math.min(left, AT_A_TIME), ...(prefix === undefined ? {} : { prefix }) }
    const { keyIds } = await api.ask<{ keyIds: string[] }>(
      'POST',
      path`/v1/pools/${pool!}/keys`,
      some,
    )
    for (const keyId of keyIds) await (out.json ? out.line({ keyId }) : out.write(`${keyId}\n`))
  }
}

async function exportKeys({ api, out, text, words: [pool] }: Call): Promise<undefined> {
  const isCsv = text('format') === 'csv'
  const pages = api.pages<Key>(listing(pool!, text('state')), 'keys')
  async function* lines(): AsyncGenerator<string> {
    if (isCsv) yield `${EXPORTED.join(',')}\n`
    for await (const page of pages) {
      yield page.map((key) => (isCsv ? csvRow(key) : `${JSON.stringify(exported(key))}\n`)).join('')
    }
  }
  const file = text('output')
  if (file === undefined) {
    for await (const text of lines()) await out.write(text)
    return
  }
  try {
    await pipeline(Readable.from(lines()), createWriteStream(file, { mode: 0o600, flags: 'wx' }))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST')
      throw new ConfigError(`${file} is there already; move it away first`)
    throw error
  }
}

function exported(key: Key): Partial<Key> {
  return Object.fromEntries(EXPORTED.map((field) => [field, key[field]]))
}

function csvRow(key: Key): string {
  const fields = EXPORTED.map((field) => {
    const value = key[field]
    const text =
      value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  })
  return `${fields.join(',')}\n`
}

/** The same to each key. It stops at the first that it cannot be done to. */
async function change(
  { api, out, words }: Call,
  done: string,
  method: string,
  action: string,
  body?: object,
): Promise<undefined> {
  const [pool, ...ids] = (await secretWords(words)) as [string, ...string[]]
  for (const id of ids) {
    const answer = await api.ask<object>(method, path`/v1/pools/${pool}/keys/${id}` + action, body)
    await out.done(`${done} ${id}`, { keyId: id, ...answer })
  }
}
