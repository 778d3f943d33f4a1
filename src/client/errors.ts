/** What the client throws. None of them shows an access token, a key or the id of a lease. */
import type { EndReason, ErrorCode } from '../engine/errors.ts'

/** Problem details (RFC 9457), as the server sends them. */
export interface Problem {
  title: string
  status: number
  /** From the server's table of errors; a newer server may have more. */
  code: ErrorCode
  detail?: string
  /** `lease_ended`: how, where still known. */
  reason?: EndReason
  /** `pool_exhausted`: until the earliest end of a lease or rest. */
  retryAfterMs?: number
  [more: string]: unknown
}

/** The server refused. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem
  /** When to come back, where the server says so. */
  readonly retryAfterMs: number | null

  /** The header's is in whole seconds; the problem's own goes before it. */
  constructor(problem: Problem, retryAfterMs: number | null) {
    const { code, title, detail } = problem
    super(`${code}: ${title}${detail === undefined ? '' : ` ${detail}`}`)
    this.problem = problem
    this.retryAfterMs = problem.retryAfterMs ?? retryAfterMs
  }

  get code(): ErrorCode {
    return this.problem.code
  }

  get status(): number {
    return this.problem.status
  }
}

/** No server of ours answered: nobody, too late, or something on the way. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  readonly code = 'unreachable'
  /** Null: there was no answer. */
  readonly status: number | null
  readonly retryAfterMs: number | null

  constructor(
    message: string,
    options: { cause?: unknown; status?: number; retryAfterMs?: number | null } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.status = options.status ?? null
    this.retryAfterMs = options.retryAfterMs ?? null
  }
}

/** Why the signal of a lease was aborted: the key may soon be another's, or is already. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
  readonly code = 'lease_lost'
  /** How the server says that it ended; `not_renewed`: its time is about to be up. */
  readonly reason: EndReason | 'not_renewed'

  /** The cause is why the last renewal failed, if one did. */
  constructor(reason: EndReason | 'not_renewed', cause?: unknown) {
    super(
      reason === 'not_renewed'
        ? 'The lease could not be renewed in time; stop using its key.'
        : `The lease has ended (${reason}); stop using its key.`,
      { cause },
    )
    this.reason = reason
  }
}
