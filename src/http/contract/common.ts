/** What the routes of v1 have in common. */
import { Type } from 'typebox'
import { END_REASONS, type ErrorCode, ERRORS } from '../../engine/errors.ts'
import { MAX_DURATION_MS } from '../../engine/policy.ts'
import { STATE_NAMES } from '../../engine/rows.ts'
import type { Scope } from '../../service/scopes.ts'

/** Headers that some answers have. */
export const AnswerHeaders = Type.Object({
  Location: Type.String({ description: 'path of what was made' }),
  'Retry-After': Type.Optional(
    Type.String({
      pattern: '^[1-9]\\d*$',
      description: 'whole seconds; there where it is known when to come back',
    }),
  ),
  'WWW-Authenticate': Type.String({ description: 'what it takes (RFC 6750)' }),
  'X-Key-Id': Type.String({ description: 'the key that the request carries' }),
  'X-Pool': Type.String({ description: 'its pool' }),
  'X-Holder': Type.Optional(Type.String({ description: 'who holds it, if he has a name' })),
})

export const IDEMPOTENCY_KEY = /^[\x20-\x7e]{1,255}$/

/** Header of a request that may be sent again. */
export const IdempotencyKey = Type.String({
  pattern: IDEMPOTENCY_KEY.source,
  description: 'a new one for each request; a repeat of it is answered what the first was',
})

/** What is said of a route once, for all who need it: routing, validation, access and the documents. */
export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  url: string
  /** One of them is enough; null: anybody may. */
  scopes: readonly Scope[] | null
  /** Whose path names none but means one. */
  pool?: string
  /** Codes that it may answer, beside those of every route. */
  errors: readonly ErrorCode[]
  /** Answered in an overload too: it frees a key, keeps one for its holder, or tells how things are. */
  essential?: true
  /** It heeds an Idempotency-Key. */
  repeatable?: true
  /** Headers of its answers, by status. */
  headers?: Readonly<Record<number, readonly (keyof typeof AnswerHeaders.properties)[]>>
  /** The media type of its body, where it is not JSON. */
  consumes?: string
  /** The header that the access token comes in, where Authorization is for something else. */
  accessTokenIn?: 'x-access-token'
  /** The media type of a success, where it is not JSON. */
  produces?: string
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
export function body<P extends Record<string, Type.TSchema>>(
  properties: P,
  options: Type.TSchemaOptions = {},
): Type.TObject<P> {
  return Type.Object(properties, { additionalProperties: false, ...options })
}

/** A body that may be left out. */
export function optionalBody<P extends Record<string, Type.TSchema>>(
  properties: P,
  options: Type.TSchemaOptions = {},
): Type.TUnsafe<Type.Static<Type.TObject<P>> | null> {
  // A union would give vaguer errors.
  return Type.Unsafe({ ...body(properties, options), type: ['object', 'null'] })
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

export const KeyId = Type.String({
  description: 'UUID',
  examples: ['0b7ee6ac-7be5-4d4a-9c2f-6a0d1a5c8f31'],
})
export const LeaseId = Type.String({
  description: 'whoever knows it may renew and release',
  examples: ['AAAAAQAGRICbXNPoY9iL1vYb3G0pTQ4n'],
})
export const FencingToken = Type.Integer({
  description: 'rises with every grant; what the key guards refuses lower ones than it has seen',
  examples: [1_764_036_000_000_000],
})

/** Printable, so that it can stand in a header. */
export const Holder = Type.String({
  pattern: '^[ -~]{1,128}$',
  description: '1 to 128 printable ASCII characters',
})
export const KeyName = Type.String({ minLength: 1, maxLength: 128 })
export const Metadata = Type.Object(
  {},
  { additionalProperties: true, description: 'any JSON object of up to 4 KiB' },
)

export const StateName = Type.Enum([...STATE_NAMES], {
  description: 'what can be done with the key',
})

export const Problem = Type.Object(
  {
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum(Object.keys(ERRORS), { description: 'never changes; docs/errors.md' }),
    detail: Type.String({ description: 'what is wrong here, else what to do' }),
    reason: Type.Optional(
      Type.Enum([...END_REASONS], { description: 'lease_ended: how, where still known' }),
    ),
    index: Type.Optional(Type.Integer({ description: 'duplicate_value: its place in the call' })),
    keyId: Type.Optional(Type.String({ description: 'duplicate_value: the key that has it' })),
    firstIndex: Type.Optional(
      Type.Integer({ description: 'duplicate_value: the place that gives it first' }),
    ),
    retryAfterMs: Type.Optional(
      Type.Integer({ description: 'pool_exhausted: until the earliest end of a lease or rest' }),
    ),
    leased: Type.Optional(Type.Integer({ description: 'pool_exhausted, pool_empty: such keys' })),
    cooling: Type.Optional(Type.Integer()),
    disabled: Type.Optional(Type.Integer()),
  },
  { title: 'Problem', description: 'Problem details (RFC 9457)' },
)

export const PoolParams = Type.Object({
  pool: Type.String({ description: 'name of the pool', examples: ['llm'] }),
})

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
