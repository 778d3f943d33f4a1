/** The classic API: six routes on the pool `default`. Two spellings of the id exist in the wild. */
import { Type } from 'typebox'
import { DEFAULT_POOL } from '../../service/default-pool.ts'
import { type Route, StateName } from './common.ts'

const pool = DEFAULT_POOL

const Instant = Type.String({
  format: 'date-time',
  description: 'ISO 8601, UTC, with milliseconds',
})
const NullableInstant = Type.Union([Instant, Type.Null()])
const Empty = Type.Object({})

const Named = {
  keyId: Type.String({ format: 'uuid' }),
  key_id: Type.String({ format: 'uuid' }),
}

const MAX_KEYS_PER_CREATE = 10_000

interface CreateOptions {
  count?: number | null
}

/** Null stands for "nothing said", of the body and of the count. A union would give vaguer errors. */
const CreateBody = Type.Unsafe<CreateOptions | null>({
  type: ['object', 'null'],
  examples: [{ count: 3 }],
  properties: {
    count: { type: ['integer', 'null'], minimum: 1, maximum: MAX_KEYS_PER_CREATE },
  },
})

const Created = Type.Object(
  { ...Named, keyIds: Type.Optional(Type.Array(Type.String())) },
  { title: 'ClassicCreated' },
)

const Drawn = Type.Object(
  {
    ...Named,
    leaseId: Type.String(),
    fencingToken: Type.Integer(),
    value: Type.Optional(Type.String({ description: 'of a key that has one' })),
    blockedUntil: Instant,
  },
  { title: 'ClassicLease' },
)

const Shown = Type.Object(
  {
    ...Named,
    isBlocked: Type.Boolean({ description: 'whether the key is leased' }),
    blockedAt: NullableInstant,
    createdAt: Instant,
    blockedUntil: NullableInstant,
    expiresAt: NullableInstant,
    keepAliveAt: Instant,
    state: StateName,
  },
  { title: 'ClassicKey' },
)

const UnblockQuery = Type.Object({
  leaseId: Type.Optional(
    Type.Union([Type.String(), Type.Array(Type.String())], {
      description: 'only if that lease is the current one; two never are',
    }),
  ),
})

/** Method, path and schemas of each route. */
export const classic = {
  createKey: {
    method: 'POST',
    url: '/keys',
    pool,
    scopes: ['keys:write'],
    errors: ['pool_full', 'server_full'],
    repeatable: true,
    headers: { 201: ['Location'] },
    schema: { summary: 'Make keys', body: CreateBody, response: { 201: Created } },
  },
  drawKey: {
    method: 'GET',
    url: '/keys',
    pool,
    scopes: ['leases'],
    errors: ['prefetch_refused', 'storage_full', 'value_unreadable'],
    headers: { 404: ['Retry-After'] },
    schema: { summary: 'Lease a random available key', response: { 200: Drawn, 404: Empty } },
  },
  showKey: {
    method: 'GET',
    url: '/keys/:id',
    pool,
    scopes: ['read'],
    errors: [],
    schema: { summary: 'Show a key', response: { 200: Shown, 404: Empty } },
  },
  unblockKey: {
    method: 'PUT',
    url: '/keys/:id',
    pool,
    scopes: ['leases'],
    essential: true,
    errors: [],
    schema: {
      summary: 'Give a key back',
      querystring: UnblockQuery,
      response: { 200: Empty, 404: Empty },
    },
  },
  deleteKey: {
    method: 'DELETE',
    url: '/keys/:id',
    pool,
    scopes: ['keys:write'],
    errors: [],
    schema: { summary: 'Delete a key', response: { 200: Empty, 404: Empty } },
  },
  keepKeyAlive: {
    method: 'PUT',
    url: '/keepalive/:id',
    pool,
    scopes: ['leases', 'keys:write'],
    essential: true,
    errors: [],
    schema: { summary: "Put a key's death off", response: { 200: Empty, 404: Empty } },
  },
} as const satisfies Record<string, Route>

export type CreateBody = Type.Static<typeof CreateBody>
export type Created = Type.Static<typeof Created>
export type Drawn = Type.Static<typeof Drawn>
export type Shown = Type.Static<typeof Shown>
