import type { FastifyInstance } from 'fastify'
import type { Log } from '../../log.ts'
import type { Access, AccessToken as KnownToken } from '../../service/access.ts'
import { pageLimit } from '../contract/common.ts'
import { type AccessToken, type CreateBody, tokens } from '../contract/tokens.ts'
import { iso, isoOrNull } from '../instants.ts'
import { sendRefusal } from '../problem.ts'

export function tokenRoutes(app: FastifyInstance, access: Access, log: Log): void {
  app.route<{ Body: CreateBody }>({
    ...tokens.createToken,
    handler: async (request, reply) => {
      const { name, scopes, pools = '*', lifetimeMs = null } = request.body
      const created = await access.create({ name, scopes, pools, lifetimeMs })
      if ('code' in created) return sendRefusal(reply, created)
      const { id } = created.token
      log.info('an access token was made', { id, name, scopes, by: request.caller?.id ?? null })
      reply.code(201).header('location', `/v1/tokens/${id}`)
      return { ...describe(created.token), token: created.secret }
    },
  })

  app.route<{ Querystring: { limit?: string; cursor?: string } }>({
    ...tokens.listTokens,
    handler: (request) => {
      const { tokens, nextCursor } = access.page(pageLimit(request.query), request.query.cursor)
      const page = tokens.map(describe)
      return nextCursor === null ? { tokens: page } : { tokens: page, nextCursor }
    },
  })

  app.route<{ Params: { id: string } }>({
    ...tokens.deleteToken,
    handler: async (request, reply) => {
      const { id } = request.params
      const refusal = await access.remove(id)
      if (refusal !== null) return sendRefusal(reply, refusal)
      log.info('an access token was deleted', { id, by: request.caller?.id ?? null })
      return reply.code(204).send()
    },
  })
}

function describe({ id, name, scopes, pools, createdAt, expiresAt }: KnownToken): AccessToken {
  return {
    id,
    name,
    scopes: [...scopes],
    pools: pools === '*' ? '*' : [...pools],
    createdAt: iso(createdAt),
    expiresAt: isoOrNull(expiresAt),
  }
}
