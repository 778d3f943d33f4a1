import type { FastifyInstance, FastifyReply } from 'fastify'
import { isRefusal, type Lease as EngineLease } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import {
  type AcquireBody,
  type Lease,
  leases,
  type ReleaseBody,
  type RenewBody,
} from '../contract/leases.ts'
import { iso, isoOrNull } from '../instants.ts'
import { sendRefusal } from '../problem.ts'
import { repeatableOf } from './idempotency.ts'

interface PoolRequest {
  Params: { pool: string }
}
interface LeaseRequest {
  Params: { pool: string; leaseId: string }
}

export function leaseRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<PoolRequest & { Body: AcquireBody }>({
    ...leases.acquireLease,
    handler: async (request, reply) => {
      const { pool } = request.params
      const { waitMs = 0, ...asked } = request.body ?? {}
      const operation = { op: 'acquire', ...asked } as const
      const gone = waitMs === 0 ? null : hangUp(reply)
      const repeatable = repeatableOf(request)
      const acquired = await orchestrator.acquireLease(pool, operation, waitMs, gone, repeatable)
      if (isRefusal(acquired)) return sendRefusal(reply, acquired)
      const lease = acquired.leases[0]!
      if (gone !== null && repeatable === null) {
        unlessSent(reply, gone, () =>
          orchestrator.run(pool, [{ op: 'release', leaseId: lease.leaseId }]),
        )
      }
      reply.code(201).header('location', `/v1/pools/${pool}/leases/${lease.leaseId}`)
      return describe(lease, orchestrator.now())
    },
  })

  app.route<LeaseRequest>({
    ...leases.showLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [shown] = await orchestrator.run(pool, [{ op: 'showLease', leaseId }])
      if (isRefusal(shown)) return sendRefusal(reply, shown)
      return describe(shown.lease, orchestrator.now())
    },
  })

  app.route<LeaseRequest & { Body: RenewBody }>({
    ...leases.renewLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [renewed] = await orchestrator.run(pool, [{ op: 'renew', leaseId, ...request.body }])
      if (isRefusal(renewed)) return sendRefusal(reply, renewed)
      return describe(renewed.lease, orchestrator.now())
    },
  })

  app.route<LeaseRequest & { Body: ReleaseBody }>({
    ...leases.releaseLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [released] = await orchestrator.run(pool, [{ op: 'release', leaseId, ...request.body }])
      return isRefusal(released) ? sendRefusal(reply, released) : released
    },
  })
}

/** Aborted when the caller has closed the connection before he was answered. */
function hangUp(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  if (reply.raw.destroyed) controller.abort()
  reply.raw.once('close', () => {
    controller.abort()
  })
  return controller.signal
}

/** Undoes what nobody will hear of: the connection closed before the answer was handed to the system. */
function unlessSent({ raw }: FastifyReply, gone: AbortSignal, undo: () => Promise<unknown>): void {
  const look = (): void => {
    if (!raw.writableFinished) undo().catch(() => undefined) // then the lease ends by time
  }
  if (gone.aborted) look()
  else gone.addEventListener('abort', look)
}

/** What a holder is told. How long the lease lasts from now spares clients with a wrong clock. */
function describe(lease: EngineLease, now: number): Lease {
  return {
    ...lease,
    grantedAt: iso(lease.grantedAt),
    expiresAt: iso(lease.expiresAt),
    expiresInMs: Math.max(0, lease.expiresAt - now),
    keyExpiresAt: isoOrNull(lease.keyExpiresAt),
  }
}
