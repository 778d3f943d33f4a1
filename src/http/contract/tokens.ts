/** Access tokens: who may do what. */
import { Type } from 'typebox'
import { POOL_NAME } from '../../engine/policy.ts'
import { SCOPES } from '../../service/scopes.ts'
import { body, Duration, Instant, nullable, Page, type Route } from './common.ts'

const MAX_POOLS_PER_TOKEN = 1000

const Scopes = Type.Array(Type.Enum([...SCOPES]), {
  minItems: 1,
  maxItems: SCOPES.length,
  uniqueItems: true,
  description: '"admin" has all the others, "leases:admin" has "leases"',
})

const POOLS = 'names of pools, or "*": all that there are and will be'

/** A union would give vaguer errors. */
const WantedPools = Type.Unsafe<'*' | string[]>({
  type: ['string', 'array'],
  pattern: '^\\*$',
  items: { type: 'string', pattern: POOL_NAME.source },
  maxItems: MAX_POOLS_PER_TOKEN,
  description: POOLS,
})
/** And only a union is written as what it is. */
const Pools = Type.Union([Type.Literal('*'), Type.Array(Type.String())], { description: POOLS })

const AccessToken = Type.Object({
  id: Type.String(),
  name: Type.String(),
  scopes: Scopes,
  pools: Pools,
  createdAt: Instant,
  expiresAt: nullable(Instant),
})

const CreateBody = body({
  name: Type.String({
    pattern: '^[\\x20-\\x7e]{1,128}$',
    description: 'whose it is: 1 to 128 printable ASCII characters',
  }),
  scopes: Scopes,
  pools: Type.Optional(WantedPools),
  lifetimeMs: Type.Optional(nullable(Duration)),
})

const TOKENS = '/v1/tokens'

export const tokens = {
  createToken: {
    method: 'POST',
    url: TOKENS,
    scopes: ['admin'],
    errors: ['admin_token_first', 'too_many_tokens'],
    headers: { 201: ['Location'] },
    schema: {
      summary: 'Make an access token',
      body: CreateBody,
      response: {
        201: Type.Object({
          ...AccessToken.properties,
          token: Type.String({ description: 'the secret, which is never shown again' }),
        }),
      },
    },
  },
  listTokens: {
    method: 'GET',
    url: TOKENS,
    scopes: ['admin'],
    errors: [],
    schema: {
      summary: 'List access tokens, without their secrets',
      querystring: body(Page),
      response: {
        200: Type.Object({
          tokens: Type.Array(AccessToken),
          nextCursor: Type.Optional(Type.String()),
        }),
      },
    },
  },
  deleteToken: {
    method: 'DELETE',
    url: `${TOKENS}/:id`,
    scopes: ['admin'],
    errors: ['token_not_found', 'last_admin_token'],
    schema: {
      summary: 'Delete an access token',
      params: Type.Object({ id: Type.String() }),
      response: { 204: Type.Null() },
    },
  },
} as const satisfies Record<string, Route>

export type AccessToken = Type.Static<typeof AccessToken>
export type CreateBody = Type.Static<typeof CreateBody>
