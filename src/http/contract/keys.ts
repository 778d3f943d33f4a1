/** The keys of a pool. */
import { Type } from 'typebox'
import { CHANGE_NAMES } from '../../engine/changes.ts'
import {
  body,
  Duration,
  FencingToken,
  Holder,
  Instant,
  KeyId,
  KeyName,
  Metadata,
  nullable,
  optionalBody,
  Page,
  PoolParams,
  type Route,
  StateName,
} from './common.ts'

const MAX_KEYS_PER_CREATE = 10_000
const MAX_CREATE_BYTES = 8 * 2 ** 20
export const MAX_VALUE_BYTES = 16 * 1024
export const MAX_METADATA_BYTES = 4 * 1024

const KeyParams = Type.Object({ ...PoolParams.properties, id: KeyId })

const Key = Type.Object(
  {
    keyId: KeyId,
    name: nullable(KeyName),
    metadata: nullable(Metadata),
    hasValue: Type.Boolean({ description: 'it carries a credential, given in a lease only' }),
    state: StateName,
    createdAt: Instant,
    keepAliveAt: Instant,
    expiresAt: nullable(Instant),
    disabled: Type.Boolean({ description: 'a leased key becomes disabled when its lease ends' }),
    disabledReason: nullable(Type.String()),
    failures: Type.Integer({ description: 'in a row' }),
    coolingUntil: nullable(Instant),
    lease: nullable(
      Type.Object({
        fencingToken: FencingToken,
        holder: nullable(Holder),
        grantedAt: Instant,
        expiresAt: Instant,
      }),
    ),
  },
  { title: 'Key' },
)

const NewKey = body({
  value: Type.String({
    minLength: 1,
    maxLength: MAX_VALUE_BYTES,
    description: 'the credential, up to 16 KiB; kept encrypted, given in a lease only',
  }),
  name: Type.Optional(KeyName),
  metadata: Type.Optional(Metadata),
  lifetimeMs: Type.Optional(nullable(Duration)),
})

/** Either so many new keys, or those that are given. */
const CreateBody = body(
  {
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_KEYS_PER_CREATE })),
    prefix: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?$',
        description: 'goes with count: the keys have values that begin so',
      }),
    ),
    keys: Type.Optional(Type.Array(NewKey, { minItems: 1, maxItems: MAX_KEYS_PER_CREATE })),
    onDuplicate: Type.Optional(
      Type.Enum(['refuse', 'skip'], {
        description: 'goes with keys: what becomes of a value that the pool holds already',
      }),
    ),
  },
  { examples: [{ count: 3 }, { keys: [{ value: 'sk-1f3a', name: 'first account' }] }] },
)

const Created = Type.Object({
  keyIds: Type.Array(KeyId),
  skipped: Type.Optional(
    Type.Array(Type.Object({ index: Type.Integer(), keyId: KeyId }), {
      description: 'places in the call whose values these keys hold already',
    }),
  ),
})

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
    name: Type.Optional(nullable(KeyName)),
    metadata: Type.Optional(nullable(Metadata)),
  },
  { examples: [{ disabled: true, reason: 'leaked' }] },
)

const HistoryEntry = Type.Object(
  {
    at: Instant,
    change: Type.Enum([...CHANGE_NAMES, 'disabled', 'enabled']),
    fencingToken: nullable(FencingToken),
    holder: nullable(Holder),
    by: nullable(Type.String({ description: 'name of the access token, but of what holders do' })),
    outcome: nullable(Type.String({ description: 'released: how the holder fared' })),
    until: nullable(Instant),
  },
  { title: 'HistoryEntry' },
)

const KEYS = '/v1/pools/:pool/keys'

export const keys = {
  createKeys: {
    method: 'POST',
    url: KEYS,
    scopes: ['keys:write'],
    bodyLimit: MAX_CREATE_BYTES,
    errors: ['pool_not_found', 'pool_full', 'server_full', 'duplicate_value'],
    repeatable: true,
    schema: {
      summary: 'Make or import keys',
      params: PoolParams,
      body: CreateBody,
      response: { 201: Created },
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
  showHistory: {
    method: 'GET',
    url: `${KEYS}/:id/history`,
    scopes: ['read'],
    errors: ['pool_not_found', 'key_not_found', 'history_off', 'invalid_cursor'],
    schema: {
      summary: 'Show what has happened to a key, the latest first',
      params: KeyParams,
      querystring: body(Page),
      response: {
        200: Type.Object({
          entries: Type.Array(HistoryEntry),
          since: Type.String({ format: 'date-time', description: 'nothing after it is missing' }),
          nextCursor: Type.Optional(Type.String()),
        }),
      },
    },
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
    essential: true,
    errors: ['pool_not_found', 'key_not_found'],
    schema: {
      summary: "Put a key's death off",
      params: KeyParams,
      body: optionalBody({}),
      response: { 200: KeptAlive },
    },
  },
  revokeLease: {
    method: 'DELETE',
    url: `${KEYS}/:id/lease`,
    scopes: ['leases:admin'],
    essential: true,
    errors: ['pool_not_found', 'key_not_found', 'key_not_leased'],
    schema: {
      summary: 'Take a key from its holder',
      params: KeyParams,
      response: { 204: Type.Null() },
    },
  },
} as const satisfies Record<string, Route>

export type NewKey = Type.Static<typeof NewKey>
export type CreateBody = Type.Static<typeof CreateBody>
export type UpdateBody = Type.Static<typeof UpdateBody>
export type Key = Type.Static<typeof Key>
export type HistoryEntry = Type.Static<typeof HistoryEntry>
