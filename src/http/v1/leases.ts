import type { FastifyInstance, FastifyReply } from 'fastify'
import {
  type HeldLease as EngineHeldLease,
  isRefusal,
  type Lease,
} from '../../engine/operations.ts'
import type { Access } from '../../service/access.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import {
  type AcquireBody,
  type HeldLease,
  leases,
  type ReleaseBody,
  type RenewBody,
} from '../contract/leases.ts'
import { pageLimit } from '../contract/common.ts'
import { iso } from '../instants.ts'
import { asJson } from '../json.ts'
import { sendRefusal } from '../problem.ts'
import { repeatableOf } from '../idempotency.ts'
import { writeLease, writeReleased } from './lease-answer.ts'

interface PoolRequest {
  Params: { pool: string }
}
interface LeaseRequest {
  Params: { pool: string; leaseId: string }
}

export function leaseRoutes(
  app: FastifyInstance,
  orchestrator: Orchestrator,
  access: Access,
): void {
  const tell = async (pool: string, lease: Lease): Promise<string> => {
    const value = lease.sealed === null ? null : await orchestrator.valueOf(pool, lease)
    return `{${writeLease(lease, value, orchestrator.now())}}`
  }

  app.route<PoolRequest & { Body: AcquireBody }>({
    ...leases.acquireLease,
    handler: async (request, reply) => {
      const { pool } = request.params
      const { waitMs = 0, ...asked } = request.body ?? {}
      const { caller } = request
      const operation = { op: 'acquire', holder: caller?.name, ...asked } as const
      const patience =
        waitMs === 0 ? null : { waitMs, gone: hangUp(reply), bar: () => access.whyNotStill(caller) }
      const repeatable = repeatableOf(request)
      const acquired = await orchestrator.acquireLease(pool, operation, patience, repeatable)
      if (isRefusal(acquired)) return sendRefusal(reply, acquired)
      const lease = acquired.leases[0]!
      if (patience !== null && repeatable === null) {
        unlessSent(reply, patience.gone, () =>
          orchestrator.run(pool, [{ op: 'release', leaseId: lease.leaseId }]),
        )
      }
      const told = await tell(pool, lease) // where that fails there is no lease
      reply.code(201).header('location', `/v1/pools/${pool}/leases/${lease.leaseId}`)
      return asJson(reply, told)
    },
  })

  app.route<PoolRequest & { Querystring: { limit?: string; cursor?: string; holder?: string } }>({
    ...leases.listLeases,
    handler: async (request, reply) => {
      const { cursor, holder } = request.query
      const [listed] = await orchestrator.run(request.params.pool, [
        { op: 'listLeases', limit: pageLimit(request.query), cursor, holder },
      ])
      if (isRefusal(listed)) return sendRefusal(reply, listed)
      const page = { leases: listed.heldLeases.map(describeHeld) }
      const { nextCursor } = listed
      return nextCursor === null ? page : { ...page, nextCursor }
    },
  })

  app.route<PoolRequest & { Querystring: { holder: string } }>({
    ...leases.revokeLeases,
    handler: async (request, reply) => {
      const { pool } = request.params
      const revoked = await orchestrator.revokeLeases(
        pool,
        request.query.holder,
        request.caller?.name,
      )
      return typeof revoked === 'number' ? { revoked } : sendRefusal(reply, revoked)
    },
  })

  app.route<LeaseRequest>({
    ...leases.showLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [shown] = await orchestrator.run(pool, [{ op: 'showLease', leaseId }])
      if (isRefusal(shown)) return sendRefusal(reply, shown)
      return asJson(reply, await tell(pool, shown.lease))
    },
  })

  app.route<LeaseRequest & { Body: RenewBody }>({
    ...leases.renewLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [renewed] = await orchestrator.run(pool, [{ op: 'renew', leaseId, ...request.body }])
      if (isRefusal(renewed)) return sendRefusal(reply, renewed)
      return asJson(reply, await tell(pool, renewed.lease))
    },
  })

  app.route<LeaseRequest & { Body: ReleaseBody }>({
    ...leases.releaseLease,
    handler: async (request, reply) => {
      const { pool, leaseId } = request.params
      const [released] = await orchestrator.run(pool, [{ op: 'release', leaseId, ...request.body }])
      if (isRefusal(released)) return sendRefusal(reply, released)
      return asJson(reply, `{${writeReleased(released)}}`)
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

function describeHeld(lease: EngineHeldLease): HeldLease {
  return { ...lease, grantedAt: iso(lease.grantedAt), expiresAt: iso(lease.expiresAt) }
}
