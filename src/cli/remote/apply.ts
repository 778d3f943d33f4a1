/** Pools as a file says: what differs is made or changed, and nothing is deleted. */
import { readFileSync } from 'node:fs'
import { text as textOf } from 'node:stream/consumers'
import { ConfigError } from '../config-error.ts'
import { DEFAULT_POLICY, type Policy, POOL_NAME } from '../../engine/policy.ts'
import type { Pool } from '../../http/contract/pools.ts'
import { path } from './api.ts'
import type { Call, Command } from './command.ts'
import { type Style, styledText } from './output.ts'
import { POLICY_FIELDS, policyText, readPolicy } from './policy.ts'
import { suggestion } from '../suggest.ts'

export const apply: Command = {
  usage: '',
  summary: 'Make pools be as a file says',
  more: `The file names pools and what is not default of their policies:

  pools:
    llm: { keyLifetimeMs: never, cooldownMs: 1s }
    seats: { maxKeys: 5 }

What is there and not in the file stays. A second time changes nothing.`,
  flags: {
    file: { placeholder: 'FILE', short: 'f', help: 'YAML or JSON; - is stdin' },
    'dry-run': { help: 'only tell what would be changed' },
  },
  run,
}

/** A pool that is there has the shards that it has. */
type Wanted = Omit<Policy, 'shards'> & { shards: number | undefined }

interface Change {
  pool: string
  action: 'create' | 'change' | 'none'
  /** What of its policy is another after it. */
  fields: { field: keyof Policy; from: number | null; to: number | null }[]
}

const MARKS: Record<Change['action'], [string, Style]> = {
  create: ['+', 'green'],
  change: ['~', 'yellow'],
  none: ['=', 'dim'],
}

async function run({ api, out, text: flag, isSet }: Call): Promise<undefined> {
  const file = flag('file')
  if (file === undefined) throw new ConfigError('name the file: -f FILE')
  const text = file === '-' ? await textOf(process.stdin) : readFile(file)
  const wanted = readPools(await parse(text, file), file)
  // All are looked at before any is changed.
  const changes: Change[] = []
  for (const [pool, policy] of wanted) {
    const found = await api.find<Pool>(path`/v1/pools/${pool}`, 'pool_not_found')
    changes.push(changeOf(pool, found?.policy ?? null, policy))
  }
  const isDry = isSet('dry-run')
  for (const change of changes) {
    if (!isDry && change.action !== 'none')
      await api.ask('PUT', path`/v1/pools/${change.pool}`, wanted.get(change.pool))
    await (out.json ? out.line({ ...change, applied: !isDry }) : out.write(linesOf(change)))
  }
  if (out.json) return
  const count = (action: Change['action']): number =>
    changes.filter((change) => change.action === action).length
  const would = isDry ? 'would be ' : ''
  await out.write(
    `${count('create')} pools ${would}made, ${count('change')} ${would}changed, ${count('none')} as they are\n`,
  )
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(`${file} cannot be read: ${(error as Error).message}`)
  }
}

/** The whole policy of each pool, but for `shards` where nothing is said of them. @throws ConfigError that names the place. */
function readPools(whole: unknown, file: string): Map<string, Wanted> {
  if (!isObject(whole) || !isObject(whole.pools))
    throw new ConfigError(`${file} must have "pools", with the pools by their names below it`)
  const other = Object.keys(whole).find((name) => name !== 'pools')
  if (other !== undefined)
    throw new ConfigError(`${file} has no place for "${other}"${suggestion(other, ['pools'])}`)
  return new Map(
    Object.entries(whole.pools).map(([name, policy]) => {
      const place = `${file}: ${name}`
      if (!POOL_NAME.test(name))
        throw new ConfigError(
          `${place} is no name: 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit`,
        )
      if (policy !== null && !isObject(policy))
        throw new ConfigError(`${place} must have the fields of a policy below it`)
      return [name, { ...DEFAULT_POLICY, shards: undefined, ...readPolicy(policy ?? {}, place) }]
    }),
  )
}

async function parse(text: string, file: string): Promise<unknown> {
  const { parseDocument } = await import('yaml') // which no other command has to load
  const document = parseDocument(text)
  const [fault] = [...document.errors, ...document.warnings]
  if (fault !== undefined) throw new ConfigError(`${file}: ${fault.message.split('\n')[0]!}`)
  try {
    return document.toJS()
  } catch (error) {
    // An alias of nothing, or of too much.
    throw new ConfigError(`${file}: ${(error as Error).message}`)
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function changeOf(pool: string, found: Policy | null, asked: Wanted): Change {
  const from = found ?? DEFAULT_POLICY
  const wanted = { ...asked, shards: asked.shards ?? from.shards }
  const fields = POLICY_FIELDS.filter((field) => from[field] !== wanted[field]).map((field) => ({
    field,
    from: from[field],
    to: wanted[field],
  }))
  const action = found === null ? 'create' : fields.length > 0 ? 'change' : 'none'
  return { pool, action, fields }
}

function linesOf({ pool, action, fields }: Change): string {
  const [mark, style] = MARKS[action]
  const lines = fields.map(({ field, from, to }) => {
    const before = action === 'create' ? '' : `${policyText(field, from)} -> `
    return `    ${field}: ${before}${policyText(field, to)}`
  })
  return [styledText(style, `${mark} ${pool}`), ...lines].map((line) => `${line}\n`).join('')
}
