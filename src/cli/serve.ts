import { resolve } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { type Clock, SystemClock } from '../clock.ts'
import { ConfigError } from './config-error.ts'
import { type Config, isLoopback, readConfig, settingsHelp } from './config.ts'
import { ERRORS } from '../engine/errors.ts'
import type { Policy } from '../engine/policy.ts'
import { encryptionKeys } from './encryption-keys.ts'
import type { HistoryLimits } from '../engine/history.ts'
import { HttpServer } from '../http/server.ts'
import type { TableLimits } from '../engine/tables.ts'
import { Log } from '../log.ts'
import { SystemRandom } from '../random.ts'
import { Access, FILE_TOKEN } from '../service/access.ts'
import { Orchestrator } from '../service/orchestrator.ts'
import { parseAddress } from '../store/redis/address.ts'
import { EmbeddedStore } from '../store/embedded/embedded-store.ts'
import { SqliteJournal } from '../store/embedded/sqlite/sqlite-journal.ts'
import { type Store, type StoreEvents, StoreFailure } from '../store/store.ts'
import { readAdminSecret, readTls } from './files.ts'
import { logProgress } from './progress.ts'
import { startTracing } from './tracing.ts'

const MAX_POOLS = 100_000
/** Below this a server that cannot reserve memory gives up. */
const FEWEST_TOTAL_KEYS = 65_536
/** Letters of a key's id that a log may show. */
const LOGGED_ID = 8

export const SERVE_HELP = `Usage: token-orchestrator serve [options]

Starts the server. Each option is an environment variable too: --key-lifetime is
TOKEN_ORCHESTRATOR_KEY_LIFETIME.

${settingsHelp()}
`

/**
 * Runs a server until a signal ends it. @returns the exit code.
 * @throws ConfigError, JournalError, MasterKeyError, StoreFailure
 */
export async function serve(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const config = readConfig(args, env)
  // Else V8 forgets what it has compiled of what was not called for some collections, and who comes after a quiet minute waits
  // until it is compiled again.
  setFlagsFromString('--no-flush-bytecode')
  // Holders are still to be served where nobody reads the log any more.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  const log = new Log(config.logLevel, (line) => process.stdout.write(line))
  const tls = readTls(config, log)
  const secret = readAdminSecret(config, log)
  const tracing = await startTracing(env, log)
  const stopped = signalled()
  const clock = new SystemClock()
  const orchestrator = await Orchestrator.start(
    clock,
    (events) => openStore(config, clock, events, log),
    {
      policy: givenPolicy(config),
      masterKeys: (needed) => encryptionKeys(config, needed, log),
      random: new SystemRandom(),
      onUnreadable: (pool, keyId) => {
        log.error('the value of a key will not decrypt; the key is disabled', {
          pool,
          key: keyId.slice(0, LOGGED_ID),
        })
      },
    },
  )
  let access
  try {
    access = await openAccess(orchestrator, clock, config, secret, log)
  } catch (error) {
    await orchestrator.close()
    throw error
  }
  orchestrator.whenDocumentsChange(() => access.refresh())
  const server = await HttpServer.create(orchestrator, access, log, { tls, trace: tracing?.trace })
  let port
  try {
    port = await server.listen(config.host, config.port)
  } catch (error) {
    process.stderr.write(`token-orchestrator: ${whyNotListening(error, config)}\n`)
    await orchestrator.close()
    return 1
  }
  welcome(config, port, access.isOpen, log)

  const end = await Promise.race([stopped, orchestrator.failure])
  orchestrator.drain()
  if (typeof end !== 'string') {
    log.error('the store failed; what was answered is saved, start again', { reason: end.message })
    await server.close()
    await orchestrator.close().catch(() => undefined) // it has failed already
    return 1
  }
  log.info('draining', { signal: end })
  await server.close()
  await tracing?.stop()
  await orchestrator.close()
  log.info('stopped')
  return 0
}

/**
 * The access tokens, with that of the file which the settings name.
 * @throws ConfigError where others than local callers would be let in without any.
 */
async function openAccess(
  orchestrator: Orchestrator,
  clock: Clock,
  { host, behindProxy, adminTokenFile }: Config,
  secret: string | null,
  log: Log,
): Promise<Access> {
  const access = await Access.open(orchestrator, clock, new SystemRandom())
  const other = secret === null ? null : access.authenticate(secret)
  if (other !== null && other.id !== FILE_TOKEN) {
    throw new ConfigError(
      `--admin-token-file ${adminTokenFile!} has the secret of another access token: give it one of its own.`,
    )
  }
  const refusal = await (secret === null ? access.remove(FILE_TOKEN) : access.trustFile(secret))
  if (refusal?.code === 'storage_full') throw new StoreFailure('storage_full')
  if (refusal?.code === 'last_admin_token') {
    log.warn('the token of an earlier --admin-token-file stays valid: no other admin would be left')
  }
  if (access.isOpen && (behindProxy || !isLoopback(host))) {
    const reached = behindProxy ? '--behind-proxy' : `--host ${host}`
    throw new ConfigError(
      `${reached} lets in more than local callers, which takes an admin access token: ` +
        'give --admin-token-file, or make one on a loopback address first.',
    )
  }
  return access
}

