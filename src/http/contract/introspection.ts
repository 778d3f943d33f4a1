/** Whether a key is good: it is while it is leased. What counts is its value, or the id of a plain key. */
import { Type } from 'typebox'
import { Holder, KeyId, type Route } from './common.ts'

const IntrospectBody = Type.Object(
  {
    token: Type.String({ minLength: 1, description: 'the key: a value, or the id of a plain key' }),
    pool: Type.Optional(Type.String({ description: 'only in that pool' })),
  },
  { examples: [{ token: 'f3b44738-468e-4043-853c-a857c096e885' }] },
)

/** RFC 7662, 2.2. Of a key that is not good nothing more is said. */
const Introspection = Type.Object(
  {
    active: Type.Boolean(),
    exp: Type.Optional(Type.Integer({ description: 'end of the lease, in seconds' })),
    iat: Type.Optional(Type.Integer({ description: 'when it was granted, in seconds' })),
    jti: Type.Optional(Type.String({ description: 'the fencing token of the lease' })),
    client_id: Type.Optional(Holder),
    pool: Type.Optional(Type.String()),
    key_id: Type.Optional(KeyId),
  },
  { title: 'Introspection' },
)

export const introspection = {
  introspect: {
    method: 'POST',
    url: '/v1/introspect',
    scopes: ['introspect'],
    essential: true,
    errors: [],
    consumes: 'application/x-www-form-urlencoded',
    schema: {
      summary: 'Ask whether a key is good (RFC 7662)',
      body: IntrospectBody,
      response: { 200: Introspection },
    },
  },
  verify: {
    method: 'GET',
    url: '/v1/verify',
    scopes: ['introspect'],
    essential: true,
    accessTokenIn: 'x-access-token',
    errors: ['key_not_good', 'gateway_not_trusted', 'cannot_verify'],
    headers: { 204: ['X-Key-Id', 'X-Pool', 'X-Holder'] },
    schema: {
      summary: 'Let a gateway ask whether the key in a request is good',
      response: { 204: Type.Null({ description: 'The key is good' }) },
    },
  },
} as const satisfies Record<string, Route>

export type IntrospectBody = Type.Static<typeof IntrospectBody>
export type Introspection = Type.Static<typeof Introspection>
