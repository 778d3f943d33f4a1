/** Random steps, with time going on between them, on a subject and on the model side by side. */
import fc from 'fast-check'
import type { Operation } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import { STATE_NAMES } from '../../src/engine/rows.ts'
import { OUTCOMES } from '../../src/engine/transitions.ts'
import { EMBEDDED, type Traits } from './model.ts'
import {
  Advance,
  type Choice,
  type EngineModule,
  EngineSubject,
  type Jump,
  LIMITS,
  Operate,
  PutPool,
  type Recipe,
  RemovePool,
  Settle,
  type Subject,
  Wear,
  World,
} from './model-steps.ts'

const TEN_YEARS = 3650 * 86_400_000
const POOLS = ['a', 'b', 'c'] as const
const HOSTILE = ['', 'constructor', '__proto__', '\0', 'é'.repeat(36), 'A'.repeat(32)]

const durationMs = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 20 }) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 1000 }) },
  { weight: 1, arbitrary: fc.constant(TEN_YEARS) },
)
const restMs = fc.oneof(fc.constant(0), durationMs)

const lifetimeMs = fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 200 }), durationMs)

/** A policy that does not contradict itself: where a limit must not be below a value, it is added to it. */
const policy = fc
  .record({
    keyLifetimeMs: lifetimeMs,
    leaseTtlMs: durationMs,
    maxLeaseTtlMs: restMs,
    maxLeaseTotalMs: fc.option(restMs),
    cooldownMs: restMs,
    expiredLeaseCooldownMs: restMs,
    failureCooldownMs: durationMs,
    maxFailureCooldownMs: restMs,
    maxKeys: fc.oneof(fc.constant(5), fc.constant(LIMITS.maxTotalKeys)),
    shards: fc.constant(1),
  })
  .map((drawn): Policy => ({
    ...drawn,
    maxLeaseTtlMs: drawn.leaseTtlMs + drawn.maxLeaseTtlMs,
    maxLeaseTotalMs:
      drawn.maxLeaseTotalMs === null ? null : drawn.leaseTtlMs + drawn.maxLeaseTotalMs,
    maxFailureCooldownMs: drawn.failureCooldownMs + drawn.maxFailureCooldownMs,
  }))

const choice: fc.Arbitrary<Choice> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ present: fc.nat(1000) }) },
  { weight: 4, arbitrary: fc.record({ past: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ text: fc.constantFrom(...HOSTILE) }) },
)
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 })
/** Mostly a few; now and then more than one turn's settling. */
const count = fc.oneof(
  { weight: 30, arbitrary: fc.integer({ min: 1, max: 5 }) },
  { weight: 1, arbitrary: fc.integer({ min: 200, max: 600 }) },
)
const request = fc.nat(3)
const body = fc.oneof({ weight: 4, arbitrary: fc.constant('first') }, fc.constant('second'))
const reason = maybe(fc.constantFrom('revoked upstream', 'leaked'))

/** Few, so that they meet again. */
const holder = fc.constantFrom('ann', 'bob', 'worker-7')
const digest = fc.constantFrom('d0', 'd1', 'd2', 'd3', 'd4', 'd5')
const nameOrNone = fc.constantFrom(null, 'first', 'second')
const metadata = fc.constantFrom(null, '{}', '{"tier":1}')
const newKeys = fc.array(
  fc
    .record({ digest, name: nameOrNone, metadata, lifetimeMs: maybe(lifetimeMs) })
    .map(({ digest, ...key }) => ({ ...key, value: { digest, sealed: `sealed ${digest}` } })),
  { minLength: 1, maxLength: 4 },
)

function recipeOf<T>(op: Operation['op'], fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) {
  return fc.record({ op: fc.constant(op), ...fields }) as unknown as fc.Arbitrary<Recipe>
}

