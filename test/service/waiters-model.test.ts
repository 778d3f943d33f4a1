/** Whatever happens, in whatever order: the real waiters on the real store, beside a model of their queue. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Operation } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY, type Policy } from '../../src/engine/policy.ts'
import { OUTCOMES } from '../../src/engine/transitions.ts'
import type { Acquired } from '../../src/service/waiters.ts'
import { type Asker, QueueModel } from '../support/queue-model.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { Caller, WaitingRoom } from '../support/waiting.ts'

const RUNS = Math.ceil(Number(process.env.MODEL_RUNS ?? 5000) / 10)
const POLICY: Policy = { ...DEFAULT_POLICY, keyLifetimeMs: null, leaseTtlMs: 100, cooldownMs: 0 }
const POLICIES: Policy[] = [
  POLICY,
  { ...POLICY, cooldownMs: 40, expiredLeaseCooldownMs: 40, failureCooldownMs: 20 },
  { ...POLICY, keyLifetimeMs: 200 },
  { ...POLICY, maxLeaseTtlMs: 100 },
]

type Step =
  | { do: 'wait'; waitMs: number; ttlMs: number | undefined }
  | { do: 'wait for one'; which: number }
  | { do: 'ask again'; key: number; waitMs: number }
  | { do: 'draw' | 'turn' | 'microtask' | 'commit' | 'delete the pool' }
  | { do: 'hang up' | 'delete' | 'disable' | 'enable' | 'rest no more' | 'revoke'; which: number }
  | { do: 'release'; which: number; outcome: (typeof OUTCOMES)[number] }
  | { do: 'batch'; which: number; count: number }
  | { do: 'create'; count: number }
  | { do: 'policy'; which: number }
  | { do: 'advance'; ms: number }

const which = fc.nat({ max: 50 })
const waitMs = fc.integer({ min: 1, max: 300 })
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('wait'),
      waitMs,
      ttlMs: fc.constantFrom(undefined, undefined, 50, 500),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait for one'), which }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('ask again'),
      key: fc.nat({ max: 2 }),
      waitMs: fc.oneof(fc.constant(0), waitMs),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('draw') }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constantFrom('turn', 'microtask', 'commit') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('hang up'), which }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('release'),
      which,
      outcome: fc.constantFrom('ok', ...OUTCOMES),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('batch'),
      which,
      count: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('delete', 'disable', 'enable', 'rest no more', 'revoke'),
      which,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('create'), count: fc.integer({ min: 1, max: 2 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('policy'), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete the pool') }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance'), ms: fc.integer({ min: 1, max: 150 }) }),
  },
)

/** A pool, all who ask for its keys, and a disk whose commits end when that is one of the steps. */
class Scene {
  readonly room: WaitingRoom
  readonly model: QueueModel
  readonly #decide: ((fate: 'committed') => void) | null
  readonly #keyIds: string[] = []
  /** What is done beside, and may fail. */
  readonly #asides: Promise<unknown>[] = []
  #isGone = false

  private constructor(room: WaitingRoom, model: QueueModel, isHeld: boolean) {
    this.room = room
    this.model = model
    this.#decide = isHeld ? room.holdCommits() : null
  }

  static async open(isHeld: boolean): Promise<Scene> {
    let room: WaitingRoom | null = null
    const model = new QueueModel(() => room!.clock.now())
    const disk = isHeld ? new SimulatedDisk() : undefined
    room = await WaitingRoom.open(POLICY, {
      disk,
      watch: (store) => {
        model.watch(store)
      },
    })
    return new Scene(room, model, isHeld)
  }

