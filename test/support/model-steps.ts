/** The steps of a random test, each done by the system under test and by the model, and compared. */
import assert from 'node:assert/strict'
import type fc from 'fast-check'
import type * as engineModule from '../../src/engine/engine.ts'
import type { Refusal } from '../../src/engine/errors.ts'
import type { Operation, Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { Outcome } from '../../src/engine/transitions.ts'
import { Model, type Traits } from './model.ts'
import { SeededRandom } from './seeded-random.ts'

export const LIMITS = { maxTotalKeys: 1000, maxPools: 100 }

const START = Date.UTC(2030, 0, 1)
/** Fencing tokens are exact as long as ms × 1000 is. */
const END_OF_TIME = Number.MAX_SAFE_INTEGER / 1000 - 4e11
const MAX_TURNS = 1000

type MaybePromise<T> = T | Promise<T>

/** What is tested: an engine, or a store. */
export interface Subject {
  run(pool: string, operations: Operation[], now: number): MaybePromise<readonly Result[]>
  putPool(name: string, policy: Policy): MaybePromise<unknown>
  removePool(name: string): MaybePromise<Refusal | null>
  settle(now: number): MaybePromise<void>
  /** What falls due next, as far as the subject tells. */
  readonly nextDue?: number
  close?(): Promise<void>
}

/** What a test of the engine imports of it: the real one, or a mutant. */
export type EngineModule = Pick<typeof engineModule, 'Engine' | 'Run'>

export class EngineSubject implements Subject {
  readonly #module: EngineModule
  readonly #engine: engineModule.Engine

  constructor(module: EngineModule, seed: number) {
    this.#module = module
    this.#engine = new module.Engine(LIMITS, new SeededRandom(seed))
  }

  get nextDue(): number {
    return this.#engine.nextDue
  }

  run(pool: string, operations: Operation[], now: number): Result[] {
    const run = new this.#module.Run(pool, operations)
    for (let turn = 0; !this.#engine.run(run, now); turn++) {
      assert(turn < MAX_TURNS, 'settling never ends')
      this.#engine.settle(now, 64)
    }
    return run.results
  }

  putPool(name: string, policy: Policy): unknown {
    return this.#engine.putPool(name, policy)
  }

  removePool(name: string): Refusal | null {
    const removed = this.#engine.removePool(name, { force: true }, 0)
    assert(typeof removed === 'object')
    return removed
  }

  settle(now: number): void {
    for (let turn = 0; this.#engine.nextDue <= now; turn++) {
      assert(turn < MAX_TURNS, 'settling never ends')
      this.#engine.settle(now, 64)
    }
  }
}

export class World {
  readonly model: Model
  readonly subject: Subject
  now = START

  constructor(subject: Subject, traits: Traits) {
    this.subject = subject
    this.model = new Model(LIMITS.maxTotalKeys, traits)
  }
}

abstract class Step implements fc.AsyncCommand<World, undefined> {
  check(world: Readonly<World>): boolean {
    return world.now < END_OF_TIME
  }

  async run(world: World): Promise<void> {
    await this.act(world)
    this.#checkNextDue(world)
  }

  /** What falls due next is known exactly, unless something is due already. */
  #checkNextDue({ subject, model, now }: World): void {
    const due = subject.nextDue
    if (due === undefined || (due <= now && !(this instanceof Settle))) return
    assert(model.mayBeNextDue(due, now), `nextDue: ${due}`)
  }

  abstract act(world: World): MaybePromise<void>
  abstract toString(): string
}

/** How a key or a lease is named before the run in which it comes to be. */
export type Choice = { present: number } | { past: number } | { text: string }

export interface Recipe {
  op: Operation['op']
  key?: Choice | undefined
  lease?: Choice | undefined
  after?: Choice | undefined
  /** How long ago, in ms, a lease may have been granted at the latest. */
  agoMs?: number | undefined
  /** Which of the requests to the pool it is about. */
  request?: number | undefined
  [field: string]: unknown
}

export class Operate extends Step {
  readonly #pool: string
  readonly #recipes: Recipe[]

  constructor(pool: string, recipes: Recipe[]) {
    super()
    this.#pool = pool
    this.#recipes = recipes
  }

