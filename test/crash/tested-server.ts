/** The real server on a data directory, killed and started again, under a load whose answers are logged. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, listeningPort, startCli } from '../support/command.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { AckLog } from './ack-log.ts'
import { Caller } from './caller.ts'
import type { Request, Terms } from './requests.ts'

const CONNECTIONS = 32
/** About how many keys the load keeps alive: some chunks of 1024. */
const KEYS = 3000
/** Of them, how many are leased at most. */
const MOST_LEASED = 0.6
const KEYS_A_CREATE = 200
const BULK = 10_000

export type Durability = 'fsync' | 'os'

export interface Settings extends Terms {
  durability: Durability
}

export class TestedServer implements AsyncDisposable {
  readonly log = new AckLog()
  readonly #dataDir: string
  readonly #random: SeededRandom
  #command: Command | null = null
  #port = 0

  constructor(dataDir: string, random: SeededRandom) {
    this.#dataDir = dataDir
    this.#random = random
  }

  /** Starts it and waits until it listens. */
  async start(settings: Settings): Promise<void> {
    this.launch(settings)
    this.#port = await listeningPort(this.#command!)
    this.log.terms = settings
  }

  /** Starts it and does not wait. */
  launch({ durability, keyLifetimeMs, leaseTtlMs }: Settings): void {
    const terms = ['--key-lifetime', `${keyLifetimeMs}ms`, '--lease-ttl', `${leaseTtlMs}ms`]
    const where = ['--data-dir', this.#dataDir, '--port', '0', '--durability', durability]
    this.#command = startCli(['serve', ...where, ...terms])
  }

  /** Ends it in the middle of whatever it does. Returns its exit code if it had ended by itself. */
  async kill(): Promise<number | null> {
    const command = this.#command
    this.#command = null
    try {
      command?.kill('SIGKILL')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    return (await command?.code) ?? null
  }

  /** It answers nothing any more, until it is killed. */
  freeze(): void {
    this.#command!.kill('SIGSTOP')
  }

  /** Ends it as a service manager does. */
  async stop(): Promise<void> {
    this.#command!.kill('SIGTERM')
    assert.equal(await this.#command!.code, 0)
    this.#command = null
  }

  /** Callers who do what comes to their minds, until `end` has ended the server some time later. */
  async load(forMs: number, end: () => Promise<void>): Promise<void> {
    const callers = this.#callers(CONNECTIONS)
    let isEnding = false
    try {
      const work = Promise.all(
        callers.map(async (caller) => {
          while (await caller.ask(this.#nextRequest()));
          assert(isEnding, 'the server has ended a connection')
        }),
      )
      work.catch(() => undefined) // it is looked at when the server has ended
      await sleep(forMs)
      isEnding = true
      await end()
      await work
    } finally {
      for (const caller of callers) caller.close()
    }
    this.log.loseAll(Date.now())
  }

  /** Makes many keys and forgets them, so that the journal becomes long enough to be cut. */
  async makeBulk(creates: number): Promise<void> {
    const [caller] = this.#callers(1)
    for (let made = 0; made < creates; made++) {
      assert(await caller!.ask({ op: 'create', count: BULK }), 'the server is gone')
    }
    caller!.close()
  }

  /** Looks at all that is known. */
  async check(): Promise<void> {
    const keyIds = this.log.keysToCheck(this.#random, Date.now())
    const callers = this.#callers(CONNECTIONS)
    try {
      await Promise.all(
        callers.map(async (caller) => {
          for (let keyId = keyIds.pop(); keyId !== undefined; keyId = keyIds.pop()) {
            assert(await caller.ask({ op: 'show', keyId }, true), 'the server is gone')
          }
        }),
      )
      const sentAt = Date.now()
      this.log.finishCheck(await callers[0]!.count(), sentAt, Date.now())
    } finally {
      for (const caller of callers) caller.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  #callers(count: number): Caller[] {
    return Array.from({ length: count }, () => new Caller(this.log, this.#port))
  }

  #nextRequest(): Request {
    const { log } = this
    const random = this.#random
    const dice = random.below(100)
    if (log.size < KEYS && dice < 4) return { op: 'create', count: 2 + random.below(KEYS_A_CREATE) }
    if (dice < 10) return { op: 'create', count: 1 }
    if (dice < 70) {
      const mustRelease = log.held.length > log.size * MOST_LEASED
      const lease = mustRelease || dice < 35 ? log.pickHeld(random) : undefined
      return lease === undefined ? { op: 'draw' } : { op: 'release', lease }
    }
    const keyId = log.pick(random)
    if (keyId === undefined) return { op: 'draw' }
    return { op: dice < 80 ? 'keepAlive' : dice < 92 ? 'show' : 'remove', keyId }
  }
}
