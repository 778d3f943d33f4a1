import type { Clock } from '../clock.ts'
import {
  type AcquireOperation,
  type CreateOperation,
  type FoundLease,
  type ImportOperation,
  isRefusal,
  type Lease,
  type Operation,
  type Result,
  type Results,
} from '../engine/operations.ts'
import { REFUSED, type Refusal } from '../engine/errors.ts'
import type { Policy } from '../engine/policy.ts'
import type { Random } from '../engine/random.ts'
import {
  type Health,
  type PoolPage,
  type Store,
  type StoreEvents,
  type StoreStats,
} from '../store/store.ts'
import { DEFAULT_POOL, putDefaultPool } from './default-pool.ts'
import { Events } from './events.ts'
import { Sweeper } from './sweeper.ts'
import {
  type Acquired,
  operationsOf,
  type Patience,
  type Request,
  type RunPool,
  Waiters,
} from './waiters.ts'
import { type Repeatable, Requests } from './requests.ts'
import { type NewValue, Values } from './values.ts'
import { MasterKeyError, neededMasterKey, UnreadableValue, Vault } from './vault.ts'

/** Leases revoked with one commit. */
const REVOKED_AT_A_TIME = 1000

export interface StartOptions {
  /** What is given of the default pool's policy, which goes before what it was. */
  policy: Partial<Policy>
  /**
   * Asked for once the store is open, with the id of the one that its values need: the first encrypts, the others
   * are those that did before.
   */
  masterKeys: (needed: string | null) => readonly Buffer[]
  random: Random
  /** The value of a key will not decrypt. */
  onUnreadable?: (pool: string, keyId: string) => void
}

/** The application, whatever protocol it is spoken to by: one store and the timer that keeps it tidy. */
export class Orchestrator {
  /** What happens, for who listens. */
  readonly events: Events
  readonly #clock: Clock
  readonly #sweeper: Sweeper
  readonly #waiters: Waiters
  readonly #run: RunPool = (pool, operations) => this.#store.run(pool, operations)
  readonly #failure = Promise.withResolvers<Error>()
  readonly #onDocuments: (() => Promise<void>)[] = []
  #store!: Store
  #vault!: Vault
  #values!: Values
  #requests!: Requests
  #storeHealth: Health = 'ok'
  #draining = false

  private constructor(clock: Clock) {
    this.#clock = clock
    this.#waiters = new Waiters(clock, this.#run, (pool) => this.#store.watch(pool))
    this.events = new Events(clock, { run: this.#run, waiters: (pool) => this.waiters(pool) })
    this.#sweeper = new Sweeper(clock, (budgetMs) => this.#store.settle(budgetMs))
  }

  /**
   * Opens the store and sees to it that the default pool is there.
   * @throws what `openStore` throws, StoreFailure where the policy cannot be saved, Error where it
   *   contradicts itself, and MasterKeyError where values cannot be read.
   */
  static async start(
    clock: Clock,
    openStore: (events: StoreEvents) => Store | Promise<Store>,
    { policy, masterKeys, random, onUnreadable }: StartOptions,
  ): Promise<Orchestrator> {
    const orchestrator = new Orchestrator(clock)
    const store = await openStore(orchestrator.#storeEvents())
    orchestrator.#store = store
    try {
      await putDefaultPool(store, policy)
      const keys = masterKeys(await neededMasterKey(store))
      const vault = await Vault.open(store, keys, random)
      orchestrator.#vault = vault
      const run = orchestrator.#run
      orchestrator.#values = new Values(vault, clock, random, run, onUnreadable)
      orchestrator.#requests = new Requests(run, (text) => vault.digest(text))
      orchestrator.whenDocumentsChange(async () => {
        try {
          await vault.refresh()
        } catch (error) {
          if (!(error instanceof MasterKeyError)) throw error
          orchestrator.#failure.resolve(error)
        }
      })
    } catch (error) {
      await orchestrator.close()
      throw error
    }
    orchestrator.#sweeper.start()
    return orchestrator
  }

  /** Whether new work is welcome, or why not. */
  get status(): 'ready' | 'draining' | Exclude<Health, 'ok'> {
    if (this.#draining) return 'draining'
    return this.#storeHealth === 'ok' ? 'ready' : this.#storeHealth
  }

  /** Resolves when the server cannot go on, since its store failed or another has other keys. */
  get failure(): Promise<Error> {
    return this.#failure.promise
  }

  /** ms since the epoch, by the clock that deadlines go by. */
  now(): number {
    return this.#clock.now()
  }

  /** Operations that acquire nothing; those that do have verbs of their own, for others may be waiting. */
  run<const O extends readonly Exclude<Operation, AcquireOperation>[]>(
    pool: string,
    operations: O,
  ): Promise<Results<O>> {
    return this.#store.run(pool, operations)
  }

  /** A lease of now, or none. */
  acquire(pool: string, operation: AcquireOperation): Promise<Acquired> {
    return this.#acquire(pool, { operation, remember: null })
  }

  /**
   * A lease of now, or of some time within the caller's patience. With `repeatable` a repeat of the request
   * is given the same lease.
   */
  acquireLease(
    pool: string,
    operation: AcquireOperation,
    patience: Patience | null,
    repeatable: Repeatable | null,
  ): Promise<Acquired> {
    return this.#requests.once(pool, repeatable, async (remember) => {
      const request = { operation, remember }
      return patience === null ? this.#acquire(pool, request) : this.#wait(pool, request, patience)
    }) as Promise<Acquired>
  }

  /** Makes keys; with `repeatable` a repeat of the request is given the same ones. */
  create<O extends CreateOperation | ImportOperation>(
    pool: string,
    operation: O,
    repeatable: Repeatable | null,
  ): Promise<Result<O>> {
    return this.#requests.once(pool, repeatable, async (remember) => {
      const [created] = await this.#run(pool, [operation, ...(remember ? [remember] : [])])
      return created!
    }) as Promise<Result<O>>
  }

