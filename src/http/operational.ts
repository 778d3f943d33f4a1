/** Health and metrics: what operators ask, not clients. */
import type { FastifyInstance } from 'fastify'
import { Metrics } from '../service/metrics.ts'
import type { Orchestrator } from '../service/orchestrator.ts'
import { operational } from './contract/operational.ts'
import type { Overload } from './overload.ts'

export function operationalRoutes(
  app: FastifyInstance,
  orchestrator: Orchestrator,
  overload: Overload,
): void {
  const metrics = new Metrics(orchestrator, () => overload.refusals)
  app.route({ ...operational.health, handler: () => ({ status: 'ok' }) })
  app.route({
    ...operational.readiness,
    handler: (_request, reply) => {
      const { status } = orchestrator
      return reply.code(status === 'ready' ? 200 : 503).send({ status })
    },
  })
  app.route({
    ...operational.metrics,
    handler: async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()),
  })
}
