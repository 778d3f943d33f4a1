import type { FastifyInstance } from 'fastify'
import type { Refusal } from '../../engine/errors.ts'
import { isRefusal } from '../../engine/operations.ts'
import { DEFAULT_POLICY, POOL_NAME } from '../../engine/policy.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import { NO_POOL } from '../authorisation.ts'
import { pageLimit } from '../contract/common.ts'
import { type PolicyBody, type Pool, pools, type ShownPool } from '../contract/pools.ts'
import { isoOrNull } from '../instants.ts'
import { sendProblem, sendRefusal } from '../problem.ts'

interface PoolRequest {
  Params: { pool: string }
}

export function poolRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<{ Querystring: { limit?: string; cursor?: string } }>({
    ...pools.listPools,
    handler: async (request, reply) => {
      const { cursor } = request.query
      const limit = pageLimit(request.query)
      const visible = request.caller?.pools ?? '*'
      const page = await (visible === '*'
        ? orchestrator.pools(limit, cursor)
        : orchestrator.poolsAmong(visible, limit, cursor))
      if ('code' in page) return sendRefusal(reply, page)
      const { pools, nextCursor } = page
      return nextCursor === null ? { pools } : { pools, nextCursor }
    },
  })

  app.route<PoolRequest & { Body: PolicyBody }>({
    ...pools.putPool,
    handler: async (request, reply) => {
      const { pool: name } = request.params
      if (name === NO_POOL) return sendProblem(reply, 'pool_not_found')
      if (!POOL_NAME.test(name)) {
        const detail = '1 to 64 of a-z 0-9 . _ - beginning with a letter or digit.'
        return sendProblem(reply, 'invalid_pool_name', detail)
      }
      const before = await orchestrator.policy(name)
      const { shards = before?.shards ?? DEFAULT_POLICY.shards } = request.body
      const policy = { ...DEFAULT_POLICY, ...request.body, shards }
      const put = await orchestrator.putPool(name, policy)
      if (typeof put === 'object') return sendRefusal(reply, put)
      const pool: Pool = { name, policy }
      if (put === 'created') reply.code(201).header('location', `/v1/pools/${name}`)
      return pool
    },
  })

  app.route<PoolRequest & { Body: PolicyBody }>({
    ...pools.patchPool,
    handler: async (request, reply) => {
      const { pool: name } = request.params
      const policy = await orchestrator.patchPool(name, request.body)
      if ('code' in policy) return sendRefusal(reply, policy)
      const pool: Pool = { name, policy }
      return pool
    },
  })

  app.route<PoolRequest>({
    ...pools.showPool,
    handler: async (request, reply) => {
      const { pool: name } = request.params
      const [described] = await orchestrator.run(name, [{ op: 'describe' }])
      const policy = await orchestrator.policy(name)
      if (isRefusal(described)) return sendRefusal(reply, described)
      if (policy === undefined) return sendProblem(reply, 'pool_not_found')
      const { nextAvailableAt, ...counts } = described.counts
      const pool: ShownPool = {
        name,
        policy,
        counts,
        waiters: orchestrator.waiters(name),
        nextAvailableAt: isoOrNull(nextAvailableAt),
        unavailable: whyUnavailable(counts),
      }
      return pool
    },
  })

  app.route<PoolRequest & { Querystring: { force?: 'true' | 'false' } }>({
    ...pools.deletePool,
    handler: async (request, reply) => {
      const { pool: name } = request.params
      const refusal: Refusal | null = await orchestrator.removePool(
        name,
        request.query.force === 'true',
      )
      return refusal === null ? reply.code(204).send() : sendRefusal(reply, refusal)
    },
  })
}

function whyUnavailable(counts: {
  available: number
  leased: number
  cooling: number
}): ShownPool['unavailable'] {
  if (counts.available > 0) return null
  return counts.leased + counts.cooling > 0 ? 'pool_exhausted' : 'pool_empty'
}
