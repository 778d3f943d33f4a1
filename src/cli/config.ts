/**
 * Every setting of a server, once: its flag, its environment variable, what it may be, its default and
 * its line in the help.
 */
import { isIP, isIPv4 } from 'node:net'
import { MAX_SLOTS } from '../engine/key-index.ts'
import { MAX_DURATION_MS, MAX_KEYS_PER_POOL } from '../engine/policy.ts'
import { LOG_LEVELS, type LogLevel } from '../log.ts'
import { ConfigError } from './config-error.ts'
import { columns, type Flag, readFlags } from './flags.ts'

/** What a change survives once it is answered: a crash of the machine, or of the process only. */
const DURABILITIES = ['fsync', 'os'] as const
export type Durability = (typeof DURABILITIES)[number]

export interface Config {
  host: string
  port: number
  dataDir: string
  durability: Durability
  /** Keep the state in memory only. */
  memory: boolean
  /** URLs of a Redis that keeps the state; undefined: this machine does. */
  redis: readonly string[] | undefined
  redisPrefix: string
  /** Replicas that must have a change before it is answered. */
  redisReplicas: number
  // Of the default pool, whose policy is saved: what is not given stays as it is.
  keyLifetimeMs: number | undefined
  leaseTtlMs: number | undefined
  maxKeys: number | undefined
  maxTotalKeys: number
  /** 0: no history is kept. Undefined: nor is it, but where Redis has one already. */
  historyMs: number | undefined
  historyRecords: number
  /** Undefined: the server makes a key of its own. */
  encryptionKeyFile: string | undefined
  logLevel: LogLevel
  /** Files in PEM; both or none. */
  tlsCert: string | undefined
  tlsKey: string | undefined
  /** A proxy on the way speaks TLS. */
  behindProxy: boolean
  /** Its first line is the secret of an admin. */
  adminTokenFile: string | undefined
}

interface Kind<T> {
  /** Completes "<flag> must be ...". */
  must: string
  /** Undefined: the text is no such value. */
  parse: (text: string) => T | undefined
  /** All that it may be, where that is a few words. */
  words?: readonly string[]
}

interface Setting<T> extends Kind<T> {
  flag: string
  /** What stands for the value in the help; none: the flag is a switch. */
  placeholder?: string
  fallback: string
  /** Not given, it is undefined; the fallback tells what applies then, unless something is saved. */
  isOptional?: true
  help: string
}

