/** What callers ask for: mostly sense, about keys and leases that are or once were. */
import type { AcquireOperation, Operation } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { STATE_NAMES } from '../../src/engine/rows.ts'
import { OUTCOMES } from '../../src/engine/transitions.ts'
import type { Repeatable } from '../../src/service/requests.ts'
import type { Model } from '../support/model.ts'
import type { ModelKey } from '../support/model-key.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

const SECOND = 1000

const POLICIES: Policy[] = [
  DEFAULT_POLICY,
  // Short-lived keys which their owners keep alive.
  { ...DEFAULT_POLICY, keyLifetimeMs: 2 * SECOND, leaseTtlMs: 500, cooldownMs: 100 },
  // Keys of a provider who limits rates.
  {
    ...DEFAULT_POLICY,
    keyLifetimeMs: 60 * SECOND,
    leaseTtlMs: 5 * SECOND,
    cooldownMs: 300,
    expiredLeaseCooldownMs: 2 * SECOND,
    failureCooldownMs: SECOND,
    maxFailureCooldownMs: 4 * SECOND,
  },
  // A few accounts that many want, held for a while, and renewed.
  {
    ...DEFAULT_POLICY,
    keyLifetimeMs: null,
    leaseTtlMs: 3 * SECOND,
    maxLeaseTotalMs: 8 * SECOND,
    maxKeys: 12,
  },
  { ...DEFAULT_POLICY, keyLifetimeMs: 20 * SECOND, leaseTtlMs: 4 * SECOND },
]

/** More than there is room for. */
export const POOL_NAMES = ['default', 'a', 'b', 'c', 'd', 'storm', 'other']

const NAMES = ['a', 'b', 'c']
/** Whose leases are: mostly nobody's who has a name. */
const HOLDERS = [undefined, undefined, ...NAMES]
const VALUES = 40

/** Kinds of operations, the frequent ones counted more than once. */
const KINDS = 24

const WAITS_MS = [1, 100, SECOND, 10 * SECOND, 60 * SECOND]

export type Request =
  | {
      kind: 'acquire'
      operation: AcquireOperation
      waitMs: number
      repeatable: Repeatable | null
    }
  | { kind: 'create'; count: number; repeatable: Repeatable }
  | { kind: 'batch'; operations: Operation[]; repeatable: Repeatable | null }

export class Callers {
  readonly #random: SeededRandom
  readonly #stormKeys: number
  readonly #stormChance: number
  /** That they know of: in some seeds all, in some only one. */
  readonly pools: readonly string[]
  /** What is done most: each seed has its own. */
  readonly #habits: readonly number[]

  constructor(random: SeededRandom, stormKeys: number) {
    this.#random = random
    this.#stormKeys = stormKeys
    this.#stormChance = random.pick([0.01, 0.05, 0.15])!
    this.pools = POOL_NAMES.slice(0, 1 + random.below(POOL_NAMES.length))
    this.#habits = Array.from({ length: 4 }, () => random.below(KINDS))
  }

  /** A new object each time. */
  policy(): Policy {
    const policy = this.#random.pick(POLICIES)!
    return this.#random.chance(0.3) ? { ...policy, maxKeys: 20 } : { ...policy }
  }

