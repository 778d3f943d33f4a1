/** What a thrown error says about the key. */
import type { ReleaseBody } from '../http/contract/leases.ts'

/** How a holder fared with a key, as he tells the server with the release. */
export type Report = NonNullable<ReleaseBody>

const TOO_MANY_REQUESTS = 429
const LONGEST_RETRY_AFTER_MS = 7 * 24 * 3_600_000

/** Where errors of the usual HTTP clients keep what was answered; a thrown Response is its own. */
interface Failure {
  name?: unknown
  status?: unknown
  statusCode?: unknown
  headers?: unknown
  retryAfter?: unknown
  retryAfterMs?: unknown
  response?: unknown
}

/**
 * An error that says when to come back, or a 429, is `rate_limited`; work that was given up says nothing against
 * the key; any other error is an `error`, after which the key rests. Nothing is `invalid` by itself, for that would
 * disable the key, and a 401 may come of a wrong URL.
 */
export function outcomeOf(error: unknown): Report {
  if (typeof error !== 'object' || error === null) return { outcome: 'error' }
  const failure: Failure = error
  if (failure.name === 'AbortError' || failure.name === 'LeaseLostError') return { outcome: 'ok' }
  const response = (failure.response ?? {}) as Failure
  const retryAfterMs = retryAfterMsOf(failure) ?? retryAfterMsOf(response)
  if (retryAfterMs !== null) return { outcome: 'rate_limited', retryAfterMs }
  const statuses = [failure.status, failure.statusCode, response.status, response.statusCode]
  return { outcome: statuses.includes(TOO_MANY_REQUESTS) ? 'rate_limited' : 'error' }
}

function retryAfterMsOf({ retryAfterMs, retryAfter, headers }: Failure): number | null {
  if (typeof retryAfterMs === 'number') return within(retryAfterMs)
  return parseRetryAfter(retryAfter ?? headerOf(headers))
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function parseRetryAfter(value: unknown): number | null {
  if (typeof value === 'number') return within(value * 1000)
  if (typeof value !== 'string' || value.trim() === '') return null
  const seconds = Number(value)
  return within(Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1000)
}

function headerOf(headers: unknown): unknown {
  if (typeof headers !== 'object' || headers === null) return undefined
  if ('get' in headers && typeof headers.get === 'function') {
    return (headers as Headers).get('retry-after')
  }
  const named = Object.entries(headers).find(([name]) => name.toLowerCase() === 'retry-after')
  return named?.[1]
}

function within(ms: number): number | null {
  return Number.isNaN(ms) ? null : Math.ceil(Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS))
}
