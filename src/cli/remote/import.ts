/** Keys from a file or stdin into a pool, a few at a time. */
import { createReadStream, statSync } from 'node:fs'
import { extname } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough, type Readable } from 'node:stream'
import { CsvError, parse } from 'csv-parse'
import { ConfigError } from '../config-error.ts'
import { durationMs } from '../config.ts'
import type { NewKey } from '../../http/contract/keys.ts'
import { Bar } from './bar.ts'
import { ApiError, path } from './api.ts'
import type { Call } from './command.ts'
import { suggestion } from '../suggest.ts'

export const FORMATS = ['csv', 'ndjson', 'text'] as const
type Format = (typeof FORMATS)[number]

const BY_NAME: Record<string, Format> = {
  '.csv': 'csv',
  '.ndjson': 'ndjson',
  '.jsonl': 'ndjson',
  '.txt': 'text',
}
const COLUMNS = ['value', 'name', 'lifetime', 'metadata']
const FIELDS = ['value', 'name', 'metadata', 'lifetimeMs']
/** In a request, so that no body is too large and the bar moves. */
const KEYS_AT_A_TIME = 1000
const CHARACTERS_AT_A_TIME = 2 ** 20
/** Duplicates that are told one by one. */
const TOLD = 10

interface Line {
  number: number
  key: NewKey
}

interface Created {
  keyIds: string[]
  skipped?: { index: number; keyId: string }[]
}

interface Duplicate {
  line: number
  keyId: string
}

export async function importKeys({ api, out, text, words }: Call): Promise<number> {
  const [pool, file = '-'] = words as [string, string | undefined]
  const format = (text('format') as Format | undefined) ?? BY_NAME[extname(file).toLowerCase()]
  if (format === undefined) {
    throw new ConfigError(
      `say what ${file === '-' ? 'stdin' : file} is: --format ${FORMATS.join(', ')}`,
    )
  }
  const source = file === '-' ? process.stdin : openFile(file)
  const bar = new Bar(file === '-' ? null : statSync(file).size)
  let bytes = 0
  source.on('data', (part: Buffer) => (bytes += part.length))
  const duplicates: Duplicate[] = []
  let imported = 0
  const send = async (lines: Line[]): Promise<void> => {
    const keys = lines.map(({ key }) => key)
    const { keyIds, skipped = [] } = await sent(lines, () =>
      api.ask<Created>('POST', path`/v1/pools/${pool}/keys`, { keys, onDuplicate: 'skip' }),
    )
    imported += keyIds.length
    for (const { index, keyId } of skipped) duplicates.push({ line: lines[index]!.number, keyId })
    bar.show(bytes, `${imported} imported, ${duplicates.length} there already`)
  }
  try {
    for await (const lines of groups(READERS[format](source.pipe(new PassThrough()))))
      await send(lines)
  } catch (error) {
    bar.clear()
    if (imported > 0)
      out.note(
        `${imported} keys are imported by now. Mend what is wrong and import again: they are passed over.`,
      )
    throw error
  }
  bar.clear()
  if (out.json) {
    await out.line({ imported, duplicates })
    return 0
  }
  await out.write(`imported ${imported} keys; ${duplicates.length} were there already\n`)
  for (const { line, keyId } of duplicates.slice(0, TOLD))
    out.note(`  line ${line}: key ${keyId} has that value`)
  if (duplicates.length > TOLD)
    out.note(`  and ${duplicates.length - TOLD} more: --json lists them all`)
  return 0
}

function openFile(file: string): Readable {
  try {
    if (statSync(file).isFile()) return createReadStream(file)
  } catch (error) {
    throw new ConfigError(`${file} cannot be read: ${(error as Error).message}`)
  }
  throw new ConfigError(`${file} is no file`)
}

async function* groups(lines: AsyncIterable<Line>): AsyncGenerator<Line[]> {
  let group: Line[] = []
  let characters = 0
  for await (const line of lines) {
    group.push(line)
    characters += JSON.stringify(line.key).length
    if (group.length < KEYS_AT_A_TIME && characters < CHARACTERS_AT_A_TIME) continue
    yield group
    group = []
    characters = 0
  }
  if (group.length > 0) yield group
}

