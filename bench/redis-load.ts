/** The load on Redis: what batch-load.ts does, as pipelines of script calls; or what http-load.ts does, a call at a time. */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { answerParent } from './child.ts'
import { cycles, type Holder } from './cycles.ts'
import { Held } from './held.ts'
import { Latencies } from './latencies.ts'
import { LineConnection } from './line-connection.ts'
import { LEASE, REDIS_KEYS, RELEASE } from './redis.ts'

const TTL_MS = '60000'
const LEASE_ID_LENGTH = 24
const SADD_AT_A_TIME = 1000

/** A command in Redis's protocol. */
function command(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

function shaOf(script: string): string {
  return createHash('sha1').update(script).digest('hex')
}
const SHAS: Record<string, string> = { [LEASE]: shaOf(LEASE), [RELEASE]: shaOf(RELEASE) }

function call(script: string, ...args: readonly string[]): string {
  return command('EVALSHA', SHAS[script]!, String(REDIS_KEYS.length), ...REDIS_KEYS, ...args)
}

/** The reply to a lease: key, token and deadline. */
const LEASE_LINES = ['*3', '$36', '', ':', ':']
const KEY_LINE = 2

function repeat<T>(count: number, items: readonly T[]): T[] {
  return Array.from({ length: count }, () => items).flat()
}

interface Pipelines {
  /** In a pipeline, and as many releases; a multiple of `perCall`. */
  leases: number
  perCall: number
  held: Held
  latencies: Latencies
}

/** Leases and releases in pipelines until then. Returns how many it was. */
async function drive(
  connection: LineConnection,
  { leases, perCall, held, latencies }: Pipelines,
  until: number,
): Promise<number> {
  const calls = leases / perCall
  const leased = repeat(calls, [`*${perCall}`, ...repeat(perCall, LEASE_LINES)])
  const released = Array<string>(calls).fill(`:${perCall}`)
  const newLeaseIds = (): string[] => {
    const text = randomBytes((leases * LEASE_ID_LENGTH * 3) / 4).toString('base64url')
    return Array.from({ length: leases }, (_, at) =>
      text.slice(at * LEASE_ID_LENGTH, (at + 1) * LEASE_ID_LENGTH),
    )
  }
  const callAll = (head: string, leaseIds: readonly string[]): string => {
    let text = ''
    for (let at = 0; at < leaseIds.length; at += perCall) {
      text += head
      for (let id = at; id < at + perCall; id++)
        text += `$${LEASE_ID_LENGTH}\r\n${leaseIds[id]!}\r\n`
    }
    return text
  }
  const leaseHead = headOf(LEASE, [TTL_MS], perCall)
  const releaseHead = headOf(RELEASE, [], perCall)
  let leaseIds: string[] = []
  let keyIds: string[] = []
  let operations = 0
  for (let isLast = false; ;) {
    const next = isLast ? [] : newLeaseIds()
    held.giveUp(keyIds)
    const commands = callAll(leaseHead, next) + callAll(releaseHead, leaseIds)
    const sentAt = performance.now()
    const lines = await connection.ask(commands, [
      ...(isLast ? [] : leased),
      ...(leaseIds.length > 0 ? released : []),
    ])
    latencies.add(performance.now() - sentAt)
    operations += next.length + leaseIds.length
    if (isLast) return operations
    keyIds = []
    for (let call = 0; call < calls; call++) {
      const at = call * (1 + perCall * LEASE_LINES.length) + 1
      for (let lease = 0; lease < perCall; lease++) {
        keyIds.push(lines[at + lease * LEASE_LINES.length + KEY_LINE]!)
      }
    }
    held.take(keyIds)
    leaseIds = next
    isLast = performance.now() >= until
  }
}

/** A call as far as it is the same for all lease ids, of which it has `ids`. */
function headOf(script: string, args: readonly string[], ids: number): string {
  const text = call(script, ...args, ...repeat(ids, ['-']))
  return text.slice(0, text.indexOf('$1\r\n-'))
}

/** Whoever holds a connection leases and releases by it, a call each. */
function holder(connection: LineConnection): Holder<string> {
  const expected = ['*1', ...LEASE_LINES]
  return {
    async lease() {
      const leaseId = randomBytes((LEASE_ID_LENGTH * 3) / 4).toString('base64url')
      await connection.ask(call(LEASE, TTL_MS, leaseId), expected)
      return leaseId
    },
    async release(leaseId) {
      await connection.ask(call(RELEASE, leaseId), [':1'])
    },
  }
}

const tasks = {
  /** A pool of so many keys. */
  async fill(at: number | string, keys: number): Promise<void> {
    const connection = new LineConnection(at)
    for (const script of [LEASE, RELEASE]) {
      await connection.ask(command('SCRIPT', 'LOAD', script), ['$40', ''])
    }
    for (let left = keys; left > 0; left -= SADD_AT_A_TIME) {
      const ids = Array.from({ length: Math.min(left, SADD_AT_A_TIME) }, () => randomUUID())
      await connection.ask(command('SADD', REDIS_KEYS[0]!, ...ids), [`:${ids.length}`])
    }
    connection.close()
  },

  /** Runs until `forMs` are over and everything is released, in calls for so many leases each. */
  async pipelines(
    at: number | string,
    connectionCount: number,
    forMs: number,
    leases: number,
    perCall: number,
  ) {
    const pipelines = { leases, perCall, held: new Held(), latencies: new Latencies() }
    const connections = Array.from({ length: connectionCount }, () => new LineConnection(at))
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const counts = await Promise.all(
      connections.map((connection) => drive(connection, pipelines, start + forMs)),
    )
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    for (const connection of connections) connection.close()
    const operations = counts.reduce((sum, count) => sum + count)
    return {
      operations,
      perSecond: (operations / elapsedMs) * 1000,
      p50: pipelines.latencies.quantile(0.5),
      p99: pipelines.latencies.quantile(0.99),
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },

  /** Runs until `forMs` are over and everything is released, with one call on its way in each connection. */
  async singles(at: number | string, connectionCount: number, forMs: number) {
    const connections = Array.from({ length: connectionCount }, () => new LineConnection(at))
    const load = await cycles(connections.map(holder), forMs)
    for (const connection of connections) connection.close()
    return load
  },

  /** Ends the run unless all keys are available again. */
  async checkReleased(at: number | string, keys: number): Promise<void> {
    const connection = new LineConnection(at)
    const [available, deadlines, leases] = REDIS_KEYS as [string, string, string]
    const questions = [command('SCARD', available), command('ZCARD', deadlines)]
    questions.push(command('HLEN', leases))
    await connection.ask(questions.join(''), [`:${keys}`, ':0', ':0'])
    connection.close()
  },
}

export type RedisTasks = typeof tasks
answerParent(tasks)
