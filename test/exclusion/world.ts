/** The pools that callers lease from, and what all of them have seen together. */
import assert from 'node:assert/strict'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { Connection } from '../support/connection.ts'
import type { History } from './history.ts'

/** What must have happened for a trial to be worth its time. */
export const ACTS = [
  'drew',
  'leased',
  'waited',
  'leased that key',
  'leased in a batch',
  'repeated',
  'heard late',
  'hung up',
  'renewed',
  'renewed too late',
  'released too late',
  'ended by another',
  'made keys',
] as const

export type Act = (typeof ACTS)[number]

const POOLS: { name: string; keys: number; policy: Partial<Policy> }[] = [
  { name: 'default', keys: 400, policy: { keyLifetimeMs: null, leaseTtlMs: 100 } },
  // Many want few.
  {
    name: 'scarce',
    keys: 30,
    policy: { keyLifetimeMs: null, leaseTtlMs: 200, maxLeaseTotalMs: 500 },
  },
  // Keys that die while they are leased, unless they are kept alive, and rest in between.
  {
    name: 'brief',
    keys: 200,
    policy: { keyLifetimeMs: 1500, cooldownMs: 3, expiredLeaseCooldownMs: 5 },
  },
]

/** More than callers of a right server need to be given a lease. */
const STEPS_A_LEASE = 5

export class Pool {
  readonly name: string
  readonly policy: Policy
  /** How many keys it is filled with. */
  readonly size: number
  /** Keys that it has, as far as anybody knows. */
  readonly keyIds: string[] = []
  isBeingFilled = false

  constructor(name: string, size: number, policy: Partial<Policy>) {
    this.name = name
    this.size = size
    this.policy = { ...DEFAULT_POLICY, ...policy }
  }

  get path(): string {
    return `/v1/pools/${this.name}`
  }

  get isClassic(): boolean {
    return this.name === 'default'
  }

  made(history: History, keyId: string, sentAt: number): void {
    this.keyIds.push(keyId)
    this.keptAlive(history, keyId, sentAt)
  }

  keptAlive(history: History, keyId: string, sentAt: number): void {
    const { keyLifetimeMs } = this.policy
    if (keyLifetimeMs !== null) history.livesOn(keyId, sentAt, keyLifetimeMs)
  }

  forget(keyId: string): void {
    const at = this.keyIds.indexOf(keyId)
    if (at >= 0) this.keyIds.splice(at, 1)
  }
}

export class World {
  /** Of servers that do the same. */
  readonly #ports: readonly number[]
  #connections = 0
  readonly history: History
  readonly pools: readonly Pool[]
  readonly acts = new Map<Act, number>()
  readonly #enough: number
  #number = 0
  #steps = 0

  constructor(ports: readonly number[], history: History, enough: number, shards: number) {
    this.pools = POOLS.map(({ name, keys, policy }) => {
      // The default pool was there before.
      return new Pool(name, keys, name === 'default' ? policy : { ...policy, shards })
    })
    this.#ports = ports
    this.history = history
    this.#enough = enough
  }

  /** To one server after the other. */
  connect(): Connection {
    return new Connection(this.#ports[this.#connections++ % this.#ports.length]!)
  }

  /** Also where the server gives so little that there is no end to it. */
  get isEnough(): boolean {
    return this.history.held.length >= this.#enough || ++this.#steps > STEPS_A_LEASE * this.#enough
  }

  /** Makes the pools anew. They have no keys yet. */
  async begin(): Promise<void> {
    const connection = this.connect()
    for (const { name, path, policy } of this.pools) {
      await connection.ask('DELETE', `${path}?force=true`)
      const put = await connection.ask('PUT', path, policy)
      assert(put !== null)
      assert.equal(put.status, name === 'default' ? 200 : 201, put.text)
    }
    connection.close()
  }

  /** Different each time. */
  nextNumber(): number {
    return ++this.#number
  }

  saw(act: Act): void {
    this.acts.set(act, (this.acts.get(act) ?? 0) + 1)
  }
}
