/** Pools and their policies. */
import { Type } from 'typebox'
import { MAX_KEYS_PER_POOL, MAX_SHARDS } from '../../engine/policy.ts'
import { body, Duration, Instant, nullable, Page, PoolParams, Rest, type Route } from './common.ts'

const fields = {
  keyLifetimeMs: nullable(Duration),
  leaseTtlMs: Duration,
  maxLeaseTtlMs: Duration,
  maxLeaseTotalMs: nullable(Duration),
  cooldownMs: Rest,
  expiredLeaseCooldownMs: Rest,
  failureCooldownMs: Rest,
  maxFailureCooldownMs: Rest,
  maxKeys: Type.Integer({ minimum: 1, maximum: MAX_KEYS_PER_POOL }),
  shards: Type.Integer({
    minimum: 1,
    maximum: MAX_SHARDS,
    description:
      'parts that Redis keeps its keys in, fixed when the pool is made; a PUT without it leaves it as it is',
  }),
}

const Policy = Type.Object(fields, { title: 'Policy' })
/** What is not said is the default (PUT), or stays as it is (PATCH). */
const PolicyBody = Type.Partial(body(fields), {
  additionalProperties: false,
  title: 'PolicyFields',
  examples: [{ keyLifetimeMs: null, cooldownMs: 200 }],
})

const Pool = Type.Object({ name: Type.String(), policy: Policy }, { title: 'Pool' })

const ShownPool = Type.Object(
  {
    name: Type.String(),
    policy: Policy,
    counts: Type.Object({
      available: Type.Integer(),
      leased: Type.Integer(),
      cooling: Type.Integer(),
      disabled: Type.Integer(),
    }),
    waiters: Type.Integer({ description: 'callers who wait for a key' }),
    nextAvailableAt: nullable(Instant),
    unavailable: Type.Union([Type.Enum(['pool_exhausted', 'pool_empty']), Type.Null()], {
      description: 'why a caller would get no key now; null: it would get one',
    }),
  },
  { title: 'ShownPool' },
)

export const pools = {
  listPools: {
    method: 'GET',
    url: '/v1/pools',
    scopes: ['read'],
    errors: ['invalid_cursor'],
    schema: {
      summary: 'List pools',
      querystring: body(Page),
      response: {
        200: Type.Object({
          pools: Type.Array(Pool),
          nextCursor: Type.Optional(Type.String()),
        }),
      },
    },
  },
  putPool: {
    method: 'PUT',
    url: '/v1/pools/:pool',
    scopes: ['pools:write'],
    errors: ['invalid_pool_name', 'invalid_policy', 'shards_fixed', 'too_many_pools'],
    headers: { 201: ['Location'] },
    schema: {
      summary: 'Make a pool, or replace its policy',
      params: PoolParams,
      body: PolicyBody,
      response: { 200: Pool, 201: Pool },
    },
  },
  patchPool: {
    method: 'PATCH',
    url: '/v1/pools/:pool',
    scopes: ['pools:write'],
    errors: ['pool_not_found', 'invalid_policy', 'shards_fixed'],
    schema: {
      summary: "Change a pool's policy",
      params: PoolParams,
      body: PolicyBody,
      response: { 200: Pool },
    },
  },
  showPool: {
    method: 'GET',
    url: '/v1/pools/:pool',
    scopes: ['read'],
    errors: ['pool_not_found'],
    schema: {
      summary: 'Show a pool, and why it gives no key',
      params: PoolParams,
      response: { 200: ShownPool },
    },
  },
  deletePool: {
    method: 'DELETE',
    url: '/v1/pools/:pool',
    scopes: ['pools:write'],
    errors: ['pool_not_found', 'pool_not_empty'],
    schema: {
      summary: 'Delete a pool',
      params: PoolParams,
      querystring: body({
        force: Type.Optional(Type.Enum(['true', 'false'], { description: 'delete its keys too' })),
      }),
      response: { 204: Type.Null() },
    },
  },
} as const satisfies Record<string, Route>

export type PolicyBody = Type.Static<typeof PolicyBody>
export type Pool = Type.Static<typeof Pool>
export type ShownPool = Type.Static<typeof ShownPool>
