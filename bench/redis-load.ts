/** The load of the batch benchmark on Redis: what batch-load.ts does, as pipelines of script calls. */
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { answerParent } from './child.ts'
import { Held } from './held.ts'
import { LEASE, REDIS_KEYS, RELEASE } from './redis.ts'

/** Leases in a pipeline, and releases. */
const LEASES = 1000
const TTL_MS = '60000'
const LEASE_ID_LENGTH = 24
const SADD_AT_A_TIME = 1000

/** A command in Redis's protocol. */
function command(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

function call(script: string, ...args: readonly string[]): string {
  const sha = createHash('sha1').update(script).digest('hex')
  return command('EVALSHA', sha, String(REDIS_KEYS.length), ...REDIS_KEYS, ...args)
}

/** One connection with one pipeline on its way at a time. */
class RedisConnection {
  readonly #socket: Socket
  #received = ''
  /** What each line of the replies to come must begin with; of lines that may be anything, nothing. */
  #expected: readonly string[] = []
  #lines: string[] = []
  #settle!: { resolve: (lines: string[]) => void; reject: (error: Error) => void }

  constructor(path: string) {
    this.#socket = connect(path)
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => {
      this.#read(text)
    })
    this.#socket.on('error', (error) => {
      this.#settle.reject(error)
    })
  }

  /** Sends commands. Resolves to all lines of their replies. */
  ask(commands: string, expected: readonly string[]): Promise<string[]> {
    this.#expected = expected
    this.#lines = []
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#socket.write(commands, 'latin1')
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    const lines = (this.#received + text).split('\r\n')
    this.#received = lines.pop()!
    for (const line of lines) {
      const expected = this.#expected[this.#lines.length]
      if (expected === undefined || !line.startsWith(expected)) {
        this.#settle.reject(new Error(`redis answered ${line}`))
        return
      }
      this.#lines.push(line)
    }
    if (this.#lines.length === this.#expected.length) this.#settle.resolve(this.#lines)
  }
}

/** The reply to a lease: key, token and deadline. */
const LEASE_LINES = ['*3', '$36', '', ':', ':']
const KEY_LINE = 2

function repeat<T>(count: number, items: readonly T[]): T[] {
  return Array.from({ length: count }, () => items).flat()
}

/** Leases and releases in pipelines until `forMs` are over. Returns how many it was. */
async function drive(
  connection: RedisConnection,
  held: Held,
  perCall: number,
  until: number,
): Promise<number> {
  const calls = LEASES / perCall
  const leased = repeat(calls, [`*${perCall}`, ...repeat(perCall, LEASE_LINES)])
  const released = Array<string>(calls).fill(`:${perCall}`)
  const newLeaseIds = (): string[] => {
    const text = randomBytes((LEASES * LEASE_ID_LENGTH * 3) / 4).toString('base64url')
    return Array.from({ length: LEASES }, (_, at) =>
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
    const lines = await connection.ask(callAll(leaseHead, next) + callAll(releaseHead, leaseIds), [
      ...(isLast ? [] : leased),
      ...(leaseIds.length > 0 ? released : []),
    ])
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

const tasks = {
  /** A pool of so many keys. */
  async fill(path: string, keys: number): Promise<void> {
    const connection = new RedisConnection(path)
    for (const script of [LEASE, RELEASE]) {
      await connection.ask(command('SCRIPT', 'LOAD', script), ['$40', ''])
    }
    for (let left = keys; left > 0; left -= SADD_AT_A_TIME) {
      const ids = Array.from({ length: SADD_AT_A_TIME }, () => randomUUID())
      await connection.ask(command('SADD', REDIS_KEYS[0]!, ...ids), [`:${SADD_AT_A_TIME}`])
    }
    connection.close()
  },

  /** Runs until `forMs` are over and everything is released, in calls for so many leases each. */
  async pipelines(path: string, connectionCount: number, forMs: number, perCall: number) {
    const held = new Held()
    const connections = Array.from({ length: connectionCount }, () => new RedisConnection(path))
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const counts = await Promise.all(
      connections.map((connection) => drive(connection, held, perCall, start + forMs)),
    )
    const elapsedMs = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    for (const connection of connections) connection.close()
    const operations = counts.reduce((sum, count) => sum + count)
    return {
      operations,
      perSecond: (operations / elapsedMs) * 1000,
      loadBusy: (cpu.user + cpu.system) / 1000 / elapsedMs,
    }
  },

  /** Ends the run unless all keys are available again. */
  async checkReleased(path: string, keys: number): Promise<void> {
    const connection = new RedisConnection(path)
    const [available, deadlines, leases] = REDIS_KEYS as [string, string, string]
    const questions = [command('SCARD', available), command('ZCARD', deadlines)]
    questions.push(command('HLEN', leases))
    await connection.ask(questions.join(''), [`:${keys}`, ':0', ':0'])
    connection.close()
  },
}

export type RedisTasks = typeof tasks
answerParent(tasks)