  async do(step: Step): Promise<void> {
    const { room } = this
    switch (step.do) {
      case 'wait':
        this.#ask({ ttlMs: step.ttlMs }, step.waitMs, null)
        break
      case 'wait for one':
        this.#ask({ keyId: this.#keyId(step.which) ?? 'none' }, 100, null)
        break
      case 'ask again':
        this.#ask({}, step.waitMs, `key ${step.key}`)
        break
      case 'draw':
        this.#ask({}, 0, null)
        break
      case 'turn':
        return room.clock.yield()
      case 'microtask':
        return Promise.resolve()
      case 'commit':
        if (this.#isCommitting) this.#decide!('committed')
        break
      case 'hang up': {
        const waiting = this.model.askers.filter(
          ({ waitMs, caller }) => waitMs > 0 && caller.state === 'waits' && !caller.isGone,
        )
        waiting[step.which % waiting.length]?.caller.hangUp()
        break
      }
      case 'release': {
        const leaseId = this.#leaseId(step.which)
        if (leaseId !== undefined) this.#run({ op: 'release', leaseId, outcome: step.outcome })
        break
      }
      case 'batch':
        this.#batch(step.which, step.count)
        break
      case 'create':
        this.#aside(
          room.run({ op: 'create', count: step.count }).then((created) => {
            if ('keyIds' in created) this.#keyIds.push(...created.keyIds)
          }),
        )
        break
      case 'policy':
        if (!this.#isGone) this.#putPool(POLICIES[step.which % POLICIES.length]!)
        break
      case 'delete the pool':
        this.#deletePool()
        break
      case 'advance':
        return room.clock.advance(step.ms)
      default:
        this.#onKey(step)
    }
  }

  /** Lets all come to rest that waits for no time, and looks. */
  async rest(): Promise<void> {
    const { room, model } = this
    for (let turn = 0; turn < 120; turn++) {
      await room.clock.yield()
      if (this.#isCommitting) this.#decide!('committed')
    }
    if (this.#isGone) this.#putPool(POLICY)
    this.#isGone = false
    this.model.poolComes()
    for (let turn = 0; turn < 60; turn++) {
      await room.clock.yield()
      if (this.#isCommitting) this.#decide!('committed')
    }
    await Promise.all(this.#asides.splice(0))
    model.check()
    this.#checkAnswers()
    await this.#checkKeys()
  }

  async close(): Promise<void> {
    await this.room[Symbol.asyncDispose]()
  }

  get #isCommitting(): boolean {
    return this.#decide !== null && this.room.isCommitting
  }

  /** Everybody is told what he has to be told, in time, and not before. */
  #checkAnswers(): void {
    const { room, model } = this
    const now = room.clock.now()
    const waiting = model.askers.filter(({ caller }) => caller.state === 'waits')
    assert.equal(room.orchestrator.waiters('pool'), waiting.length)
    for (const asker of waiting) {
      assert.ok(now < asker.latest, 'somebody waits too long')
      asker.latest = Math.min(asker.latest, now + asker.waitMs)
    }
    const grants = new Map<string, number>()
    for (const asker of model.askers) {
      const { key, tokens } = asker
      if (isInVain(asker)) assert.ok(asker.toldAt >= asker.deadline, 'told too early')
      if (key !== null) grants.set(key, (grants.get(key) ?? 0) + tokens.length)
    }
    for (const [key, count] of grants) assert.ok(count <= 1, `${key} was done ${count} times`)
  }

  /** No key lies idle while somebody waits, and each that is leased is held by somebody who knows. */
  async #checkKeys(): Promise<void> {
    const { room, model } = this
    const listing = room.run({ op: 'list', limit: 1000 })
    for (let turn = 0; turn < 3; turn++) {
      await room.clock.yield()
      if (this.#isCommitting) this.#decide!('committed')
    }
    const listed = await listing
    assert('keys' in listed)
    const isWaitedFor = model.askers.some(({ caller }) => caller.state === 'waits')
    const isIdle = listed.keys.some(({ state }) => state === 'available')
    assert.ok(!isWaitedFor || !isIdle, 'a key lies idle')
    const known = model.askers.flatMap((asker) => (isKnown(asker) ? asker.tokens : []))
    for (const { lease } of listed.keys) {
      assert.ok(lease === null || known.includes(lease.fencingToken), 'a key is held by nobody')
    }
  }

  #ask(asked: { ttlMs?: number | undefined; keyId?: string }, waitMs: number, key: string | null) {
    const { orchestrator } = this.room
    const repeatable = key === null ? null : { key, body: 'body' }
    this.model.ask(asked, waitMs, key, (operation) => {
      return new Caller((gone) => {
        const patience = waitMs === 0 ? null : { waitMs, gone, bar: () => null }
        return orchestrator.acquireLease('pool', operation, patience, repeatable)
      })
    })
  }

  /** Gives a key back and takes some, in one call. */
  #batch(which: number, count: number): void {
    const leaseId = this.#leaseId(which) ?? 'none'
    this.model.ask({ count }, 0, null, (operation) => {
      const operations: Operation[] = [{ op: 'release', leaseId }, operation]
      return new Caller(async () => {
        const results = await this.room.orchestrator.runBatch('pool', operations, null)
        assert(Array.isArray(results))
        return results[1] as Acquired
      })
    })
  }

  #onKey(step: Extract<Step, { which: number }>): void {
    const keyId = this.#keyId(step.which)
    if (keyId === undefined) return
    if (step.do === 'delete') this.#run({ op: 'remove', keyId })
    else if (step.do === 'disable') this.#run({ op: 'update', keyId, disabled: true })
    else if (step.do === 'enable') this.#run({ op: 'update', keyId, disabled: false })
    else if (step.do === 'revoke') this.#run({ op: 'revoke', keyId })
    else this.#run({ op: 'update', keyId, coolingUntil: null })
  }

  #deletePool(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.model.poolGoes()
    this.#aside(this.room.orchestrator.removePool('pool', true))
  }

  #putPool(policy: Policy): void {
    this.#aside(this.room.orchestrator.putPool('pool', policy))
  }

  #run(operation: Exclude<Operation, { op: 'acquire' }>): void {
    this.#aside(this.room.run(operation))
  }

  #aside(work: Promise<unknown>): void {
    this.#asides.push(work)
  }

  #keyId(which: number): string | undefined {
    return this.#keyIds[which % this.#keyIds.length]
  }

  #leaseId(which: number): string | undefined {
    const holders = this.model.askers.filter(({ caller }) => caller.state === 'holds')
    return holders[holders.length - 1 - (which % holders.length)]?.caller.lease.leaseId
  }
}

function isInVain({ waitMs, caller: { state, isGone } }: Asker): boolean {
  return waitMs > 0 && !isGone && (state === 'pool_exhausted' || state === 'pool_empty')
}

/** Whether he has been told of what he was granted, or may come for it. */
function isKnown({ key, caller }: Asker): boolean {
  return key !== null || caller.state === 'holds'
}

for (const [where, isHeld] of [
  ['in memory', false],
  ['on a disk that takes its time', true],
] as const) {
  test(`first come, first served, whatever happens, ${where}`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 20 }), { maxLength: 6, size: 'max' }),
        async (rounds) => {
          const scene = await Scene.open(isHeld)
          try {
            for (const steps of rounds) {
              for (const step of steps) await scene.do(step)
              await scene.rest()
            }
          } finally {
            await scene.close()
          }
        },
      ),
      { numRuns: RUNS },
    )
  })
}
