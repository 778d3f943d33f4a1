/** Copies all that one store keeps into another, of whatever engine, and compares them. */
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from './config-error.ts'
import { readAs } from './config.ts'
import type { CopiedPool } from '../engine/copies.ts'
import { ERRORS } from '../engine/errors.ts'
import { MAX_SHARDS } from '../engine/policy.ts'
import { Log } from '../log.ts'
import { documentsToCopy } from '../service/vault.ts'
import { EmbeddedCopy } from '../store/embedded/sqlite/copy.ts'
import { EmbeddedOriginal } from '../store/embedded/sqlite/original.ts'
import { DATABASE_FILE } from '../store/embedded/sqlite/format.ts'
import {
  compare,
  type Copy,
  copyAll,
  type Original,
  type PoolReport,
  type Progress,
  survey,
  type Wanted,
} from '../store/migration.ts'
import { type Address, parseAddress } from '../store/redis/address.ts'
import { RedisError } from '../store/redis/redis-error.ts'
import { StoreFailure } from '../store/store.ts'
import { OWN_FILE, readKeys } from './encryption-keys.ts'
import { Bar } from './remote/bar.ts'
import { type Flag, flagsHelp, readFlags } from './flags.ts'

const PREFIX = readAs('redisPrefix', 'redis-prefix')
/** A server that is at work says so every second. */
const SERVED_MS = 2500

export const MIGRATE_FLAGS: Record<string, Flag> = {
  from: {
    placeholder: 'DIRECTORY|URL',
    help: 'the data directory, or the URL of Redis, to copy (TOKEN_ORCHESTRATOR_FROM)',
  },
  to: {
    placeholder: 'DIRECTORY|URL',
    help: 'where to, in which there are no data yet (TOKEN_ORCHESTRATOR_TO)',
  },
  'from-prefix': { placeholder: 'TEXT', help: `--redis-prefix of the servers there (${PREFIX})` },
  'to-prefix': { placeholder: 'TEXT', help: `--redis-prefix of the servers to come (${PREFIX})` },
  shards: {
    placeholder: 'POOL=NUMBER,...',
    help: 'in how many parts Redis is to keep the keys of pools (as many as they have)',
  },
  'redis-replicas': {
    placeholder: 'NUMBER',
    help: 'replicas that must have what is written to Redis (0)',
  },
  'encryption-key-file': {
    placeholder: 'FILE',
    help: `the encryption key of the values (${OWN_FILE} in the directory that is copied)`,
  },
  'dry-run': { help: 'read and check everything, write nothing' },
}

export const MIGRATE_HELP = `Usage: token-orchestrator migrate --from DIRECTORY|URL --to DIRECTORY|URL [options]

Copies all pools, keys, leases and access tokens, and compares both sides afterwards. All servers
of both sides must be stopped. What is copied stays as it is; start no server on it again.

${flagsHelp(MIGRATE_FLAGS)}
`

interface Setting {
  from: Place
  to: Place
  /** By name those that are to have another number than they have. */
  shards: ReadonlyMap<string, number>
  replicas: number
  keyFile: string | undefined
  isDry: boolean
}

/** What there is to copy, `servedAt` included: when a server was last at work on it. */
interface Found {
  wanted: Wanted
  total: number
  servedAt: number | null
}

/** Where data are: in a directory, or in Redis. */
type Place = { directory: string } | { address: Address; prefix: string; urls: string }

/**
 * @returns the exit code.
 * @throws ConfigError, JournalError, MasterKeyError, RedisError
 */
export async function migrate(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const setting = read(args, env)
  try {
    await using original = closing(await openOriginal(setting.from))
    return await migrateFrom(original.store, setting)
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error
    throw new RedisError(`${ERRORS[error.code].title} (${error.message})`)
  }
}

async function migrateFrom(original: Original, setting: Setting): Promise<number> {
  const servedAt = await idleSince(original)
  const documents = documentsToCopy(
    await original.documents(),
    await original.holdsValues(),
    masterKeys(setting),
  )
  const wanted = { documents, pools: reshard(await original.pools(), setting.shards) }
  const total = await sizeOf(original)
  if (setting.isDry) {
    await checkTarget(setting)
    const pools = await shown('reading', total, (progress) => survey(original, progress))
    say(`${summary(pools)}\nNothing was written: this was a dry run.`)
    return 0
  }
  await using copy = closing(await openCopy(setting))
  try {
    return await fill(original, copy.store, { wanted, total, servedAt })
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error
    throw new RedisError(
      `Redis failed (${error.message}): the copy is not whole, and servers refuse it. Run the migration again.`,
    )
  }
}

async function fill(
  original: Original,
  copy: Copy,
  { wanted, total, servedAt }: Found,
): Promise<number> {
  await shown('copying', total, (progress) => copyAll(original, copy, wanted, progress))
  const { differences, pools } = await shown('comparing', 2 * total, async (progress) =>
    compare(original, await copy.look(original.instant), wanted, progress),
  )
  if ((await original.servedAt()) !== servedAt) {
    differences.push('a server was at work meanwhile on what was copied')
  }
  if (differences.length > 0) {
    process.stderr.write(
      'token-orchestrator: the copy is not what was copied, and not to be used:\n',
    )
    for (const difference of differences) process.stderr.write(`  ${difference}\n`)
    return 1
  }
  await copy.finish()
  say(
    `${summary(pools)}\nBoth sides were compared and are the same. Start no server on the old one again:`,
  )
  say('its keys would have two holders.')
  return 0
}