  async act({ subject, model, now }: World): Promise<void> {
    const { keyIds, leaseIds } = model.present(this.#pool, now)
    const pastLeaseIds = model.leases.map(({ id }) => id)
    const operations = this.#recipes.map(
      ({ key, lease, after, agoMs, request, ...fields }, place) =>
        ({
          ...fields,
          ...(request !== undefined && { key: `${this.#pool} ${request}` }),
          ...(fields.op === 'remember' && { count: Math.min(fields.count as number, place) }),
          ...(key && { keyId: choose(key, keyIds, model.keyIds) }),
          ...(lease && { leaseId: choose(lease, leaseIds, pastLeaseIds) }),
          ...(agoMs !== undefined && { grantedBy: now - agoMs }),
          ...(after && { cursor: choose(after, keyIds, model.keyIds) }),
        }) as Operation,
    )
    const results = await subject.run(this.#pool, operations, now)
    assert.equal(results.length, operations.length)
    results.forEach((result, place) => {
      model.check(this.#pool, operations[place]!, result, now, results.slice(0, place))
    })
  }

  override toString(): string {
    return `${this.#pool}: ${JSON.stringify(this.#recipes)}`
  }
}

/** One key is leased and given back again and again, with these outcomes, its rests cut short. */
export class Wear extends Step {
  readonly #pool: string
  readonly #key: Choice
  readonly #outcomes: Outcome[]

  constructor(pool: string, key: Choice, outcomes: Outcome[]) {
    super()
    this.#pool = pool
    this.#key = key
    this.#outcomes = outcomes
  }

  async act(world: World): Promise<void> {
    const { model, now } = world
    const keyId = choose(this.#key, model.present(this.#pool, now).keyIds, model.keyIds)
    for (const outcome of this.#outcomes) {
      await this.#do(world, { op: 'update', keyId, disabled: undefined, coolingUntil: null })
      const acquired = await this.#do(world, { op: 'acquire', count: 1, keyId })
      if (!('leases' in acquired)) continue
      const { leaseId } = acquired.leases[0]!
      await this.#do(world, { op: 'release', leaseId, outcome })
      await this.#do(world, { op: 'show', keyId })
    }
  }

  async #do({ subject, model, now }: World, operation: Operation): Promise<Result> {
    const [result] = await subject.run(this.#pool, [operation], now)
    model.check(this.#pool, operation, result!, now, [])
    return result!
  }

  override toString(): string {
    return `${this.#pool}: wear ${JSON.stringify(this.#key)} ${this.#outcomes.join()}`
  }
}

function choose(choice: Choice, present: string[], past: string[]): string {
  if ('text' in choice) return choice.text
  if ('present' in choice)
    return present[choice.present % present.length] ?? past.at(-1 - choice.present) ?? 'none'
  return past.at(-1 - (choice.past % past.length)) ?? 'none'
}

export type Jump =
  { ms: number } | { deadline: number; offset: number } | { forgetting: number; offset: number }

export class Advance extends Step {
  readonly #jump: Jump

  constructor(jump: Jump) {
    super()
    this.#jump = jump
  }

  act(world: World): void {
    world.now = Math.max(world.now, this.#target(world))
  }

  #target({ model, now }: World): number {
    const jump = this.#jump
    if ('ms' in jump) return now + jump.ms
    const isForgetting = 'forgetting' in jump
    const instants = isForgetting ? model.forgettings(now) : model.deadlines(now)
    const which = isForgetting ? jump.forgetting : jump.deadline
    return (instants[which % instants.length] ?? now) + jump.offset
  }

  override toString(): string {
    return `advance ${JSON.stringify(this.#jump)}`
  }
}

export class Settle extends Step {
  async act({ subject, now }: World): Promise<void> {
    await subject.settle(now)
  }

  override toString(): string {
    return 'settle'
  }
}

export class PutPool extends Step {
  readonly #name: string
  readonly #policy: Policy

  constructor(name: string, policy: Policy) {
    super()
    this.#name = name
    this.#policy = policy
  }

  async act({ subject, model }: World): Promise<void> {
    const expected = model.putPool(this.#name, this.#policy)
    assert.equal(await subject.putPool(this.#name, this.#policy), expected)
  }

  override toString(): string {
    return `put ${this.#name} ${JSON.stringify(this.#policy)}`
  }
}

export class RemovePool extends Step {
  readonly #name: string

  constructor(name: string) {
    super()
    this.#name = name
  }

  async act({ subject, model }: World): Promise<void> {
    assert.deepEqual(await subject.removePool(this.#name), model.removePool(this.#name))
  }

  override toString(): string {
    return `remove ${this.#name}`
  }
}
