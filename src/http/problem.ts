import type { FastifyReply } from 'fastify'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'

export const PROBLEM_TYPE = 'application/problem+json'

/** Problem details (RFC 9457) of an error. `detail` says what to do about it. */
export function problem(code: ErrorCode, detail?: string): string {
  const { status, title } = ERRORS[code]
  return JSON.stringify({ title, status, code, ...(detail === undefined ? {} : { detail }) })
}

export function sendProblem(reply: FastifyReply, code: ErrorCode, detail?: string): FastifyReply {
  return reply.code(ERRORS[code].status).type(PROBLEM_TYPE).send(problem(code, detail))
}
