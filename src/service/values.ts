import type { Clock } from '../clock.ts'
import type { Lease, NewKey, Operation } from '../engine/operations.ts'
import type { Random } from '../engine/random.ts'
import { generateValue } from './generated-value.ts'
import { UnreadableValue, type Vault } from './vault.ts'
import type { RunPool } from './waiters.ts'

/** How long values are encrypted or decrypted before others have their turn. */
const TURN_MS = 4
const WHY_UNREADABLE = 'its value will not decrypt'

/** A credential to be kept, and what goes with it. */
export interface NewValue extends Omit<NewKey, 'value'> {
  value: string
}

/** The way of values from callers into the store, and back to those who hold a lease. */
export class Values {
  readonly #vault: Vault
  readonly #clock: Clock
  readonly #random: Random
  readonly #run: RunPool
  readonly #onUnreadable: (pool: string, keyId: string) => void

  constructor(
    vault: Vault,
    clock: Clock,
    random: Random,
    run: RunPool,
    onUnreadable: (pool: string, keyId: string) => void = () => undefined,
  ) {
    this.#vault = vault
    this.#clock = clock
    this.#random = random
    this.#run = run
    this.#onUnreadable = onUnreadable
  }

  /** New ones that begin so. */
  generate(count: number, prefix: string): Promise<NewValue[]> {
    const places = Array.from({ length: count }, (_, place) => place)
    return this.#inTurns(places, () => ({
      value: generateValue(prefix, this.#random),
      name: null,
      metadata: null,
    }))
  }

  sealAll(pool: string, values: readonly NewValue[]): Promise<NewKey[]> {
    return this.#inTurns(values, ({ value, ...rest }) => ({
      ...rest,
      value: this.#vault.seal(pool, value),
    }))
  }

  /**
   * The values of leased keys; null: the key is plain. Of what will not decrypt, undefined stands here, the lease
   * is ended and the key disabled, so that nobody draws it again.
   */
  async openAll(pool: string, leases: readonly Lease[]): Promise<(string | null | undefined)[]> {
    if (leases.some(({ sealed }) => sealed !== null && !this.#vault.knows(sealed)))
      await this.#vault.refresh()
    const unreadable: Operation[] = []
    const values = await this.#inTurns(leases, ({ sealed, leaseId, keyId }) => {
      if (sealed === null) return null
      try {
        return this.#vault.open(pool, sealed)
      } catch (error) {
        if (!(error instanceof UnreadableValue)) throw error
        this.#onUnreadable(pool, keyId)
        const reason = WHY_UNREADABLE
        unreadable.push({ op: 'release', leaseId, outcome: 'invalid', reason })
        return undefined
      }
    })
    if (unreadable.length > 0) await this.#run(pool, unreadable)
    return values
  }

  async #inTurns<T, R>(items: readonly T[], work: (item: T) => R): Promise<R[]> {
    const results: R[] = []
    let end = this.#clock.elapsedMs() + TURN_MS
    for (const item of items) {
      if (this.#clock.elapsedMs() >= end) {
        await this.#clock.yield()
        end = this.#clock.elapsedMs() + TURN_MS
      }
      results.push(work(item))
    }
    return results
  }
}
