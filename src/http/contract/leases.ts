/** Leases: what a worker holds. */
import { Type } from 'typebox'
import { END_REASONS } from '../../engine/errors.ts'
import { OUTCOMES } from '../../engine/transitions.ts'
import {
  Duration,
  body,
  FencingToken,
  Holder,
  Instant,
  KeyId,
  KeyName,
  LeaseId,
  Metadata,
  nullable,
  optionalBody,
  Page,
  PoolParams,
  type Route,
} from './common.ts'

const MAX_WAIT_MS = 60_000
const MAX_RETRY_AFTER_MS = 7 * 24 * 3_600_000

const LeaseParams = Type.Object({ ...PoolParams.properties, leaseId: LeaseId })

export const Lease = Type.Object(
  {
    leaseId: LeaseId,
    keyId: KeyId,
    value: nullable(Type.String({ description: 'the credential; null: the key is its id' })),
    name: nullable(KeyName),
    metadata: nullable(Metadata),
    fencingToken: FencingToken,
    holder: nullable(Holder),
    grantedAt: Instant,
    expiresAt: Instant,
    expiresInMs: Type.Integer({ description: 'from the sending of this answer' }),
    keyExpiresAt: nullable(Instant),
  },
  { title: 'Lease' },
)

export const acquireFields = {
  ttlMs: Type.Optional(Duration),
  keyId: Type.Optional(KeyId),
  holder: Type.Optional(Holder),
}
export const renewFields = {
  ttlMs: Type.Optional(Duration),
  keepAlive: Type.Optional(Type.Boolean({ description: 'put the death of the key off as well' })),
}
export const releaseFields = {
  outcome: Type.Optional(
    Type.Enum([...OUTCOMES], { description: 'how the key did; "ok" unless said' }),
  ),
  retryAfterMs: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: MAX_RETRY_AFTER_MS,
      description: 'the rest after "rate_limited" or "error"; 0 to 7 days',
    }),
  ),
  reason: Type.Optional(Type.String({ maxLength: 200, description: 'goes with "invalid"' })),
}

const AcquireBody = optionalBody(
  {
    ...acquireFields,
    waitMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MAX_WAIT_MS,
        description: 'how long to wait for a key where there is none to give now',
      }),
    ),
  },
  { examples: [{ ttlMs: 30_000, waitMs: 10_000 }] },
)
const RenewBody = optionalBody(renewFields, { examples: [{ ttlMs: 60_000 }] })
const ReleaseBody = optionalBody(releaseFields, {
  examples: [{ outcome: 'rate_limited', retryAfterMs: 5000 }],
})

/** A late release changes nothing, whatever it says. */
export const Released = Type.Object(
  {
    released: Type.Boolean(),
    reason: Type.Optional(Type.Enum([...END_REASONS], { description: 'how the lease had ended' })),
  },
  { title: 'Released' },
)

/** A lease as others than its holder see it. */
const HeldLease = Type.Object({
  keyId: KeyId,
  fencingToken: FencingToken,
  holder: nullable(Holder),
  grantedAt: Instant,
  expiresAt: Instant,
})

const LEASES = '/v1/pools/:pool/leases'

export const leases = {
  acquireLease: {
    method: 'POST',
    url: LEASES,
    scopes: ['leases'],
    errors: [
      'pool_not_found',
      'key_not_found',
      'key_unavailable',
      'ttl_too_long',
      'pool_exhausted',
      'pool_empty',
      'too_many_waiters',
      'lease_ended',
      'value_unreadable',
      'draining',
    ],
    headers: { 201: ['Location'], 429: ['Retry-After'] },
    repeatable: true,
    schema: {
      summary: 'Lease a key',
      params: PoolParams,
      body: AcquireBody,
      response: { 201: Lease },
    },
  },
  listLeases: {
    method: 'GET',
    url: LEASES,
    scopes: ['leases:admin'],
    errors: ['pool_not_found', 'invalid_cursor'],
    schema: {
      summary: 'List leases, of one holder or of all',
      params: PoolParams,
      querystring: body({ ...Page, holder: Type.Optional(Holder) }),
      response: {
        200: Type.Object({
          leases: Type.Array(HeldLease),
          nextCursor: Type.Optional(Type.String()),
        }),
      },
    },
  },
  revokeLeases: {
    method: 'DELETE',
    url: LEASES,
    scopes: ['leases:admin'],
    essential: true,
    errors: ['pool_not_found'],
    schema: {
      summary: 'Take all keys from a holder',
      params: PoolParams,
      querystring: body({ holder: Holder }),
      response: { 200: Type.Object({ revoked: Type.Integer() }) },
    },
  },
  showLease: {
    method: 'GET',
    url: `${LEASES}/:leaseId`,
    scopes: ['leases'],
    errors: ['pool_not_found', 'lease_not_found', 'lease_ended', 'value_unreadable'],
    schema: { summary: 'Show a lease', params: LeaseParams, response: { 200: Lease } },
  },
  renewLease: {
    method: 'POST',
    url: `${LEASES}/:leaseId/renew`,
    scopes: ['leases'],
    essential: true,
    errors: [
      'pool_not_found',
      'lease_not_found',
      'lease_ended',
      'lease_limit',
      'ttl_too_long',
      'value_unreadable',
    ],
    schema: {
      summary: 'Renew a lease',
      params: LeaseParams,
      body: RenewBody,
      response: { 200: Lease },
    },
  },
  releaseLease: {
    method: 'POST',
    url: `${LEASES}/:leaseId/release`,
    scopes: ['leases'],
    essential: true,
    errors: ['pool_not_found', 'lease_not_found'],
    schema: {
      summary: 'Release a lease',
      params: LeaseParams,
      body: ReleaseBody,
      response: { 200: Released },
    },
  },
} as const satisfies Record<string, Route>

export type AcquireBody = Type.Static<typeof AcquireBody>
export type RenewBody = Type.Static<typeof RenewBody>
export type ReleaseBody = Type.Static<typeof ReleaseBody>
export type Released = Type.Static<typeof Released>
export type HeldLease = Type.Static<typeof HeldLease>
export type Lease = Type.Static<typeof Lease>
