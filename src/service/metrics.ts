import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { StoreStats } from '../store/store.ts'
import type { Orchestrator } from './orchestrator.ts'

/** Pools shown by name; the rest are summed, so that no number of pools makes a scrape huge. */
const NAMED_POOLS = 1000
/** The label of the rest: no pool can have that name. */
const OTHER_POOLS = '_other'
const STATES = ['available', 'leased', 'cooling', 'disabled'] as const

/** The figures of a server in Prometheus' format. They are read off the store when they are asked for. */
export class Metrics {
  readonly #orchestrator: Orchestrator
  readonly #registry = new Registry()
  readonly #keys: Gauge<'pool' | 'state'>
  readonly #waiters: Gauge<'pool'>
  readonly #ready: Gauge
  readonly #pools: Gauge
  readonly #bytes: Gauge
  readonly #changes: Counter<'kind'>

  /** `refusals` counts the requests that were refused in an overload. */
  constructor(orchestrator: Orchestrator, refusals: () => number) {
    this.#orchestrator = orchestrator
    const registers = [this.#registry]
    collectDefaultMetrics({ register: this.#registry })
    this.#keys = new Gauge({
      name: 'token_orchestrator_keys',
      help: 'Keys by pool and state.',
      labelNames: ['pool', 'state'],
      registers,
    })
    this.#waiters = new Gauge({
      name: 'token_orchestrator_waiters',
      help: 'Callers who wait for a key, by pool.',
      labelNames: ['pool'],
      registers,
    })
    this.#ready = new Gauge({
      name: 'token_orchestrator_ready',
      help: 'Whether the server takes work, as /readyz says: 1 or 0.',
      registers,
    })
    this.#pools = new Gauge({ name: 'token_orchestrator_pools', help: 'Pools.', registers })
    this.#bytes = new Gauge({
      name: 'token_orchestrator_store_bytes',
      help: 'Memory of the structures that hold the keys.',
      registers,
    })
    this.#changes = new Counter({
      name: 'token_orchestrator_changes_total',
      help: 'What has happened to keys and leases since the start, by kind.',
      labelNames: ['kind'],
      registers,
    })
    new Counter({
      name: 'token_orchestrator_overload_refusals_total',
      help: 'Requests refused since the start because more was asked for than could be done.',
      registers,
      collect() {
        this.reset()
        this.inc(refusals())
      },
    })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  async text(): Promise<string> {
    this.#read(await this.#orchestrator.stats(NAMED_POOLS))
    return this.#registry.metrics()
  }

  #read(stats: StoreStats): void {
    this.#keys.reset()
    for (const state of STATES) {
      let others = stats.keys[state]
      for (const { name, counts } of stats.pools) {
        this.#keys.set({ pool: name, state }, counts[state])
        others -= counts[state]
      }
      if (stats.poolCount > stats.pools.length) {
        this.#keys.set({ pool: OTHER_POOLS, state }, others)
      }
    }
    this.#readWaiters(stats)
    this.#ready.set(this.#orchestrator.status === 'ready' ? 1 : 0)
    this.#pools.set(stats.poolCount)
    this.#bytes.set(stats.bytes)
    this.#changes.reset()
    for (const [kind, count] of Object.entries(stats.changes)) this.#changes.inc({ kind }, count)
  }
  #readWaiters({ pools, poolCount }: StoreStats): void {
    this.#waiters.reset()
    let others = this.#orchestrator.allWaiters
    for (const { name } of pools) {
      const waiters = this.#orchestrator.waiters(name)
      this.#waiters.set({ pool: name }, waiters)
      others -= waiters
    }
    if (poolCount > pools.length) this.#waiters.set({ pool: OTHER_POOLS }, others)
  }
}