const SETTINGS: { [K in keyof Config]: Setting<Config[K]> } = {
  host: {
    flag: 'host',
    placeholder: 'ADDRESS',
    fallback: '127.0.0.1',
    help: 'address to listen on; one that is not loopback needs access tokens and TLS',
    must: 'an IP address or localhost',
    parse: (text) => (text === 'localhost' || isIP(text) !== 0 ? text : undefined),
  },
  port: {
    flag: 'port',
    placeholder: 'NUMBER',
    fallback: '3000',
    help: 'port to listen on; 0 lets the system choose',
    ...wholeNumber(0, 65_535),
  },
  dataDir: {
    flag: 'data-dir',
    placeholder: 'DIRECTORY',
    fallback: './data',
    help: 'where the state is kept; made where it is missing',
    ...path('the path of a directory'),
  },
  durability: {
    flag: 'durability',
    placeholder: 'WHAT',
    fallback: 'fsync',
    help: 'fsync: answers survive a power cut; os: only a killed process',
    ...oneOf(DURABILITIES),
  },
  memory: {
    flag: 'memory',
    fallback: 'false',
    help: 'keep the state in memory only: a restart forgets all keys',
    ...trueOrFalse(),
  },
  redis: {
    flag: 'redis',
    placeholder: 'URL[,URL...]',
    fallback: 'none',
    isOptional: true,
    help: 'Redis or Valkey that keeps the state, for any number of servers',
    // What is wrong with a URL is told by who knows its password.
    must: 'a URL',
    parse: (text) => (text === '' ? undefined : text.split(',').map((url) => url.trim())),
  },
  redisPrefix: {
    flag: 'redis-prefix',
    placeholder: 'TEXT',
    fallback: 'token-orchestrator',
    help: 'what the names of all keys in Redis begin with',
    must: '1 to 64 letters, digits, dots, dashes and underscores',
    parse: (text) => (/^[\w.-]{1,64}$/.test(text) ? text : undefined),
  },
  redisReplicas: {
    flag: 'redis-replicas',
    placeholder: 'NUMBER',
    fallback: '0',
    help: 'replicas that must have a change before it is answered',
    ...wholeNumber(0, 16),
  },
  keyLifetimeMs: {
    flag: 'key-lifetime',
    placeholder: 'DURATION',
    fallback: '5m',
    isOptional: true,
    help: 'life of a key from its creation or last keep-alive',
    ...duration(),
  },
  leaseTtlMs: {
    flag: 'lease-ttl',
    placeholder: 'DURATION',
    fallback: '60s',
    isOptional: true,
    help: 'time after which a lease ends that was not released',
    ...duration(),
  },
  maxKeys: {
    flag: 'max-keys',
    placeholder: 'NUMBER',
    fallback: String(MAX_KEYS_PER_POOL),
    isOptional: true,
    help: 'keys that the default pool may hold',
    ...wholeNumber(1, MAX_KEYS_PER_POOL),
  },
  maxTotalKeys: {
    flag: 'max-total-keys',
    placeholder: 'NUMBER',
    fallback: '16000000',
    help: 'keys that all pools may hold together',
    ...wholeNumber(1, MAX_SLOTS),
  },
  historyMs: {
    flag: 'history',
    placeholder: 'DURATION',
    fallback: '0',
    isOptional: true,
    help: 'how long it is kept who held which key when; 0: not at all',
    must: '0 or a duration like 24h, up to 10 years',
    parse: (text) => (text === '0' ? 0 : duration().parse(text)),
  },
  historyRecords: {
    flag: 'history-records',
    placeholder: 'NUMBER',
    fallback: '4000000',
    help: 'changes that the history holds, with --redis that of each pool; the oldest go first',
    ...wholeNumber(1000, 64_000_000),
  },
  encryptionKeyFile: {
    flag: 'encryption-key-file',
    placeholder: 'FILE',
    fallback: 'encryption.key in the data directory',
    isOptional: true,
    help: 'what the values of keys are encrypted with',
    ...path('the path of a file'),
  },
  logLevel: {
    flag: 'log-level',
    placeholder: 'LEVEL',
    fallback: 'info',
    help: LOG_LEVELS.join(', '),
    ...oneOf(LOG_LEVELS),
  },
  tlsCert: {
    flag: 'tls-cert',
    placeholder: 'FILE',
    fallback: 'none',
    isOptional: true,
    help: 'certificate in PEM, its chain behind it; with --tls-key it makes HTTPS',
    ...path('the path of a file'),
  },
  tlsKey: {
    flag: 'tls-key',
    placeholder: 'FILE',
    fallback: 'none',
    isOptional: true,
    help: 'private key of --tls-cert in PEM',
    ...path('the path of a file'),
  },
  behindProxy: {
    flag: 'behind-proxy',
    fallback: 'false',
    help: 'a proxy in front does TLS: allows any address without it',
    ...trueOrFalse(),
  },
  adminTokenFile: {
    flag: 'admin-token-file',
    placeholder: 'FILE',
    fallback: 'none',
    isOptional: true,
    help: 'its first line is the secret of an admin access token',
    ...path('the path of a file'),
  },
}

/** Reading does not care for the type of a value, only for its setting. */
const SETTING_ENTRIES: [string, Setting<unknown>][] = Object.entries(SETTINGS)

type Flags = Record<string, string | boolean | undefined>

/**
 * Reads flags, then the environment, then the defaults.
 * @throws ConfigError on anything unknown, out of range or contradictory.
 */
