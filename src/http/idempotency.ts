import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Repeatable } from '../service/requests.ts'
import { IDEMPOTENCY_KEY } from './contract/common.ts'
import { malformed } from './problem.ts'

const HEADER = 'idempotency-key'

/**
 * What makes a request repeatable; null: it does not ask for that.
 * @throws an error of status 400 where the header is none.
 */
export function repeatableOf(request: FastifyRequest): Repeatable | null {
  const header = request.headers[HEADER]
  if (header === undefined) return null
  if (typeof header !== 'string' || !IDEMPOTENCY_KEY.test(header)) {
    throw malformed('The Idempotency-Key must be 1 to 255 printable ASCII characters.')
  }
  const path = request.url.split('?')[0]!
  return {
    key: digest(`${request.caller?.id ?? ''} ${request.method} ${path} ${header}`),
    body: JSON.stringify(request.body ?? null),
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
