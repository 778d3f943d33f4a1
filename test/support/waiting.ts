/** Callers who wait for keys, in virtual time and without HTTP. */
import assert from 'node:assert/strict'
import type { Change } from '../../src/engine/changes.ts'
import type { Refusal } from '../../src/engine/errors.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { Orchestrator } from '../../src/service/orchestrator.ts'
import type { Acquired } from '../../src/service/waiters.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { StoreEvents } from '../../src/store/store.ts'
import { SeededRandom } from './seeded-random.ts'
import { TEST_MASTER_KEY } from './server.ts'
import type { Fate, SimulatedDisk } from './simulated-disk.ts'
import { VirtualClock } from './virtual-clock.ts'

const LIMITS = { maxTotalKeys: 50_000, maxPools: 10 }
/** More turns than anything here takes that waits for no time and no disk. */
const TURNS = 30

export interface Asked {
  waitMs?: number
  ttlMs?: number
  keyId?: string
  /** Why he may not have it any more. */
  bar?: () => Refusal | null
}

/** Somebody who asks for a key, and what he has been told so far. */
export class Caller {
  acquired: Acquired | null = null
  error: unknown = null
  readonly told: Promise<void>
  readonly #gone = new AbortController()

  constructor(ask: (gone: AbortSignal) => Promise<Acquired>) {
    this.told = ask(this.#gone.signal).then(
      (acquired) => {
        this.acquired = acquired
      },
      (error: unknown) => {
        this.error = error
      },
    )
  }

  /** What has come of it, in a word. */
  get state(): string {
    if (this.error !== null) return (this.error as { code: string }).code
    if (this.acquired === null) return 'waits'
    return isRefusal(this.acquired) ? this.acquired.code : 'holds'
  }

  get isGone(): boolean {
    return this.#gone.signal.aborted
  }

  get leases(): Lease[] {
    assert(this.acquired !== null && !isRefusal(this.acquired), this.state)
    return this.acquired.leases
  }

  get lease(): Lease {
    return this.leases[0]!
  }

  hangUp(): void {
    this.#gone.abort()
  }
}

/** An orchestrator with a pool that callers wait for. */
export class WaitingRoom implements AsyncDisposable {
  readonly clock: VirtualClock
  orchestrator!: Orchestrator
  readonly pool: string
  readonly #disk: SimulatedDisk | undefined
  /** Commits whose fate is still open. */
  #held: ((fate: Fate) => void)[] = []

  private constructor(clock: VirtualClock, pool: string, disk: SimulatedDisk | undefined) {
    this.clock = clock
    this.pool = pool
    this.#disk = disk
  }

  static async open(
    policy: Partial<Policy> = {},
    {
      disk,
      pool = 'pool',
      clock = new VirtualClock(),
      watch = () => undefined,
      maxPools = LIMITS.maxPools,
      changed,
    }: {
      disk?: SimulatedDisk | undefined
      pool?: string
      clock?: VirtualClock
      watch?: (store: EmbeddedStore) => void
      maxPools?: number
      /** Hears all that the store tells the service of changes. */
      changed?: (changes: readonly Change[]) => void
    } = {},
  ): Promise<WaitingRoom> {
    const room = new WaitingRoom(clock, pool, disk)
    room.orchestrator = await Orchestrator.start(
      clock,
      async (told) => {
        const random = new SeededRandom(1)
        const limits = { ...LIMITS, maxPools }
        const events: StoreEvents = {
          ...told,
          changed: (changes) => {
            changed?.(changes)
            told.changed?.(changes)
          },
        }
        const store =
          disk === undefined
            ? EmbeddedStore.inMemory(limits, clock, random, events)
            : await EmbeddedStore.open(limits, clock, random, events, (journalEvents) =>
                disk.open(journalEvents),
              )
        watch(store)
        return store
      },
      { policy: {}, masterKeys: () => [TEST_MASTER_KEY], random: new SeededRandom(2) },
    )
    await room.orchestrator.putPool(pool, { ...DEFAULT_POLICY, keyLifetimeMs: null, ...policy })
    return room
  }

  wait({ waitMs = 60_000, bar = () => null, ...asked }: Asked = {}): Caller {
    const operation = { op: 'acquire', count: 1, ...asked } as const
    return new Caller((gone) => {
      const patience = waitMs === 0 ? null : { waitMs, gone, bar }
      return this.orchestrator.acquireLease(this.pool, operation, patience, null)
    })
  }

  /** Waiters who have all come to wait. */
  async crowd(count: number, asked: Asked = {}): Promise<Caller[]> {
    const callers = Array.from({ length: count }, () => this.wait(asked))
    await this.turns()
    return callers
  }

  /** One who does not wait. */
  draw(asked: Omit<Asked, 'waitMs' | 'bar'> = {}): Caller {
    return new Caller(() =>
      this.orchestrator.acquire(this.pool, { op: 'acquire', count: 1, ...asked }),
    )
  }

  /** One who does it by a batch. */
  drawInBatch(count = 1): Caller {
    return new Caller(async () => {
      const operations: Operation[] = [{ op: 'acquire', count }]
      const results = await this.orchestrator.runBatch(this.pool, operations, null)
      assert(Array.isArray(results))
      return results[0] as Acquired
    })
  }

  async run(operation: Exclude<Operation, { op: 'acquire' }>): Promise<Result> {
    const [result] = await this.orchestrator.run(this.pool, [operation])
    return result
  }

  async create(count = 1): Promise<string[]> {
    const created = await this.run({ op: 'create', count })
    assert('keyIds' in created, JSON.stringify(created))
    return created.keyIds
  }

  async stateOf(keyId: string): Promise<string> {
    const shown = await this.run({ op: 'show', keyId })
    return 'key' in shown ? shown.key.state : (shown as { code: string }).code
  }

  async available(): Promise<number> {
    const described = await this.run({ op: 'describe' })
    return 'counts' in described ? (described.counts as { available: number }).available : 0
  }

  /** Lets all happen that waits for no time and no disk. */
  async turns(count = TURNS): Promise<void> {
    for (let turn = 0; turn < count; turn++) await this.clock.yield()
  }

  /** From now on each commit waits until its fate is said here. */
  holdCommits(): (fate: Fate) => void {
    this.#disk!.decide = () => new Promise((resolve) => this.#held.push(resolve))
    return (fate) => {
      const [oldest] = this.#held.splice(0, 1)
      assert(oldest !== undefined, 'no commit is under way')
      oldest(fate)
    }
  }

  /** Whether a commit waits for its fate. */
  get isCommitting(): boolean {
    return this.#held.length > 0
  }

  /** The commit that waits has that fate, and all that follow go well. */
  letGo(fate: Fate = 'committed'): void {
    this.#disk!.decide = () => Promise.resolve('committed')
    for (const decide of this.#held.splice(0)) decide(fate)
  }

  [Symbol.asyncDispose](): Promise<void> {
    if (this.#disk !== undefined) this.letGo()
    return this.orchestrator.close()
  }
}

export function statesOf(callers: Caller[]): string[] {
  return callers.map(({ state }) => state)
}
