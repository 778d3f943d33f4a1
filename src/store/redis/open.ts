/** Connects to Redis, and looks whether it will do. */
import type { Address } from './address.ts'
import { Connection } from './connection.ts'
import { FORMAT, Layout, SHARDS_FORMAT } from './layout.ts'
import { type Links, linksTo } from './links.ts'
import { RedisError } from './redis-error.ts'
import { RedisStore, type RedisStoreOptions } from './redis-store.ts'
import { StoreFailure, type StoreEvents } from '../store.ts'

/** What it must be able to do came with it: sharded messages, and scripts that tell their errors. */
const LEAST_VERSION = 7
const FIND_MS = 3000

export interface RedisSetting extends Omit<RedisStoreOptions, 'connection' | 'layout'> {
  address: Address
  /** Of all names of keys, so that a Redis can be shared. */
  prefix: string
  /** So many replicas must have a change before it is answered. */
  replicas: number
}

/**
 * Opens the store. Told by `advise` is what in the settings of Redis may cost data.
 * @throws RedisError where it is too old, or holds the data of a newer version.
 * @throws StoreFailure where it cannot be reached or refuses.
 */
export async function openRedis(
  { address, prefix, replicas, ...options }: RedisSetting,
  events: StoreEvents,
  advise: (advice: string) => void,
): Promise<RedisStore> {
  const connection = await connect(address, replicas)
  const layout = new Layout(prefix)
  const store = new RedisStore({ ...options, connection, layout }, events)
  try {
    await checkFormat(connection, layout)
    for (const advice of await lookAtSettings(connection, replicas)) advise(advice)
    await store.start()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

/**
 * @throws RedisError where it is too old.
 * @throws StoreFailure where it cannot be reached or refuses.
 */
export async function connect(address: Address, replicas: number): Promise<Connection> {
  const connection = new Connection(await reach(address), replicas)
  try {
    await checkVersion(connection)
  } catch (error) {
    connection.links.close()
    throw error
  }
  return connection
}

/** One address may be that of a cluster's node. */
async function reach(address: Address): Promise<Links> {
  const links = linksTo(address)
  const node = await links.ready(0, performance.now() + FIND_MS)
  if (node === null) {
    links.close()
    throw new StoreFailure('store_unavailable', links.trouble ?? new Error('it does not answer'))
  }
  if (address.kind === 'cluster') return links
  const { host = '', port = 0, db = 0, sentinels, ...options } = address.options
  const cluster = await node.call('INFO', 'cluster').catch(() => '')
  if (sentinels !== undefined || !String(cluster).includes('cluster_enabled:1')) return links
  links.close()
  if (db !== 0) throw new RedisError('a cluster of Redis has one database, 0: leave the path out.')
  return reach({ kind: 'cluster', nodes: [{ host, port }], options })
}

async function checkVersion(connection: Connection): Promise<void> {
  for (const text of await connection.askAll('INFO', 'server')) {
    const version = /^redis_version:((\d+)\.\S+)/m.exec(String(text))
    if (version === null) continue // a service that does not tell
    if (Number(version[2]) >= LEAST_VERSION) continue
    throw new RedisError(`Redis ${version[1]!} is too old: it takes Redis 7 or Valkey 7.2.`)
  }
}

async function checkFormat(connection: Connection, layout: Layout): Promise<void> {
  await connection.write(layout.meta, 'HSETNX', 'format', FORMAT)
  await checkWhole(connection, layout)
}

/** @throws RedisError where there are no data, or none that this version reads, or not all. */
export async function checkWhole(connection: Connection, { meta }: Layout): Promise<void> {
  const told = await connection.read(meta, 'HMGET', 'format', 'incoming')
  const [format, incoming] = told as (string | null)[]
  if (typeof incoming === 'string') {
    throw new RedisError(
      'a migration to this Redis is under way or was broken off, so not all is there: let it end, run it again, or name another --redis-prefix.',
    )
  }
  if (format === null) throw new RedisError('there are no data in Redis under this prefix.')
  if (Number(format) >= FORMAT && Number(format) <= SHARDS_FORMAT) return
  throw new RedisError(
    `what is in Redis is of format ${format}, and this version reads ${String(FORMAT)} to ${String(SHARDS_FORMAT)}: ` +
      'start the version that wrote it, or name another --redis-prefix.',
  )
}

/** What in the settings of Redis may cost data, in words for who set it up. */
async function lookAtSettings(connection: Connection, replicas: number): Promise<string[]> {
  const wanted = ['appendonly', 'appendfsync', 'maxmemory-policy', 'min-replicas-to-write']
  const advice = new Set<string>()
  for (const told of await connection.askAll('CONFIG', 'GET', ...wanted)) {
    if (!Array.isArray(told)) {
      advice.add(`Redis does not tell its settings: see to ${wanted.join(', ')} yourself`)
      continue
    }
    const pairs = told as string[]
    const setting = (name: string): string | undefined => pairs[pairs.indexOf(name) + 1]
    if (setting('appendonly') === 'no')
      advice.add('appendonly is no: what was answered is lost when Redis stops')
    else if (setting('appendfsync') !== 'always')
      advice.add('appendfsync is not always: a power cut may lose what was answered of a second')
    if (setting('maxmemory-policy') !== 'noeviction')
      advice.add('maxmemory-policy is not noeviction: Redis may throw keys and leases away')
    if (replicas > 0 && Number(setting('min-replicas-to-write')) < replicas)
      advice.add(
        'min-replicas-to-write is below --redis-replicas: a primary that is cut off grants',
      )
  }
  return [...advice]
}
