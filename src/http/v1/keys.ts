import type { FastifyInstance } from 'fastify'
import { isRefusal, type Key as EngineKey } from '../../engine/operations.ts'
import type { StateName } from '../../engine/rows.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import { pageLimit } from '../contract/common.ts'
import { type CreateBody, type Key, keys, type UpdateBody } from '../contract/keys.ts'
import { iso, isoOrNull } from '../instants.ts'
import { sendRefusal } from '../problem.ts'
import { repeatableOf } from './idempotency.ts'

interface PoolRequest {
  Params: { pool: string }
}
interface KeyRequest {
  Params: { pool: string; id: string }
}
interface PageQuery {
  limit?: string
  cursor?: string
  state?: StateName
}

export function keyRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<PoolRequest & { Body: CreateBody }>({
    ...keys.createKeys,
    handler: async (request, reply) => {
      const { count } = request.body
      const operation = { op: 'create', count } as const
      const repeatable = repeatableOf(request)
      const created = await orchestrator.create(request.params.pool, operation, repeatable)
      if (isRefusal(created)) return sendRefusal(reply, created)
      return reply.code(201).send(created)
    },
  })

  app.route<PoolRequest & { Querystring: PageQuery }>({
    ...keys.listKeys,
    handler: async (request, reply) => {
      const { cursor, state } = request.query
      const [listed] = await orchestrator.run(request.params.pool, [
        { op: 'list', limit: pageLimit(request.query), cursor, state },
      ])
      if (isRefusal(listed)) return sendRefusal(reply, listed)
      const page = listed.keys.map(describe)
      const { nextCursor } = listed
      return nextCursor === null ? { keys: page } : { keys: page, nextCursor }
    },
  })

  app.route<KeyRequest>({
    ...keys.showKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [shown] = await orchestrator.run(pool, [{ op: 'show', keyId: id }])
      return isRefusal(shown) ? sendRefusal(reply, shown) : describe(shown.key)
    },
  })

  app.route<KeyRequest & { Body: UpdateBody }>({
    ...keys.updateKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [updated] = await orchestrator.run(pool, [{ op: 'update', keyId: id, ...request.body }])
      return isRefusal(updated) ? sendRefusal(reply, updated) : describe(updated.key)
    },
  })

  app.route<KeyRequest>({
    ...keys.deleteKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [removed] = await orchestrator.run(pool, [{ op: 'remove', keyId: id }])
      return isRefusal(removed) ? sendRefusal(reply, removed) : reply.code(204).send()
    },
  })

  app.route<KeyRequest>({
    ...keys.keepKeyAlive,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [kept] = await orchestrator.run(pool, [{ op: 'keepAlive', keyId: id }])
      if (isRefusal(kept)) return sendRefusal(reply, kept)
      return { keyId: kept.keyId, expiresAt: isoOrNull(kept.expiresAt) }
    },
  })

  app.route<KeyRequest>({
    ...keys.revokeLease,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [revoked] = await orchestrator.run(pool, [{ op: 'revoke', keyId: id }])
      return isRefusal(revoked) ? sendRefusal(reply, revoked) : reply.code(204).send()
    },
  })
}

function describe({ lease, ...key }: EngineKey): Key {
  return {
    ...key,
    createdAt: iso(key.createdAt),
    keepAliveAt: iso(key.keepAliveAt),
    expiresAt: isoOrNull(key.expiresAt),
    coolingUntil: isoOrNull(key.coolingUntil),
    lease: lease && {
      fencingToken: lease.fencingToken,
      grantedAt: iso(lease.grantedAt),
      expiresAt: iso(lease.expiresAt),
    },
  }
}
