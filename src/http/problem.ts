import type { FastifyReply } from 'fastify'
import { type ErrorCode, ERRORS, type Refusal } from '../engine/errors.ts'

export const PROBLEM_TYPE = 'application/problem+json'
declare module 'fastify' {
  interface FastifyReply {
    /** Of the error that it tells of. */
    errorCode: ErrorCode | null
  }
}

const CHALLENGE = 'Bearer realm="token-orchestrator"'

/** Problem details (RFC 9457) of an error. `detail` says what is wrong with this request; else it is what to do. */
export function problem(code: ErrorCode, detail: string = ERRORS[code].advice): string {
  const { status, title } = ERRORS[code]
  return JSON.stringify({ title, status, code, detail })
}

/** The same of a refusal, with all that the engine says about it. */
export function problemOf(refusal: Refusal): object {
  const { code, reason, duplicate, retryAfterMs, counts } = refusal
  const { status, title, advice } = ERRORS[code]
  const { detail = advice } = refusal
  return { title, status, code, detail, reason, ...duplicate, retryAfterMs, ...counts }
}

/** To be thrown for what is wrong with a request in a way that no schema says. */
export function malformed(message: string): Error {
  return Object.assign(new Error(message), { statusCode: 400 })
}

export function sendProblem(reply: FastifyReply, code: ErrorCode, detail?: string): FastifyReply {
  setChallenge(reply, code)
  reply.errorCode = code
  return reply.code(ERRORS[code].status).type(PROBLEM_TYPE).send(problem(code, detail))
}

export function sendRefusal(reply: FastifyReply, refusal: Refusal): FastifyReply {
  setRetryAfter(reply, refusal)
  setChallenge(reply, refusal.code)
  reply.errorCode = refusal.code
  const { status } = ERRORS[refusal.code]
  return reply
    .code(status)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problemOf(refusal)))
}

/** A 401 says what it takes (RFC 6750, 3). */
function setChallenge(reply: FastifyReply, code: ErrorCode): void {
  if (code === 'access_token_required' || code === 'key_not_good')
    reply.header('www-authenticate', CHALLENGE)
  if (code !== 'access_token_invalid') return
  reply.header('www-authenticate', `${CHALLENGE}, error="invalid_token"`)
}

/** Whole seconds, at least one, where it is known when to come back. */
export function setRetryAfter(reply: FastifyReply, { retryAfterMs }: Refusal): void {
  if (retryAfterMs === undefined) return
  reply.header('retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000))))
}
