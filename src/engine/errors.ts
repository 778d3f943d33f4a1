/**
 * The one table of errors: code, HTTP status, meaning, what to do. Refusing is ordinary work, so a refusal is a value
 * with a code, never an exception: making an `Error` for each 404 would cost more than the request.
 */
export const ERRORS = {
  invalid_request: {
    status: 400,
    title: 'The request is malformed.',
    advice: 'Correct the request.',
  },
  access_token_required: {
    status: 401,
    title: 'An access token is needed.',
    advice: 'Send Authorization: Bearer <access token>.',
  },
  access_token_invalid: {
    status: 401,
    title: 'The access token is wrong, deleted or expired.',
    advice: 'Ask whoever runs the server for a new one.',
  },
  missing_scope: {
    status: 403,
    title: 'The access token lacks a scope.',
    advice: 'Use an access token that has it.',
  },
  token_not_found: {
    status: 404,
    title: 'No such access token.',
    advice: 'Correct the id; what has expired or was deleted is gone.',
  },
  admin_token_first: {
    status: 409,
    title: 'The first access token must be an admin that does not expire.',
    advice: 'Make one with "scopes": ["admin"] and without lifetimeMs, then the others with it.',
  },
  last_admin_token: {
    status: 409,
    title: 'The last admin token that does not expire cannot be deleted.',
    advice: 'Make another one first.',
  },
  too_many_tokens: {
    status: 409,
    title: 'The server holds as many access tokens as it can.',
    advice: 'Delete tokens.',
  },
  not_local: {
    status: 403,
    title: 'Without access tokens the server answers local callers only.',
    advice: 'Ask from the same machine and without a proxy, by localhost or a loopback address.',
  },
  key_not_good: {
    status: 401,
    title: 'The request carries no key that is leased.',
    advice: 'Lease a key, and send its value, or the id of a plain one.',
  },
  gateway_not_trusted: {
    status: 403,
    title: 'Who asks about the key may not.',
    advice: 'Give the gateway an access token with the scope introspect, in X-Access-Token.',
  },
  cannot_verify: {
    status: 403,
    title: 'It cannot be told whether the key is good.',
    advice: 'Try again; the log says what is wrong.',
  },
  prefetch_refused: {
    status: 403,
    title: 'A draw changes state and cannot be prefetched.',
    advice: 'Draw with an ordinary request, without Sec-Purpose: prefetch.',
  },
  route_not_found: {
    status: 404,
    title: 'No such path.',
    advice: 'Look the path up at /docs.',
  },
  method_not_allowed: {
    status: 405,
    title: 'The path does not know that method.',
    advice: 'Use a method that the Allow header names.',
  },
  request_timeout: {
    status: 408,
    title: 'The request took too long to arrive.',
    advice: 'Send the request faster: 5 s for the headers, 10 s for all of it.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is larger than the server accepts.',
    advice: 'Send at most 64 KiB, 8 MiB for batches and creates.',
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are larger or more than the server accepts.',
    advice: 'Send at most 500 headers, 8 KiB in all.',
  },
  request_in_progress: {
    status: 409,
    title: 'The request that this one repeats is under way.',
    advice: 'Wait, then repeat it.',
  },
  idempotency_mismatch: {
    status: 422,
    title: 'The Idempotency-Key was used with another body.',
    advice: 'Use a new one for each request.',
  },
  idempotency_full: {
    status: 503,
    title: 'The server remembers as many requests as it can.',
    advice: 'Come back later, or ask without Idempotency-Key.',
  },
  storage_full: {
    status: 503,
    title: 'The disk is full, or Redis is; nothing can be changed.',
    advice:
      'Free some room on the disk, or in Redis. The server goes on by itself; nothing was changed.',
  },
  storage_failed: {
    status: 503,
    title: 'The disk failed, or Redis did; the outcome is unknown.',
    advice:
      'Look what became of the request. Where it was the disk the server ends: mend it and start it again.',
  },
  store_unavailable: {
    status: 503,
    title: 'Redis cannot be asked now; nothing was changed.',
    advice: 'Try again. The server goes on by itself as soon as Redis does.',
  },
  backup_elsewhere: {
    status: 409,
    title: 'The state is in Redis, which has backups of its own.',
    advice: 'Use those of Redis.',
  },
  history_off: {
    status: 409,
    title: 'The server keeps no history.',
    advice: 'Start it with --history 24h.',
  },
  not_durable: {
    status: 409,
    title: 'The server keeps its state in memory only.',
    advice: 'Start it without --memory.',
  },
  encryption_key_required: {
    status: 409,
    title: 'Values take an encryption key, which this server was not given.',
    advice: 'Start all servers with the same --encryption-key-file.',
  },
  value_unreadable: {
    status: 500,
    title: 'The value of the key will not decrypt.',
    advice: 'The key is disabled. Delete it, import its value again, and look for what damaged it.',
  },
  internal_error: {
    status: 500,
    title: 'The server failed; the outcome is unknown.',
    advice: 'Look what became of the request, then try again. The log says more.',
  },
  key_not_found: {
    status: 404,
    title: 'No such key.',
    advice: 'The key never was, died or was deleted. Correct its id, or draw another.',
  },
  pool_not_found: {
    status: 404,
    title: 'No such pool.',
    advice: 'Make it by PUT /v1/pools/{pool}, or correct its name.',
  },
  invalid_pool_name: {
    status: 400,
    title: 'A pool cannot have that name.',
    advice: 'Use 1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit.',
  },
  pool_not_empty: {
    status: 409,
    title: 'The pool has keys.',
    advice: 'Add ?force=true to delete its keys too.',
  },
  too_many_pools: {
    status: 409,
    title: 'The server holds as many pools as it can.',
    advice: 'Delete pools.',
  },
  invalid_policy: {
    status: 422,
    title: 'The policy contradicts itself.',
    advice: 'Correct the policy.',
  },
  shards_fixed: {
    status: 409,
    title: 'How many shards a pool has is fixed when it is made.',
    advice: 'Make another pool, or copy all by migrate --shards.',
  },
  key_not_leased: {
    status: 409,
    title: 'The key is not leased, or not by that lease.',
    advice: 'Nothing to do: the key is not held, or not by you.',
  },
  key_unavailable: {
    status: 409,
    title: 'The key is leased, cooling or disabled.',
    advice: 'Wait, or draw a random key.',
  },
  lease_not_found: {
    status: 404,
    title: 'No such lease.',
    advice: 'Correct the lease id.',
  },
  lease_ended: {
    status: 410,
    title: 'The lease has ended.',
    advice: 'Stop using the key, and draw again.',
  },
  lease_limit: {
    status: 409,
    title: 'The lease has reached the longest time it may last.',
    advice: 'Release the key and draw again.',
  },
  ttl_too_long: {
    status: 422,
    title: 'The TTL is above the maxLeaseTtlMs of the pool.',
    advice: 'Ask for less, or raise maxLeaseTtlMs.',
  },
  pool_exhausted: {
    status: 429,
    title: 'Every key of the pool is leased or cooling.',
    advice: 'Come back after Retry-After (retryAfterMs), or wait for a key with waitMs.',
  },
  too_many_waiters: {
    status: 429,
    title: 'As many callers as can wait for the pool already do.',
    advice: 'Come back later, or add keys.',
  },
  too_many_streams: {
    status: 429,
    title: 'As many callers as can listen already do.',
    advice: 'Come back later, or ask with GET now and then.',
  },
  draining: {
    status: 503,
    title: 'The server is stopping.',
    advice: 'Ask another server, or this one once it is back.',
  },
  overloaded: {
    status: 503,
    title: 'The server is asked for more than it can do.',
    advice: 'Nothing was done. Come back after Retry-After, or ask another server.',
  },
  pool_empty: {
    status: 409,
    title: 'The pool has no key that could become available.',
    advice: 'Add keys. Those that are disabled, if any are, can be enabled.',
  },
  pool_full: {
    status: 409,
    title: 'The pool would hold more keys than its maxKeys.',
    advice: 'Delete keys, or raise maxKeys of the pool (--max-keys is that of default).',
  },
  invalid_cursor: {
    status: 400,
    title: 'The cursor is not one that this server gave.',
    advice: 'Start the listing anew.',
  },
  duplicate_value: {
    status: 409,
    title: 'The pool holds that value already.',
    advice:
      '"index" is its place in the call, "keyId" the key that has it. Leave it out, or say "onDuplicate": "skip".',
  },
  server_full: {
    status: 409,
    title: 'The server would hold more keys than --max-total-keys.',
    advice: 'Delete keys, or raise --max-total-keys.',
  },
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
