import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { FoundLease } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import {
  type IntrospectBody,
  introspection,
  type Introspection,
} from '../contract/introspection.ts'
import { sendProblem } from '../problem.ts'

const BEARER = /^Bearer +(\S+) *$/i

export function introspectionRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  /** The lease that makes the key good, if there is one in a pool that the caller sees: the latest. */
  const find = async (
    request: FastifyRequest,
    secret: string,
    pool?: string,
  ): Promise<FoundLease | undefined> => {
    const { caller } = request
    const found = await orchestrator.find(
      secret,
      (name) => (pool ?? name) === name && (caller?.sees(name) ?? true),
    )
    return found.sort((a, b) => b.fencingToken - a.fencingToken)[0]
  }

  app.route<{ Body: IntrospectBody }>({
    ...introspection.introspect,
    handler: async (request) => {
      const lease = await find(request, request.body.token, request.body.pool)
      return lease === undefined ? { active: false } : describe(lease)
    },
  })

  app.route({
    ...introspection.verify,
    // A gateway takes any other status for a fault of its own.
    errorHandler: (_error, _request, reply) => {
      sendProblem(reply, 'cannot_verify')
    },
    handler: async (request, reply) => {
      const secret = keyIn(request)
      const lease = secret === null ? undefined : await find(request, secret)
      if (lease === undefined) return sendProblem(reply, 'key_not_good')
      const { keyId, pool, holder } = lease
      reply.header('x-key-id', keyId).header('x-pool', pool)
      if (holder !== null) reply.header('x-holder', holder)
      return reply.code(204).send()
    },
  })
}

/** The key that a request to a gateway carries; null: none, or two, of which the guarded one may heed the other. */
function keyIn({ headers }: FastifyRequest): string | null {
  const bearer = BEARER.exec(headers.authorization ?? '')?.[1]
  const apiKey = headers['x-api-key']
  if (typeof apiKey !== 'string') return bearer ?? null
  return bearer === undefined || bearer === apiKey ? apiKey : null
}

function describe({ pool, keyId, fencingToken, holder, ...lease }: FoundLease): Introspection {
  return {
    active: true,
    exp: Math.floor(lease.expiresAt / 1000),
    iat: Math.floor(lease.grantedAt / 1000),
    jti: String(fencingToken),
    ...(holder === null ? {} : { client_id: holder }),
    pool,
    key_id: keyId,
  }
}