/** The store that the settings ask for. Where memory is short it holds fewer keys, and says so. */
async function openStore(
  config: Config,
  clock: SystemClock,
  events: StoreEvents,
  log: Log,
): Promise<Store> {
  if (config.redis !== undefined) return openShared(config.redis, config, clock, events, log)
  for (let maxTotalKeys = config.maxTotalKeys; ; maxTotalKeys = Math.floor(maxTotalKeys / 2)) {
    try {
      const limits = { maxTotalKeys, maxPools: MAX_POOLS, history: historyLimits(config) }
      const store = config.memory
        ? EmbeddedStore.inMemory(limits, clock, new SystemRandom(), events)
        : await openDurable(config, limits, clock, events, log)
      if (maxTotalKeys < config.maxTotalKeys) {
        const asked = config.maxTotalKeys
        log.warn('the system does not grant room for --max-total-keys', { asked, maxTotalKeys })
      }
      return store
    } catch (error) {
      if (!(error instanceof RangeError) || maxTotalKeys < FEWEST_TOTAL_KEYS) throw error
    }
  }
}

async function openShared(
  urls: readonly string[],
  config: Config,
  clock: SystemClock,
  events: StoreEvents,
  log: Log,
): Promise<Store> {
  let address
  try {
    address = parseAddress(urls)
  } catch (error) {
    throw new ConfigError(`--redis: ${(error as Error).message}.`)
  }
  const health: StoreEvents['health'] = (now) => {
    events.health?.(now)
    if (now === 'ok') log.info('Redis serves again')
    else log.error(ERRORS[now].title)
  }
  const setting = {
    address,
    prefix: config.redisPrefix,
    replicas: config.redisReplicas,
    history: config.historyMs === undefined ? undefined : historyLimits(config),
    maxPools: MAX_POOLS,
    clock,
    random: new SystemRandom(),
    follow: (instant: number) => {
      clock.follow(instant)
    },
  }
  // Whoever has no Redis need not wait for its client.
  const { openRedis } = await import('../store/redis/open.ts')
  return openRedis(setting, { ...events, health }, (advice) => {
    log.warn('a setting of Redis', { advice })
  })
}

function openDurable(
  { dataDir, durability, historyMs = 0 }: Config,
  limits: TableLimits,
  clock: Clock,
  events: StoreEvents,
  log: Log,
): Promise<EmbeddedStore> {
  const options = { directory: dataDir, sync: durability === 'fsync', history: historyMs > 0 }
  const health: StoreEvents['health'] = (now) => {
    events.health?.(now)
    if (now === 'ok') log.info('there is room on the disk again')
    else log.error('the disk is full: nothing can be changed until there is room', { dataDir })
  }
  return EmbeddedStore.open(
    limits,
    clock,
    new SystemRandom(),
    { ...events, health, recovering: logProgress(clock, log) },
    (journalEvents) => SqliteJournal.open(options, journalEvents),
  )
}

function historyLimits({ historyMs = 0, historyRecords }: Config): HistoryLimits | null {
  return historyMs === 0 ? null : { keptMs: historyMs, records: historyRecords }
}

/** What the settings say of the default pool; the rest stays as it is saved. */
function givenPolicy({ keyLifetimeMs, leaseTtlMs, maxKeys }: Config): Partial<Policy> {
  return {
    ...(keyLifetimeMs === undefined ? {} : { keyLifetimeMs }),
    ...(leaseTtlMs === undefined ? {} : { leaseTtlMs }),
    ...(maxKeys === undefined ? {} : { maxKeys }),
  }
}

/** In words, without the password of a URL. */
function whereState({ memory, redis, dataDir, redisPrefix }: Config): string {
  if (memory) return 'in memory only: a restart forgets all keys'
  if (redis === undefined) return resolve(dataDir)
  return `in Redis at ${redis.map((url) => new URL(url).host).join(', ')}, as ${redisPrefix}`
}

function signalled(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    process.once('SIGTERM', resolve)
    process.once('SIGINT', resolve)
  })
}

function whyNotListening(error: unknown, { host, port }: Config): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    return `port ${String(port)} on ${host} is in use. Choose another one with --port.`
  }
  if (code === 'EACCES') {
    return `port ${String(port)} needs more rights than this user has. Choose one above 1023.`
  }
  return `cannot listen on ${host}: ${message}`
}

/** On a terminal a person reads; elsewhere a log collector does. */
function welcome(config: Config, port: number, isOpen: boolean, log: Log): void {
  const host = config.host.includes(':') ? `[${config.host}]` : config.host
  const scheme = config.tlsCert === undefined ? 'http' : 'https'
  const url = `${scheme}://${host}:${String(port)}`
  const state = whereState(config)
  if (!process.stdout.isTTY) {
    log.info('listening', { url, state })
    return
  }
  const token = isOpen ? '' : " -H 'Authorization: Bearer <access token>'"
  process.stdout.write(`Token Orchestrator listens on ${url}
State: ${state}

Make a key, then lease it:
  curl${token} -X POST ${url}/keys
  curl${token} ${url}/keys

Ctrl-C stops it.
`)
}