export function readConfig(args: string[], env: NodeJS.ProcessEnv): Config {
  const flags = readFlags(args, settingFlags()).values as Flags
  const entries = SETTING_ENTRIES.map(([name, setting]) => [name, readSetting(setting, flags, env)])
  const config = Object.fromEntries(entries) as Config
  const { host, tlsCert, tlsKey, behindProxy, redis, memory } = config
  if (redis !== undefined && memory) {
    throw new ConfigError('--redis and --memory are two places for the state: give one of them.')
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new ConfigError('--tls-cert and --tls-key go together: give both, or none.')
  }
  if (!isLoopback(host) && tlsCert === undefined && !behindProxy) {
    throw new ConfigError(
      `--host ${host} is not a loopback address, so that access tokens would cross the network in clear: ` +
        'give --tls-cert and --tls-key, or --behind-proxy where a proxy in front does TLS.',
    )
  }
  return config
}

function readSetting(setting: Setting<unknown>, flags: Flags, env: NodeJS.ProcessEnv): unknown {
  const { flag, fallback, isOptional, must, parse } = setting
  const variable = variableOf(flag)
  const given = flags[flag]?.toString()
  const fromEnv = env[variable] === '' ? undefined : env[variable]
  if (given === undefined && fromEnv === undefined && isOptional === true) return undefined
  const text = given ?? fromEnv ?? fallback
  const value = parse(text)
  if (value !== undefined) return value
  const source = given === undefined ? variable : `--${flag}`
  throw new ConfigError(`${source} must be ${must}, not "${text}".`)
}

/** What a flag of another command says that takes what the setting does, or the flag's variable. @throws ConfigError */
export function readAs<K extends keyof Config>(
  name: K,
  flag: string,
  text?: string,
  env: NodeJS.ProcessEnv = {},
): Config[K] {
  const flags = text === undefined ? {} : { [flag]: text }
  return readSetting({ ...SETTINGS[name], flag }, flags, env) as Config[K]
}

/** The environment variable of a flag. */
function variableOf(flag: string): string {
  return `TOKEN_ORCHESTRATOR_${flag.toUpperCase().replaceAll('-', '_')}`
}

/** The settings by their flags. */
export function settingFlags(): Record<string, Flag> {
  return Object.fromEntries(SETTING_ENTRIES.map(([, setting]) => [setting.flag, setting]))
}

/** The settings as the help shows them. */
export function settingsHelp(): string {
  const rows = SETTING_ENTRIES.map(([, { flag, placeholder, fallback, help }]) =>
    placeholder === undefined
      ? [`--${flag}`, help]
      : [`--${flag} ${placeholder}`, `${help} (${fallback})`],
  )
  return columns([...rows, ['--help', 'show this text']])
}

function wholeNumber(least: number, most: number): Kind<number> {
  return {
    must: `a whole number from ${String(least)} to ${String(most)}`,
    parse: (text) => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN
      return value >= least && value <= most ? value : undefined
    },
  }
}

function oneOf<T extends string>(words: readonly T[]): Kind<T> {
  return {
    must: `one of ${words.join(', ')}`,
    parse: (text) => words.find((word) => word === text),
    words,
  }
}

function duration(): Kind<number> {
  return {
    must: 'a duration like 500ms, 60s, 5m or 1h, from 1ms to 10 years',
    parse: (text) => {
      const ms = durationMs(text)
      return ms !== undefined && ms >= 1 && ms <= MAX_DURATION_MS ? ms : undefined
    },
  }
}

/** What a text like 5m is in ms; undefined: it is no duration. */
export function durationMs(text: string): number | undefined {
  const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
  const [, digits, unit] = /^(\d{1,15})(ms|s|m|h)$/.exec(text) ?? []
  return digits === undefined || unit === undefined ? undefined : Number(digits) * unitMs[unit]!
}

function trueOrFalse(): Kind<boolean> {
  return {
    must: 'true or false',
    parse: (text) => ({ true: true, 1: true, false: false, 0: false })[text],
  }
}

function path(must: string): Kind<string> {
  return { must, parse: (text) => (text === '' || text.includes('\0') ? undefined : text) }
}

/** Whether it is reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}