const recipe: fc.Arbitrary<Recipe> = fc.oneof(
  { weight: 3, arbitrary: recipeOf('create', { count }) },
  { weight: 1, arbitrary: recipeOf('create', { count, lifetimeMs }) },
  {
    weight: 2,
    arbitrary: recipeOf('import', {
      keys: newKeys,
      onDuplicate: fc.constantFrom('refuse', 'skip'),
    }),
  },
  {
    weight: 5,
    arbitrary: recipeOf('acquire', { count, ttlMs: maybe(durationMs), holder: maybe(holder) }),
  },
  {
    weight: 1,
    arbitrary: recipeOf('acquire', { count: fc.constant(0), key: maybe(choice) }),
  },
  { weight: 1, arbitrary: recipeOf('acquire', { count, leave: fc.nat({ max: 4 }) }) },
  {
    weight: 2,
    arbitrary: recipeOf('acquire', {
      count: fc.constant(1),
      ttlMs: maybe(durationMs),
      key: choice,
      leave: fc.constantFrom(0, 0, 0, 1),
    }),
  },
  {
    weight: 4,
    arbitrary: recipeOf('renew', {
      lease: choice,
      ttlMs: maybe(durationMs),
      keepAlive: maybe(fc.boolean()),
    }),
  },
  {
    weight: 4,
    arbitrary: recipeOf('release', {
      lease: choice,
      outcome: maybe(fc.constantFrom(...OUTCOMES)),
      retryAfterMs: maybe(restMs),
      reason,
    }),
  },
  { weight: 2, arbitrary: recipeOf('unblock', { key: choice, lease: maybe(choice) }) },
  { weight: 1, arbitrary: recipeOf('unblock', { key: choice }) },
  { weight: 1, arbitrary: recipeOf('revoke', { key: choice }) },
  { weight: 2, arbitrary: recipeOf('keepAlive', { key: choice }) },
  {
    weight: 2,
    arbitrary: recipeOf('update', { key: choice, disabled: maybe(fc.boolean()), reason }),
  },
  {
    weight: 1,
    arbitrary: recipeOf('update', {
      key: choice,
      disabled: maybe(fc.boolean()),
      coolingUntil: fc.constant(null),
    }),
  },
  {
    weight: 1,
    arbitrary: recipeOf('update', {
      key: choice,
      name: maybe(nameOrNone),
      metadata: maybe(metadata),
    }),
  },
  { weight: 1, arbitrary: recipeOf('remove', { key: choice }) },
  { weight: 2, arbitrary: recipeOf('show', { key: choice }) },
  { weight: 2, arbitrary: recipeOf('showLease', { lease: choice }) },
  {
    weight: 2,
    arbitrary: recipeOf('list', {
      limit: fc.integer({ min: 1, max: 10 }),
      state: maybe(fc.constantFrom(...STATE_NAMES)),
      after: maybe(choice),
    }),
  },
  {
    weight: 1,
    arbitrary: recipeOf('listLeases', {
      limit: fc.integer({ min: 1, max: 5 }),
      holder: maybe(holder),
      after: maybe(choice),
    }),
  },
  {
    weight: 1,
    arbitrary: recipeOf('revokeLeases', {
      limit: fc.integer({ min: 1, max: 3 }),
      holder,
      agoMs: fc.constantFrom(undefined, 0, 10),
    }),
  },
  { weight: 2, arbitrary: recipeOf('describe', {}) },
  { weight: 3, arbitrary: recipeOf('recall', { request, body }) },
  { weight: 3, arbitrary: recipeOf('remember', { request, body, count: fc.nat(3) }) },
)

const jump: fc.Arbitrary<Jump> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ ms: fc.integer({ min: 0, max: 20 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({ deadline: fc.nat(5), offset: fc.integer({ min: -1, max: 1 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ forgetting: fc.nat(3), offset: fc.integer({ min: -1, max: 1 }) }),
  },
  { weight: 1, arbitrary: fc.record({ ms: fc.constantFrom(1_000, 86_400_000, TEN_YEARS) }) },
)

const name = fc.oneof({ weight: 8, arbitrary: fc.constant('a') }, fc.constantFrom(...POOLS))

const steps = fc.commands<World, undefined, false>(
  [
    ...Array.from({ length: 15 }, () =>
      fc
        .tuple(name, fc.array(recipe, { minLength: 1, maxLength: 4 }))
        .map(([pool, recipes]) => new Operate(pool, recipes)),
    ),
    ...Array.from({ length: 5 }, () => jump.map((by) => new Advance(by))),
    fc
      .tuple(name, choice, fc.array(fc.constantFrom(...OUTCOMES), { minLength: 1, maxLength: 5 }))
      .map(([pool, key, outcomes]) => new Wear(pool, key, outcomes)),
    fc.constant(new Settle()),
    fc.tuple(name, policy).map(([pool, put]) => new PutPool(pool, put)),
    fc.constantFrom(...POOLS).map((pool) => new RemovePool(pool)),
  ],
  { maxCommands: 60, size: 'max' },
)

/** True in each run: the subject's every answer is the model's. */
export function agreesWithModel(
  subjectOf: (seed: number) => Subject,
  traits: Traits = EMBEDDED,
): fc.IAsyncProperty<[number, Policy, Iterable<fc.AsyncCommand<World, undefined>>]> {
  return fc.asyncProperty(fc.integer(), policy, steps, async (seed, firstPolicy, commands) => {
    const subject = subjectOf(seed)
    const world = new World(subject, traits)
    try {
      for (const pool of POOLS) await new PutPool(pool, firstPolicy).act(world)
      await fc.asyncModelRun(() => ({ model: world, real: undefined }), commands)
    } finally {
      await subject.close?.()
    }
  })
}

export function engineAgreesWithModel(module: EngineModule): ReturnType<typeof agreesWithModel> {
  return agreesWithModel((seed) => new EngineSubject(module, seed))
}