/** What the server says of a key's place in the call is said of its line. */
async function sent(lines: Line[], ask: () => Promise<Created>): Promise<Created> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    const place = /^body\/keys\/(\d+)/.exec(error.detail)
    const number = place === null ? undefined : lines[Number(place[1])]?.number
    if (place === null || number === undefined) throw error
    throw new ApiError(error.code, `line ${number}: ${error.detail.slice(place[0].length + 1)}`)
  }
}

const READERS: Record<Format, (source: Readable) => AsyncIterable<Line>> = {
  csv: readCsv,
  ndjson: readNdjson,
  text: readText,
}

async function* readText(source: Readable): AsyncGenerator<Line> {
  let number = 0
  for await (const line of createInterface({ input: source, crlfDelay: Infinity })) {
    number++
    const value = (number === 1 ? withoutMark(line) : line).trim()
    if (value !== '') yield { number, key: { value } }
  }
}

async function* readNdjson(source: Readable): AsyncGenerator<Line> {
  let number = 0
  for await (const line of createInterface({ input: source, crlfDelay: Infinity })) {
    number++
    const text = number === 1 ? withoutMark(line) : line
    if (text.trim() !== '') yield { number, key: checked(parseJson(text, number), number) }
  }
}

interface Row {
  info: { lines: number }
  record: Record<string, string>
}

async function* readCsv(source: Readable): AsyncGenerator<Line> {
  const columns = (names: string[]): string[] =>
    names.map((name) => knownColumn(name.trim(), names))
  const parser = source.pipe(parse({ bom: true, columns, info: true, skip_empty_lines: true }))
  source.on('error', (error) => parser.destroy(error))
  try {
    for await (const { info, record } of parser as AsyncIterable<Row>) {
      const { value = '', name = '', lifetime = '', metadata = '' } = record
      const number = info.lines
      const lifetimeMs = lifetime === '' ? undefined : durationMs(lifetime)
      if (lifetime !== '' && lifetimeMs === undefined)
        throw new ConfigError(`line ${number}: the lifetime must be a duration like 60s, 5m or 1h`)
      const key = {
        value,
        ...(name === '' ? {} : { name }),
        ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
        ...(metadata === '' ? {} : { metadata: parseJson(metadata, number) }),
      }
      yield { number, key: checked(key, number) }
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    // Its message may quote a line, and with it a value.
    const what = error.code.replace(/^CSV_/, '').toLowerCase().replaceAll('_', ' ')
    throw new ConfigError(`line ${String(error.lines)}: it is no CSV (${what})`)
  }
}

function knownColumn(name: string, all: string[]): string {
  if (!COLUMNS.includes(name)) {
    // The first line may well be a value.
    const near = suggestion(name, COLUMNS)
    const what = near === '' ? '' : ` "${name}"`
    throw new ConfigError(
      `line 1 must name columns, of ${COLUMNS.join(', ')}; there is another${what}${near}`,
    )
  }
  if (!all.some((other) => other.trim() === 'value'))
    throw new ConfigError('line 1 names no column "value"')
  return name
}

function parseJson(text: string, number: number): object {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch {
    // As anything else that is no object.
  }
  throw new ConfigError(`line ${number}: it must be a JSON object`)
}

function checked(key: object, number: number): NewKey {
  const unknown = Object.keys(key).find((field) => !FIELDS.includes(field))
  if (unknown !== undefined) {
    const near = suggestion(unknown, FIELDS)
    const what = near === '' ? '' : ` "${unknown}"`
    throw new ConfigError(
      `line ${number}: a key has ${FIELDS.join(', ')}, and no other field${what}${near}`,
    )
  }
  const { value } = key as { value?: unknown }
  if (typeof value === 'string' && value !== '') return key as NewKey
  throw new ConfigError(`line ${number}: there is no value`)
}

/** A file may begin with a byte order mark. */
function withoutMark(line: string): string {
  return line.replace(/^\ufeff/, '')
}
