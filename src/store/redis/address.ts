/** Where Redis is, as it is written in the settings. */
import type { RedisOptions } from 'ioredis'

/** A mapping of replies is for commands that this program does not use. */
export type NodeOptions = Omit<RedisOptions, 'replyMapping'>

export type Address =
  | { kind: 'single'; options: NodeOptions }
  | { kind: 'cluster'; nodes: { host: string; port: number }[]; options: NodeOptions }

const REDIS_PORT = 6379
const SENTINEL_PORT = 26_379
const SCHEMES = ['redis:', 'rediss:', 'redis+sentinel:', 'rediss+sentinel:']

/**
 * One URL is a Redis, or any node of a cluster; several are nodes of a cluster, or the Sentinels of one primary:
 * `rediss://user:password@host:6379/0`, `redis+sentinel://host:26379/name-of-the-primary`. User and password are
 * those of Redis, and of the Sentinels where they ask for one.
 * @throws RangeError that says what is wrong, without the password.
 */
export function parseAddress(urls: readonly string[]): Address {
  const parsed = urls.map(parse)
  const [first] = parsed
  if (first === undefined) throw new RangeError('no URL')
  const { protocol, username, password, pathname } = first
  if (parsed.some((url) => url.protocol !== protocol || url.pathname !== pathname)) {
    throw new RangeError('the URLs must have the same scheme and path')
  }
  const name = decodeURIComponent(pathname.slice(1))
  const options: NodeOptions = {
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(protocol.startsWith('rediss') ? { tls: {} } : {}),
  }
  if (protocol.endsWith('+sentinel:')) {
    if (name === '') throw new RangeError('a Sentinel URL ends in the name of the primary')
    const sentinels = parsed.map((url) => hostAndPort(url, SENTINEL_PORT))
    return { kind: 'single', options: { ...options, ...sentinelOptions(options), sentinels, name } }
  }
  if (!/^\d{0,3}$/.test(name)) throw new RangeError('the path of a URL is the number of a database')
  const nodes = parsed.map((url) => hostAndPort(url, REDIS_PORT))
  if (nodes.length === 1) {
    return { kind: 'single', options: { ...options, ...nodes[0], db: Number(name) } }
  }
  if (Number(name) !== 0) throw new RangeError('a cluster has one database, 0')
  return { kind: 'cluster', nodes, options }
}

function parse(text: string): URL {
  const url = URL.parse(text)
  if (url === null || !SCHEMES.includes(url.protocol) || url.hostname === '') {
    throw new RangeError('not a URL like redis://host:6379, rediss:// or redis+sentinel://')
  }
  return url
}

function hostAndPort({ hostname, port }: URL, fallback: number): { host: string; port: number } {
  const host = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  return { host, port: port === '' ? fallback : Number(port) }
}

function sentinelOptions({ username, password, tls }: NodeOptions): NodeOptions {
  return {
    ...(password === undefined ? {} : { sentinelPassword: password }),
    ...(username === undefined ? {} : { sentinelUsername: username }),
    ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    failoverDetector: true,
  }
}
