/**
 * What a good engineer would write without this server: a real Redis and two scripts that lease and release.
 * It is given every advantage: ids come from the caller, SPOP draws (in one step, and not quite uniformly), and
 * leases that nobody releases end only when somebody leases.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from '../test/support/ports.ts'
import { onCore, SERVER_CORE } from './child.ts'

/** Whether there is a Redis on this machine. */
export const hasRedis = spawnSync('redis-server', ['--version']).status === 0

/** KEYS: available, deadlines, leases, token. ARGV: the TTL in ms, then lease ids. */
export const LEASE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('SADD', KEYS[1], redis.call('HGET', KEYS[3], over))
  redis.call('HDEL', KEYS[3], over)
  redis.call('ZREM', KEYS[2], over)
end
local deadline = now + ARGV[1]
local leases = {}
for i = 2, #ARGV do
  local key = redis.call('SPOP', KEYS[1])
  if not key then break end
  redis.call('ZADD', KEYS[2], deadline, ARGV[i])
  redis.call('HSET', KEYS[3], ARGV[i], key)
  leases[i - 1] = { key, redis.call('INCR', KEYS[4]), deadline }
end
return leases
`

/** KEYS: as above. ARGV: lease ids. Answers how many were released. */
export const RELEASE = `
local released = 0
for i = 1, #ARGV do
  local key = redis.call('HGET', KEYS[3], ARGV[i])
  if key then
    redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('SADD', KEYS[1], key)
    released = released + 1
  end
end
return released
`

/** The pool, in one hash slot. */
export const REDIS_KEYS = ['{pool}:available', '{pool}:deadlines', '{pool}:leases', '{pool}:token']

export class RedisServer {
  /** Of its socket. */
  readonly path: string
  readonly port: number
  readonly pid: number
  readonly #process: ChildProcess

  private constructor(path: string, port: number, process: ChildProcess) {
    this.path = path
    this.port = port
    this.pid = process.pid!
    this.#process = process
  }

  /** Durable: every answer waits for an fsync, as ours do. */
  static async start(directory: string, durable: boolean): Promise<RedisServer> {
    const path = join(directory, 'socket')
    const port = await freePort()
    const listen = ['--bind', '127.0.0.1', '--port', String(port), '--unixsocket', path]
    const options = [...listen, '--dir', directory, '--save', '']
    const log = ['--appendonly', durable ? 'yes' : 'no', '--appendfsync', 'always']
    const [command, ...args] = onCore(SERVER_CORE, ['redis-server', ...options, ...log])
    const process = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await new Promise<void>((resolve, reject) => {
      createInterface(process.stdout).on('line', (line) => {
        if (/ready to accept/i.test(line)) resolve()
      })
      process.once('exit', (code) => {
        reject(new Error(`redis-server ended with ${String(code)} before it listened`))
      })
    })
    return new RedisServer(path, port, process)
  }

  /** Ends when it has: its files can be deleted then. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    this.#process.kill('SIGKILL')
    await once(this.#process, 'exit')
  }
}