  /** Takes in credentials that somebody holds already. */
  async importKeys(
    pool: string,
    values: readonly NewValue[],
    onDuplicate: ImportOperation['onDuplicate'],
    repeatable: Repeatable | null,
    by?: string,
  ): Promise<Result<ImportOperation>> {
    if (!this.#vault.canSeal) return REFUSED.encryption_key_required
    const keys = await this.#values.sealAll(pool, values)
    return this.create(pool, { op: 'import', keys, onDuplicate, by }, repeatable)
  }

  /** Makes keys with values that begin so. */
  async generateKeys(
    pool: string,
    count: number,
    prefix: string,
    repeatable: Repeatable | null,
    by?: string,
  ): Promise<Result<ImportOperation>> {
    const values = await this.#values.generate(count, prefix)
    return this.importKeys(pool, values, 'refuse', repeatable, by)
  }

  /** The credential of a leased key that has one. @throws UnreadableValue; the key is disabled then. */
  async valueOf(pool: string, lease: Lease): Promise<string> {
    const [value] = await this.#values.openAll(pool, [lease])
    if (typeof value === 'string') return value
    throw new UnreadableValue('a value will not decrypt')
  }

  /** The credentials of many leases; null: the key is plain; undefined: it was unreadable, and is disabled. */
  valuesOf(pool: string, leases: readonly Lease[]): Promise<(string | null | undefined)[]> {
    return this.#values.openAll(pool, leases)
  }

  /** Revokes what that holder holds now. Returns how many leases it was. */
  async revokeLeases(pool: string, holder: string, by?: string): Promise<number | Refusal> {
    const limit = REVOKED_AT_A_TIME
    let grantedBy: number | undefined
    for (let total = 0; ;) {
      const [result] = await this.#store.run(pool, [
        { op: 'revokeLeases', holder, limit, grantedBy, by },
      ])
      if (isRefusal(result)) return result
      total += result.revoked
      grantedBy = result.grantedBy
      if (!result.more) return total
    }
  }

  /** All kinds of operations. Those that acquire do not wait, and do not overtake who does. */
  runBatch(
    pool: string,
    operations: readonly Operation[],
    repeatable: Repeatable | null,
  ): Promise<readonly Result[] | Refusal> {
    return this.#requests.all(pool, repeatable, operations.length, async (remember) => {
      const all = remember === null ? operations : [...operations, remember]
      const overtakes =
        this.#waiters.isAhead(pool) &&
        operations.some(({ op }) => op === 'acquire') &&
        !(await this.#waiters.mayDraw(pool))
      const results = await (overtakes
        ? this.#waiters.runBehind(pool, all)
        : this.#store.run(pool, all))
      return results.slice(0, operations.length)
    })
  }

  /**
   * The leases of the keys that are that secret, which is a value or the id of a plain key, in the pools that the
   * caller sees.
   */
  async find(secret: string, sees: (pool: string) => boolean): Promise<FoundLease[]> {
    const found = await this.#store.find(this.#vault.digest(secret), secret)
    return found.filter(({ pool }) => sees(pool))
  }

  /** Callers who wait for a key of that pool. */
  waiters(pool: string): number {
    return this.#waiters.count(pool)
  }

  get allWaiters(): number {
    return this.#waiters.total
  }

  async putPool(name: string, policy: Policy): ReturnType<Store['putPool']> {
    const put = await this.#store.putPool(name, policy)
    if (typeof put === 'string') this.events.poolChanged(name, 'policy')
    return put
  }

  async patchPool(name: string, changes: Partial<Policy>): ReturnType<Store['patchPool']> {
    const patched = await this.#store.patchPool(name, changes)
    if (!('code' in patched)) this.events.poolChanged(name, 'policy')
    return patched
  }

  /** The default pool is emptied, for it is always there. */
  removePool(name: string, force: boolean): ReturnType<Store['removePool']> {
    const again = name === DEFAULT_POOL
    const removed = this.#store.removePool(name, { force, again })
    return removed.then((refusal) => {
      if (refusal === null && !again) this.#waiters.dismiss(name, REFUSED.pool_not_found)
      if (refusal === null) this.events.poolChanged(name, again ? 'emptied' : 'gone')
      return refusal
    })
  }

  policy(name: string): ReturnType<Store['policy']> {
    return this.#store.policy(name)
  }

  pools(limit: number, cursor?: string): ReturnType<Store['pools']> {
    return this.#store.pools(limit, cursor)
  }

  /** Of those names, which are in order, the ones that are there; a cursor is the last name of a page. */
  async poolsAmong(
    names: readonly string[],
    limit: number,
    cursor?: string,
  ): Promise<PoolPage | Refusal> {
    const from = cursor === undefined ? 0 : names.indexOf(cursor) + 1
    if (from === 0 && cursor !== undefined) return REFUSED.invalid_cursor
    const page = names.slice(from, from + limit)
    const policies = await Promise.all(page.map((name) => this.#store.policy(name)))
    const pools = page.flatMap((name, at) => {
      const policy = policies[at]
      return policy === undefined ? [] : [{ name, policy }]
    })
    return { pools, nextCursor: from + limit < names.length ? page.at(-1)! : null }
  }

  /** What is kept by name beside pools and keys. */
  documents(): ReturnType<Store['documents']> {
    return this.#store.documents()
  }

  putDocument(name: string, text: string | null): ReturnType<Store['putDocument']> {
    return this.#store.putDocument(name, text)
  }

  /** Calls back when others than this process have changed some, and again if that fails. */
  whenDocumentsChange(callback: () => Promise<void>): void {
    this.#onDocuments.push(callback)
  }

  stats(pools: number): Promise<StoreStats> {
    return this.#store.stats(pools)
  }

  /** Makes a consistent copy of all that is saved; its file on this machine is the caller's. */
  backup(): Promise<string> {
    return this.#store.backup()
  }

  /** From now on the status says so; what has begun goes on. */
  drain(): void {
    this.#draining = true
    this.#waiters.close()
    this.events.close()
  }

  async close(): Promise<void> {
    this.drain()
    await this.#waiters.idle()
    this.#sweeper.stop()
    await this.#store.close()
  }

  #storeEvents(): StoreEvents {
    return {
      wakeAt: (instant) => {
        this.#sweeper.wakeAt(instant)
      },
      available: (pool) => {
        this.#waiters.available(pool)
        this.events.touched(pool) // nobody has changed a key whose rest is over
      },
      documents: async () => {
        await Promise.all(this.#onDocuments.map((callback) => callback()))
      },
      changed: (changes) => {
        this.events.changed(changes)
      },
      isHeard: () => this.events.isHeard,
      tallied: (pool, tally) => {
        this.events.tallied(pool, tally)
      },
      poolChanged: (pool, change) => {
        this.events.poolChanged(pool, change)
      },
      missed: () => {
        this.events.missed()
      },
      health: (health) => {
        this.#storeHealth = health
      },
      failed: (failure) => {
        this.#failure.resolve(failure)
      },
    }
  }

  async #acquire(pool: string, request: Request): Promise<Acquired> {
    if (this.#waiters.isAhead(pool) && !(await this.#waiters.mayDraw(pool))) {
      return this.#waiters.refusal(pool, request.operation)
    }
    const [acquired] = await this.#store.run(pool, operationsOf(request))
    return acquired as Acquired
  }

  async #wait(pool: string, request: Request, patience: Patience): Promise<Acquired> {
    const acquired = this.#waiters.wait(pool, request, patience)
    this.events.touched(pool)
    try {
      return await acquired
    } finally {
      this.events.touched(pool)
    }
  }
}
