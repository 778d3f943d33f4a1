/**
 * The one table of errors: code, HTTP status, meaning. Refusing is ordinary work, so a refusal is a value
 * with a code, never an exception: making an `Error` for each 404 would cost more than the request.
 */
export const ERRORS = {
  invalid_request: { status: 400, title: 'The request is malformed.' },
  access_token_required: { status: 401, title: 'An access token is needed.' },
  access_token_invalid: { status: 401, title: 'The access token is wrong, deleted or expired.' },
  missing_scope: { status: 403, title: 'The access token lacks a scope.' },
  token_not_found: { status: 404, title: 'No such access token.' },
  admin_token_first: {
    status: 409,
    title: 'The first access token must be an admin that does not expire.',
  },
  last_admin_token: {
    status: 409,
    title: 'The last admin token that does not expire cannot be deleted.',
  },
  too_many_tokens: { status: 409, title: 'The server holds as many access tokens as it can.' },
  not_local: { status: 403, title: 'Without access tokens the server answers local callers only.' },
  key_not_good: { status: 401, title: 'The request carries no key that is leased.' },
  gateway_not_trusted: { status: 403, title: 'Who asks about the key may not.' },
  cannot_verify: { status: 403, title: 'It cannot be told whether the key is good.' },
  prefetch_refused: { status: 403, title: 'A draw changes state and cannot be prefetched.' },
  route_not_found: { status: 404, title: 'No such path.' },
  method_not_allowed: { status: 405, title: 'The path does not know that method.' },
  request_timeout: { status: 408, title: 'The request took too long to arrive.' },
  body_too_large: { status: 413, title: 'The body is larger than the server accepts.' },
  headers_too_large: {
    status: 431,
    title: 'The headers are larger or more than the server accepts.',
  },
  request_in_progress: { status: 409, title: 'The request that this one repeats is under way.' },
  idempotency_mismatch: { status: 422, title: 'The Idempotency-Key was used with another body.' },
  idempotency_full: { status: 503, title: 'The server remembers as many requests as it can.' },
  storage_full: { status: 503, title: 'The disk is full, or Redis is; nothing can be changed.' },
  storage_failed: { status: 503, title: 'The disk failed, or Redis did; the outcome is unknown.' },
  store_unavailable: { status: 503, title: 'Redis cannot be asked now; nothing was changed.' },
  backup_elsewhere: { status: 409, title: 'The state is in Redis, which has backups of its own.' },
  history_off: { status: 409, title: 'The server keeps no history.' },
  not_durable: { status: 409, title: 'The server keeps its state in memory only.' },
  encryption_key_required: {
    status: 409,
    title: 'Values take an encryption key, which this server was not given.',
  },
  value_unreadable: { status: 500, title: 'The value of the key will not decrypt.' },
  internal_error: { status: 500, title: 'The server failed; the outcome is unknown.' },
  key_not_found: { status: 404, title: 'No such key.' },
  pool_not_found: { status: 404, title: 'No such pool.' },
  invalid_pool_name: { status: 400, title: 'A pool cannot have that name.' },
  pool_not_empty: { status: 409, title: 'The pool has keys.' },
  too_many_pools: { status: 409, title: 'The server holds as many pools as it can.' },
  invalid_policy: { status: 422, title: 'The policy contradicts itself.' },
  shards_fixed: {
    status: 409,
    title: 'How many shards a pool has is fixed when it is made.',
  },
  key_not_leased: { status: 409, title: 'The key is not leased, or not by that lease.' },
  key_unavailable: { status: 409, title: 'The key is leased, cooling or disabled.' },
  lease_not_found: { status: 404, title: 'No such lease.' },
  lease_ended: { status: 410, title: 'The lease has ended.' },
  lease_limit: { status: 409, title: 'The lease has reached the longest time it may last.' },
  ttl_too_long: { status: 422, title: 'The TTL is above the maxLeaseTtlMs of the pool.' },
  pool_exhausted: { status: 429, title: 'Every key of the pool is leased or cooling.' },
  too_many_waiters: { status: 429, title: 'As many callers as can wait for the pool already do.' },
  too_many_streams: { status: 429, title: 'As many callers as can listen already do.' },
  draining: { status: 503, title: 'The server is stopping.' },
  overloaded: { status: 503, title: 'The server is asked for more than it can do.' },
  pool_empty: { status: 409, title: 'The pool has no key that could become available.' },
  pool_full: { status: 409, title: 'The pool would hold more keys than its maxKeys.' },
  invalid_cursor: { status: 400, title: 'The cursor is not one that this server gave.' },
  duplicate_value: { status: 409, title: 'The pool holds that value already.' },
  server_full: { status: 409, title: 'The server would hold more keys than --max-total-keys.' },
} as const

export type ErrorCode = keyof typeof ERRORS

/** Why a lease ended; the order is the number in the row. */
export const END_REASONS = [
  'unknown',
  'expired',
  'released',
  'unblocked',
  'revoked',
  'key_deleted',
  'key_expired',
] as const

export type EndReason = (typeof END_REASONS)[number]

/** What an operation answers when it changes nothing. */
export interface Refusal {
  readonly code: ErrorCode
  /** `invalid_policy`: what is wrong with it; `shards_fixed`: what to do. */
  readonly detail?: string
  /** `lease_ended`: how it ended, where still known. */
  readonly reason?: EndReason
  /** `duplicate_value`: its place in the call, and the key or the earlier place that has it. */
  readonly duplicate?: { index: number; keyId: string } | { index: number; firstIndex: number }
  /** `pool_exhausted`: ms until the earliest end of a lease or cooldown. */
  readonly retryAfterMs?: number
  /** `pool_exhausted`, `pool_empty`: the keys by state. */
  readonly counts?: { leased: number; cooling: number; disabled: number }
}

function refusals(): Record<ErrorCode, Refusal> {
  const codes = Object.keys(ERRORS) as ErrorCode[]
  return Object.fromEntries(
    codes.map((code) => [code, Object.freeze({ code })]),
  ) as unknown as Record<ErrorCode, Refusal>
}

/** One frozen refusal for each code, for the refusals that need no details. */
export const REFUSED: Readonly<Record<ErrorCode, Refusal>> = refusals()