function read(args: string[], env: NodeJS.ProcessEnv): Setting {
  const given = readFlags(args, MIGRATE_FLAGS).values
  const text = (name: string): string | undefined => given[name] as string | undefined
  const from = placeOf('from', text('from') ?? env.TOKEN_ORCHESTRATOR_FROM, text('from-prefix'))
  const to = placeOf('to', text('to') ?? env.TOKEN_ORCHESTRATOR_TO, text('to-prefix'))
  if (isSame(from, to)) throw new ConfigError('--from and --to are the same place')
  const shards = readShards(text('shards'))
  const replicas = readAs('redisReplicas', 'redis-replicas', text('redis-replicas'))
  const keyFile = text('encryption-key-file') ?? env.TOKEN_ORCHESTRATOR_ENCRYPTION_KEY_FILE
  return { from, to, shards, replicas, keyFile, isDry: given['dry-run'] === true }
}

function readShards(text = ''): Map<string, number> {
  const shards = new Map<string, number>()
  for (const part of text === '' ? [] : text.split(',')) {
    const [, name, number] = /^([^=]+)=(\d{1,2})$/.exec(part.trim()) ?? []
    if (name === undefined || !(Number(number) >= 1 && Number(number) <= MAX_SHARDS))
      throw new ConfigError(
        `--shards must be pools with 1 to ${String(MAX_SHARDS)}, like llm=4,seats=1, not "${part}"`,
      )
    shards.set(name, Number(number))
  }
  return shards
}

function reshard(pools: CopiedPool[], shards: ReadonlyMap<string, number>): CopiedPool[] {
  const names = new Set(pools.map(({ name }) => name))
  const missing = [...shards.keys()].find((name) => !names.has(name))
  if (missing !== undefined)
    throw new ConfigError(`--shards: there is no pool "${missing}" in what is copied`)
  return pools.map((pool) => {
    const { policy, name } = pool
    return { ...pool, policy: { ...policy, shards: shards.get(name) ?? policy.shards } }
  })
}

function placeOf(flag: string, text = '', prefix: string | undefined): Place {
  if (text === '') throw new ConfigError(`--${flag} is missing: name a data directory, or a Redis`)
  if (!text.includes('://')) {
    if (prefix === undefined) return { directory: text }
    throw new ConfigError(`--${flag}-prefix is for a Redis, and --${flag} is a directory`)
  }
  const redisPrefix = readAs('redisPrefix', `${flag}-prefix`, prefix)
  try {
    const urls = text.split(',').map((url) => url.trim())
    return { address: parseAddress(urls), prefix: redisPrefix, urls: urls.join() }
  } catch (error) {
    throw new ConfigError(`--${flag}: ${(error as Error).message}`)
  }
}

/** As far as the names tell; a Redis that has two is not empty. */
function isSame(from: Place, to: Place): boolean {
  if ('directory' in from) return 'directory' in to && realOf(from) === realOf(to)
  return !('directory' in to) && from.urls === to.urls && from.prefix === to.prefix
}

function realOf({ directory }: { directory: string }): string {
  return existsSync(directory) ? realpathSync(directory) : directory
}

async function openOriginal(from: Place): Promise<Original> {
  if ('directory' in from) return EmbeddedOriginal.open(from.directory, Date.now())
  // Whoever has no Redis need not wait for its client.
  const { RedisOriginal } = await import('../store/redis/original.ts')
  return RedisOriginal.open(from.address, from.prefix)
}

async function openCopy({ to, replicas }: Setting): Promise<Copy> {
  if ('directory' in to) return new EmbeddedCopy(to.directory)
  const { RedisCopy } = await import('../store/redis/copy.ts')
  return RedisCopy.open(to.address, to.prefix, replicas)
}

/** Whether it can be copied to, where it is there already. */
async function checkTarget(setting: Setting): Promise<void> {
  const { to } = setting
  if ('directory' in to && !existsSync(join(to.directory, DATABASE_FILE))) return
  const copy = await openCopy(setting)
  await copy.close()
}

function masterKeys({ from, keyFile }: Setting): Buffer[] {
  const own = 'directory' in from ? join(from.directory, OWN_FILE) : undefined
  const file = keyFile ?? (own !== undefined && existsSync(own) ? own : undefined)
  return file === undefined
    ? []
    : readKeys(file, new Log('warn', (line) => process.stderr.write(line)))
}

/** When a server was last at work on it. @throws RedisError where one is. */
async function idleSince(original: Original): Promise<number | null> {
  const before = await original.servedAt()
  if (before === null) return null
  await sleep(SERVED_MS)
  if ((await original.servedAt()) === before) return before
  throw new RedisError(
    'a server is at work on the Redis that is to be copied: stop all servers first.',
  )
}

async function sizeOf(original: Original): Promise<number> {
  let total = 0
  for (const pool of await original.pools()) total += await original.size(pool)
  return total
}

async function shown<T>(
  what: string,
  total: number,
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  const bar = new Bar(total)
  try {
    return await work((done) => {
      bar.show(done, `${what} ${String(done)} of ${String(total)} keys`)
    })
  } finally {
    bar.clear()
  }
}

function summary(pools: readonly PoolReport[]): string {
  const lines = pools.map(({ name, keys, states }) => {
    const counts = Object.entries(states).map(([state, count]) => `${String(count)} ${state}`)
    return `${name}: ${String(keys)} keys, ${counts.join(', ')}`
  })
  const total = pools.reduce((sum, { keys }) => sum + keys, 0)
  return [...lines, `${String(total)} keys in ${String(pools.length)} pools.`].join('\n')
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function closing<T extends Original | Copy>(store: T): { store: T } & AsyncDisposable {
  return { store, [Symbol.asyncDispose]: () => store.close() }
}
