import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Refusal } from '../engine/errors.ts'
import { isRefusal, type Key } from '../engine/operations.ts'
import type { Orchestrator } from '../service/orchestrator.ts'
import {
  classic,
  type CreateBody,
  type Created,
  type Drawn,
  type Shown,
} from './contract/classic.ts'
import { repeatableOf } from './idempotency.ts'
import { iso, isoOrNull } from './instants.ts'
import { asJson } from './json.ts'
import { sendProblem, setRetryAfter } from './problem.ts'

/** The pool is `default`, or none to whom it is hidden. */
interface PoolRequest {
  Params: { pool: string }
}
interface KeyRequest {
  Params: { pool: string; id: string }
  Querystring: { leaseId?: string | string[] }
}

/** The routes that read no body: whatever one comes with is ignored. */
export function classicRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<PoolRequest>({
    ...classic.drawKey,
    handler: async (request, reply) => {
      if (request.headers['sec-purpose']?.includes('prefetch') === true) {
        return sendProblem(reply, 'prefetch_refused')
      }
      const { pool } = request.params
      const holder = request.caller?.name
      const drawn = await orchestrator.acquire(pool, { op: 'acquire', holder })
      if (isRefusal(drawn)) return nothingToDraw(reply, drawn)
      const lease = drawn.leases[0]!
      const { keyId, leaseId, fencingToken, expiresAt, sealed } = lease
      const body: Drawn = {
        keyId,
        key_id: keyId,
        leaseId,
        fencingToken,
        blockedUntil: iso(expiresAt),
      }
      if (sealed !== null) body.value = await orchestrator.valueOf(pool, lease)
      return body
    },
  })

  app.route<KeyRequest>({
    ...classic.showKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [shown] = await orchestrator.run(pool, [{ op: 'show', keyId: id }])
      return isRefusal(shown) ? refused(reply, shown) : describe(shown.key)
    },
  })

  app.route<KeyRequest>({
    ...classic.unblockKey,
    handler: async (request, reply) => {
      const { leaseId } = request.query
      if (Array.isArray(leaseId)) return notFound(reply)
      const { pool, id } = request.params
      const [unblocked] = await orchestrator.run(pool, [
        { op: 'unblock', keyId: id, leaseId, by: request.caller?.name },
      ])
      return isRefusal(unblocked) ? refused(reply, unblocked) : empty(reply)
    },
  })

  app.route<KeyRequest>({
    ...classic.deleteKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [removed] = await orchestrator.run(pool, [
        { op: 'remove', keyId: id, by: request.caller?.name },
      ])
      return isRefusal(removed) ? refused(reply, removed) : empty(reply)
    },
  })

  app.route<KeyRequest>({
    ...classic.keepKeyAlive,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [kept] = await orchestrator.run(pool, [
        { op: 'keepAlive', keyId: id, by: request.caller?.name },
      ])
      return isRefusal(kept) ? refused(reply, kept) : empty(reply)
    },
  })
}

/** The one classic route that reads a body, if it is JSON. */
export function classicCreateRoute(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<PoolRequest & { Body: CreateBody | undefined }>({
    ...classic.createKey,
    handler: async (request, reply) => {
      const count = request.body?.count ?? undefined
      const by = request.caller?.name
      const operation = { op: 'create', count: count ?? 1, by } as const
      const repeatable = repeatableOf(request)
      const created = await orchestrator.create(request.params.pool, operation, repeatable)
      if (isRefusal(created)) return sendProblem(reply, created.code)
      const { keyIds } = created
      const keyId = keyIds[0]!
      const body: Created = { keyId, key_id: keyId, ...(count === undefined ? {} : { keyIds }) }
      reply.code(201).header('location', `/keys/${keyId}`)
      return body
    },
  })
}

function empty(reply: FastifyReply): string {
  return asJson(reply, '{}')
}

function notFound(reply: FastifyReply): string {
  return empty(reply.code(404))
}

/** To the classic API what cannot be done to a key is a key that is not there; a full disk is not that. */
function refused(reply: FastifyReply, { code }: Refusal): FastifyReply | string {
  return code === 'storage_full' ? sendProblem(reply, code) : notFound(reply)
}

function nothingToDraw(reply: FastifyReply, refusal: Refusal): FastifyReply | string {
  setRetryAfter(reply, refusal)
  return refused(reply, refusal)
}

function describe(key: Key): Shown {
  const { keyId, lease } = key
  return {
    keyId,
    key_id: keyId,
    isBlocked: lease !== null,
    blockedAt: isoOrNull(lease?.grantedAt ?? null),
    createdAt: iso(key.createdAt),
    blockedUntil: isoOrNull(lease?.expiresAt ?? null),
    expiresAt: isoOrNull(key.expiresAt),
    keepAliveAt: iso(key.keepAliveAt),
    state: key.state,
  }
}
