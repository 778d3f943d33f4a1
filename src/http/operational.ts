/** Health and metrics: what operators ask, not clients. */
import type { FastifyInstance } from 'fastify'
import { Metrics } from '../service/metrics.ts'
import type { Orchestrator } from '../service/orchestrator.ts'

export function operationalRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  const metrics = new Metrics(orchestrator)
  app.get('/healthz', () => ({ status: 'ok' }))
  app.get('/readyz', (_request, reply) => {
    const { status } = orchestrator
    return reply.code(status === 'ready' ? 200 : 503).send({ status })
  })
  app.get('/metrics', async (_request, reply) => {
    return reply.type(metrics.contentType).send(await metrics.text())
  })
}
