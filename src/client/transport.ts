/** Requests to the server: sent again where that is safe, refusals as typed errors. */
import type { ErrorCode } from '../engine/errors.ts'
import { type ClientClock, sleep, systemClock } from './clock.ts'
import { type Problem, ProblemError, UnreachableError } from './errors.ts'

export interface TransportOptions {
  /** Where the server is, such as `https://keys.example.org`; a path before the API's is kept. */
  url: string | URL
  /** Access token. */
  token?: string | undefined
  /** How long an answer may take, beyond what it was asked to wait. */
  requestTimeoutMs?: number
  /** For how long a request is sent again. */
  retryForMs?: number
  fetch?: typeof fetch
  clock?: ClientClock
  /** From 0 to below 1. */
  random?: () => number
}

export interface Asking {
  body?: object
  /** A new one for each request; makes a POST that creates or leases safe to send again. */
  idempotencyKey?: string | undefined
  /** Whether doing it twice is doing it once; unless said, of all but a POST without an idempotency key. */
  repeatable?: boolean
  /** Gives it up. */
  signal?: AbortSignal | undefined
  /** Of each attempt. */
  timeoutMs?: number
  /** Zero: it is sent once. */
  retryForMs?: number
  /** Statuses that are answers, though no good ones. */
  answers?: readonly number[]
}

export interface Answer {
  status: number
  headers: Headers
  /** Of JSON; undefined: there is none. */
  body: unknown
  /** When what was answered was sent, by the client's clock: what the answer says happened later. */
  sentAt: number
}

const REQUEST_TIMEOUT_MS = 10_000
const RETRY_FOR_MS = 30_000
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5000

/** Refused before anything was done, and may be granted later. */
const NOT_NOW: readonly ErrorCode[] = [
  ...(['draining', 'overloaded', 'storage_full', 'too_many_waiters'] as const),
  ...(['request_in_progress', 'request_timeout'] as const),
]
/** Nobody knows whether it was done. */
const UNKNOWN: readonly ErrorCode[] = ['storage_failed', 'internal_error']
/** What proxies and overloaded hosts answer in the server's place. */
const GATEWAY_STATUSES = [429, 502, 503, 504]

export class Transport {
  readonly clock: ClientClock
  readonly requestTimeoutMs: number
  readonly retryForMs: number
  readonly #base: string
  readonly #authorization: Readonly<Record<string, string>>
  readonly #fetch: typeof fetch
  readonly #random: () => number

  constructor(options: TransportOptions) {
    const { url, token, requestTimeoutMs, retryForMs, clock, random } = options
    this.#base = new URL(url).href.replace(/\/+$/, '')
    this.#authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.requestTimeoutMs = requestTimeoutMs ?? REQUEST_TIMEOUT_MS
    this.retryForMs = retryForMs ?? RETRY_FOR_MS
    this.clock = clock ?? systemClock
    this.#random = random ?? Math.random
    // Browsers want it called on nothing else than the global object.
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init))
  }

  /**
   * The path begins with a slash and has its parts encoded.
   * @throws ProblemError, UnreachableError, or the reason of the signal.
   */
  async request(method: string, path: string, asking: Asking = {}): Promise<Answer> {
    const { retryForMs = this.retryForMs, timeoutMs = this.requestTimeoutMs, signal } = asking
    let { idempotencyKey } = asking
    const until = this.clock.now() + retryForMs
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted()
      const leftMs = until - this.clock.now() + this.requestTimeoutMs
      try {
        const attempt = { ...asking, idempotencyKey }
        return await this.#attempt(method, path, attempt, Math.min(timeoutMs, leftMs))
      } catch (error) {
        // Nothing of it was done. It may not be repeated from now on, but need not fail either.
        if (idempotencyKey !== undefined && isFull(error)) {
          idempotencyKey = undefined
          continue
        }
        const repeatable = asking.repeatable ?? (method !== 'POST' || idempotencyKey !== undefined)
        const delayMs = this.#delayMs(error, attempt)
        const late = this.clock.now() + delayMs > until
        if (late || !mayRepeat(error, repeatable)) throw error
        await sleep(this.clock, delayMs, signal)
      }
    }
  }

  async #attempt(
    method: string,
    path: string,
    { body, idempotencyKey, signal, answers }: Asking,
    timeoutMs: number,
  ): Promise<Answer> {
    const controller = new AbortController()
    const giveUp = (): void => {
      controller.abort(signal!.reason)
    }
    signal?.addEventListener('abort', giveUp, { once: true })
    const cancelTimeout = this.clock.callAfter(timeoutMs, () => {
      controller.abort(
        new UnreachableError(`${this.#base} did not answer within ${Math.round(timeoutMs)} ms.`),
      )
    })
    const headers: Record<string, string> = { ...this.#authorization }
    if (body !== undefined) headers['content-type'] = 'application/json'
    if (idempotencyKey !== undefined) headers['idempotency-key'] = idempotencyKey
    const sentAt = this.clock.now()
    try {
      const response = await this.#fetch(this.#base + path, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        signal: controller.signal,
        // A redirected POST would become a GET, and take the access token elsewhere.
        redirect: 'manual',
      })
      const text = await response.text()
      return this.#read(response, text, sentAt, answers)
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason
      if (error instanceof ProblemError || error instanceof UnreachableError) throw error
      throw new UnreachableError(`${this.#base} cannot be reached.`, { cause: error })
    } finally {
      cancelTimeout()
      signal?.removeEventListener('abort', giveUp)
    }
  }

  #read(
    { ok, status, headers }: Response,
    text: string,
    sentAt: number,
    answers: readonly number[] = [],
  ): Answer {
    const body = parse(text)
    if ((ok && text === '') || ((ok || answers.includes(status)) && body !== undefined))
      return { status, headers, body, sentAt }
    const header = headers.get('retry-after')
    const seconds = header === null ? NaN : Number(header)
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : null
    if (isProblem(body)) throw new ProblemError(body, retryAfterMs)
    throw new UnreachableError(
      `${this.#base} answered ${status}, but not as Token Orchestrator does: look at the URL and what is on the way.`,
      { status, retryAfterMs },
    )
  }

  /** Doubled each time, half of it by chance, so that many clients do not come back at once. */
  #delayMs(error: unknown, attempt: number): number {
    const backoffMs = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS)
    const delayMs = backoffMs * (0.5 + this.#random() / 2)
    const told = error instanceof ProblemError || error instanceof UnreachableError
    return Math.max(delayMs, (told ? error.retryAfterMs : null) ?? 0)
  }
}

/** The server can remember no more requests. */
function isFull(error: unknown): boolean {
  return error instanceof ProblemError && error.code === 'idempotency_full'
}

function mayRepeat(error: unknown, repeatable: boolean): boolean {
  if (error instanceof ProblemError) {
    return NOT_NOW.includes(error.code) || (repeatable && UNKNOWN.includes(error.code))
  }
  if (!(error instanceof UnreachableError)) return false
  return repeatable && (error.status === null || GATEWAY_STATUSES.includes(error.status))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof (body as Problem | null | undefined)?.code === 'string'
}
