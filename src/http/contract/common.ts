/** What the routes of v1 have in common. */
import { Type } from 'typebox'
import { ERRORS } from '../../engine/errors.ts'
import { MAX_DURATION_MS } from '../../engine/policy.ts'
import { STATE_NAMES } from '../../engine/rows.ts'
import type { Scope } from '../../service/scopes.ts'

/** What is said of a route once, for all who need it: routing, validation, access and the documents. */
export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  url: string
  /** One of them is enough. */
  scopes: readonly Scope[]
  /** In bytes, where it is not the usual one. */
  bodyLimit?: number
  schema: {
    summary: string
    params?: Type.TSchema
    querystring?: Type.TSchema
    body?: Type.TSchema
    response?: Record<number, Type.TSchema>
  }
}

/** A body in which a field that nobody knows is an error, so that a typo is seen. */
export function body<P extends Record<string, Type.TSchema>>(properties: P): Type.TObject<P> {
  return Type.Object(properties, { additionalProperties: false })
}

/** A body that may be left out. */
export function optionalBody<P extends Record<string, Type.TSchema>>(
  properties: P,
): Type.TUnsafe<Type.Static<Type.TObject<P>> | null> {
  // A union would give vaguer errors.
  return Type.Unsafe({ ...body(properties), type: ['object', 'null'] })
}

/** For a union the serialiser would validate what it writes. */
export function nullable<S extends Type.TSchema & { type: string }>(
  schema: S,
): Type.TUnsafe<Type.Static<S> | null> {
  return Type.Unsafe({ ...schema, type: [schema.type, 'null'] })
}

export const Instant = Type.String({
  format: 'date-time',
  description: 'ISO 8601, UTC, with milliseconds',
})

export const Duration = Type.Integer({
  minimum: 1,
  maximum: MAX_DURATION_MS,
  description: 'whole milliseconds, 1 to 10 years',
})

/** A rest may be none. */
export const Rest = Type.Integer({
  minimum: 0,
  maximum: MAX_DURATION_MS,
  description: 'whole milliseconds, 0 to 10 years',
})

export const KeyId = Type.String({ description: 'UUID' })
export const LeaseId = Type.String({ description: 'whoever knows it may renew and release' })
export const FencingToken = Type.Integer({
  description: 'rises with every grant; what the key guards refuses lower ones than it has seen',
})

export const StateName = Type.Enum([...STATE_NAMES], {
  description: 'what can be done with the key',
})

export const Problem = Type.Object(
  {
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum(Object.keys(ERRORS), { description: 'never changes; docs/errors.md' }),
    detail: Type.Optional(Type.String()),
  },
  { additionalProperties: true, description: 'problem details (RFC 9457)' },
)

export const PoolParams = Type.Object({ pool: Type.String({ description: 'name of the pool' }) })

export const POOL_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/

const DEFAULT_PAGE = 100

/** A page of a listing. Cursors never expire. What is in a query is text. */
export const Page = {
  limit: Type.Optional(
    Type.String({
      pattern: '^([1-9]\\d{0,2}|1000)$',
      description: `1 to 1000; ${DEFAULT_PAGE} unless said`,
    }),
  ),
  cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
}

export function pageLimit({ limit }: { limit?: string }): number {
  return limit === undefined ? DEFAULT_PAGE : Number(limit)
}
