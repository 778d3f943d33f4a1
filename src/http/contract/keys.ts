/** The keys of a pool. */
import { Type } from 'typebox'
import {
  body,
  FencingToken,
  Instant,
  KeyId,
  nullable,
  Page,
  PoolParams,
  type Route,
  StateName,
} from './common.ts'

const MAX_KEYS_PER_CREATE = 10_000
const MAX_CREATE_BYTES = 8 * 2 ** 20

const KeyParams = Type.Object({ ...PoolParams.properties, id: KeyId })

const Key = Type.Object(
  {
    keyId: KeyId,
    state: StateName,
    createdAt: Instant,
    keepAliveAt: Instant,
    expiresAt: nullable(Instant),
    disabled: Type.Boolean({ description: 'a leased key becomes disabled when its lease ends' }),
    disabledReason: nullable(Type.String()),
    failures: Type.Integer({ description: 'in a row' }),
    coolingUntil: nullable(Instant),
    lease: nullable(
      Type.Object({ fencingToken: FencingToken, grantedAt: Instant, expiresAt: Instant }),
    ),
  },
  { title: 'Key' },
)

const CreateBody = body(
  { count: Type.Integer({ minimum: 1, maximum: MAX_KEYS_PER_CREATE }) },
  { examples: [{ count: 3 }] },
)

export const KeptAlive = Type.Object({ keyId: KeyId, expiresAt: nullable(Instant) })

const UpdateBody = body(
  {
    disabled: Type.Optional(Type.Boolean()),
    reason: Type.Optional(
      Type.String({
        maxLength: 200,
        description: 'why it is disabled; goes with "disabled": true',
      }),
    ),
    coolingUntil: Type.Optional(Type.Null({ description: 'ends its rest' })),
  },
  { examples: [{ disabled: true, reason: 'leaked' }] },
)

const KEYS = '/v1/pools/:pool/keys'

export const keys = {
  createKeys: {
    method: 'POST',
    url: KEYS,
    scopes: ['keys:write'],
    bodyLimit: MAX_CREATE_BYTES,
    errors: ['pool_not_found', 'pool_full', 'server_full'],
    repeatable: true,
    schema: {
      summary: 'Make or import keys',
      params: PoolParams,
      body: CreateBody,
      response: { 201: Type.Object({ keyIds: Type.Array(KeyId) }) },
    },
  },
  listKeys: {
    method: 'GET',
    url: KEYS,
    scopes: ['read'],
    errors: ['pool_not_found', 'invalid_cursor'],
    schema: {
      summary: 'List keys',
      params: PoolParams,
      querystring: body({ ...Page, state: Type.Optional(StateName) }),
      response: {
        200: Type.Object({ keys: Type.Array(Key), nextCursor: Type.Optional(Type.String()) }),
      },
    },
  },
  showKey: {
    method: 'GET',
    url: `${KEYS}/:id`,
    scopes: ['read'],
    errors: ['pool_not_found', 'key_not_found'],
    schema: { summary: 'Show a key', params: KeyParams, response: { 200: Key } },
  },
  updateKey: {
    method: 'PATCH',
    url: `${KEYS}/:id`,
    scopes: ['keys:write'],
    errors: ['pool_not_found', 'key_not_found'],
    schema: {
      summary: 'Change a key',
      params: KeyParams,
      body: UpdateBody,
      response: { 200: Key },
    },
  },
  deleteKey: {
    method: 'DELETE',
    url: `${KEYS}/:id`,
    scopes: ['keys:write'],
    errors: ['pool_not_found', 'key_not_found'],
    schema: { summary: 'Delete a key', params: KeyParams, response: { 204: Type.Null() } },
  },
  keepKeyAlive: {
    method: 'POST',
    url: `${KEYS}/:id/keepalive`,
    scopes: ['leases', 'keys:write'],
    errors: ['pool_not_found', 'key_not_found'],
    schema: {
      summary: "Put a key's death off",
      params: KeyParams,
      response: { 200: KeptAlive },
    },
  },
  revokeLease: {
    method: 'DELETE',
    url: `${KEYS}/:id/lease`,
    scopes: ['leases:admin'],
    errors: ['pool_not_found', 'key_not_found', 'key_not_leased'],
    schema: {
      summary: 'Take a key from its holder',
      params: KeyParams,
      response: { 204: Type.Null() },
    },
  },
} as const satisfies Record<string, Route>

export type CreateBody = Type.Static<typeof CreateBody>
export type UpdateBody = Type.Static<typeof UpdateBody>
export type Key = Type.Static<typeof Key>