  /** What one caller asks for in one call. */
  operations(model: Model, pool: string, lost: readonly string[]): Operation[] {
    const count = this.#random.chance(0.7) ? 1 : 1 + this.#random.below(4)
    return Array.from({ length: count }, () => this.#operation(model, pool, lost))
  }

  /** One who waits for a key, or who may ask for the same again. */
  request(model: Model, pool: string, lost: readonly string[]): Request {
    const random = this.#random
    const kind = random.pick(['wait', 'wait', 'acquire', 'create', 'batch'] as const)!
    const repeatable = kind !== 'wait' || random.chance(0.3) ? this.#repeatable(pool, kind) : null
    if (kind === 'create') return { kind, count: 1 + random.below(3), repeatable: repeatable! }
    if (kind === 'batch') {
      const operations = this.operations(model, pool, lost)
      return { kind, operations, repeatable }
    }
    const keyId = random.chance(0.05) ? this.#key(model, pool)?.id : undefined
    const operation = { op: 'acquire', count: 1, ttlMs: this.#ttlMs(), keyId } as const
    const waitMs = kind === 'wait' ? random.pick(WAITS_MS)! : 0
    return { kind: 'acquire', operation, waitMs, repeatable }
  }

  /** One of a few, so that most of them are repeats; sometimes with another body. */
  #repeatable(pool: string, kind: string): Repeatable {
    const random = this.#random
    const path = kind === 'wait' ? 'acquire' : kind
    return {
      key: `${pool} ${path} ${random.below(4)}`,
      body: random.chance(0.95) ? 'first' : 'second',
    }
  }

  #operation(model: Model, pool: string, lost: readonly string[]): Operation {
    const random = this.#random
    if (random.chance(this.#stormChance)) return this.#large()
    const key = this.#key(model, pool)
    if (key === undefined || random.chance(0.1)) return this.#create(1 + random.below(5))
    const keyId = key.id
    const leaseId = this.#leaseId(key, lost)
    const chosen = random.chance(0.5) ? random.pick(this.#habits)! : random.below(KINDS)
    const holder = random.pick(HOLDERS)
    if (chosen < 5)
      return { op: 'acquire', count: 1 + random.below(3), ttlMs: this.#ttlMs(), holder }
    if (chosen < 6) return this.#byHolder(random.pick(NAMES)!)
    if (chosen < 7) return { op: 'acquire', count: 1, ttlMs: this.#ttlMs(), keyId }
    if (chosen < 9) return { op: 'keepAlive', keyId }
    if (chosen < 10) return { op: 'unblock', keyId, leaseId: random.pick([undefined, leaseId]) }
    if (chosen < 11) return { op: random.chance(0.5) ? 'remove' : 'revoke', keyId }
    if (chosen < 12) return this.#update(keyId)
    if (chosen < 14) return { op: 'show', keyId }
    if (chosen < 15) return { op: 'describe' }
    if (chosen < 16) return this.#list(model, pool)
    if (chosen < 17 && leaseId !== undefined) return { op: 'showLease', leaseId }
    if (leaseId === undefined) return { op: 'acquire', count: 1, ttlMs: this.#ttlMs() }
    if (chosen < 20) {
      return { op: 'renew', leaseId, ttlMs: this.#ttlMs(), keepAlive: random.chance(0.3) }
    }
    const outcome = random.pick(OUTCOMES)
    const retryAfterMs = random.chance(0.2) ? random.below(3 * SECOND) : undefined
    return { op: 'release', leaseId, outcome, retryAfterMs, reason: this.#reason() }
  }

  #large(): Operation {
    const random = this.#random
    const count = 1 + random.below(this.#stormKeys)
    if (random.chance(0.5)) return { op: 'acquire', count }
    return random.chance(0.5) ? { op: 'create', count } : this.#create(count)
  }

  #create(count: number): Operation {
    const random = this.#random
    if (random.chance(0.15)) return this.#import(count)
    if (random.chance(0.7)) return { op: 'create', count }
    return { op: 'create', count, lifetimeMs: random.pick([null, 1, SECOND, 10 * SECOND])! }
  }

  /** Of values that are few, so that they come twice. */
  #import(count: number): Operation {
    const random = this.#random
    const keys = Array.from({ length: count }, () => {
      const number = random.below(VALUES)
      return {
        value: { sealed: `sealed ${number}`, digest: `digest ${number}` },
        name: random.pick([null, ...NAMES])!,
        metadata: random.pick([null, '{}'])!,
        // Where keys live for ever, nobody has to wait for one.
        lifetimeMs: random.pick([undefined, SECOND, SECOND, 10 * SECOND]),
      }
    })
    return { op: 'import', keys, onDuplicate: random.chance(0.8) ? 'skip' : 'refuse' }
  }

  #byHolder(holder: string): Operation {
    const random = this.#random
    const limit = 1 + random.below(5)
    return random.chance(0.5)
      ? { op: 'listLeases', limit, holder }
      : { op: 'revokeLeases', holder, limit, grantedBy: Number.MAX_SAFE_INTEGER }
  }

  #update(keyId: string): Operation {
    if (this.#random.chance(0.3)) {
      const name = this.#random.pick([undefined, null, ...NAMES])
      return { op: 'update', keyId, name, metadata: this.#random.pick([undefined, null, '{}']) }
    }
    const disabled = this.#random.pick([true, false, undefined])
    const reason = this.#reason()
    return this.#random.chance(0.5)
      ? { op: 'update', keyId, disabled, reason }
      : { op: 'update', keyId, disabled, reason, coolingUntil: null }
  }

  #list(model: Model, pool: string): Operation {
    const random = this.#random
    const cursor = random.chance(0.5) ? this.#key(model, pool)?.id : undefined
    const state = random.chance(0.3) ? random.pick(STATE_NAMES) : undefined
    return { op: 'list', limit: 1 + random.below(10), state, cursor }
  }

  /** Mostly one that has come to be lately, for those are alive. */
  #key(model: Model, pool: string): ModelKey | undefined {
    const keys = model.pools.get(pool)?.keys ?? []
    const lately = this.#random.chance(0.8) ? Math.min(keys.length, 20) : keys.length
    return keys[keys.length - 1 - this.#random.below(lately)]
  }

  #leaseId(key: ModelKey, lost: readonly string[]): string | undefined {
    const random = this.#random
    if (lost.length > 0 && random.chance(0.05)) return random.pick(lost)
    return random.chance(0.8) ? key.leases.at(-1)?.id : random.pick(key.leases)?.id
  }

  #ttlMs(): number | undefined {
    const { maxLeaseTtlMs } = DEFAULT_POLICY
    return this.#random.pick([
      undefined,
      undefined,
      200,
      2 * SECOND,
      30 * SECOND,
      2 * maxLeaseTtlMs,
    ])
  }

  #reason(): string | undefined {
    return this.#random.pick([undefined, 'revoked upstream', 'leaked'])
  }
}
