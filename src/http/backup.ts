import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import type { Orchestrator } from '../service/orchestrator.ts'
import { operational } from './contract/operational.ts'

/** A copy of all that is saved, as a file that `restore` takes. */
export function backupRoute(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route({
    ...operational.backup,
    handler: async (_request, reply) => {
      const file = await orchestrator.backup()
      const { size } = await stat(file)
      const stream = createReadStream(file)
      stream.once('close', () => void rm(file, { force: true }))
      return reply
        .type(operational.backup.produces)
        .header('content-length', size)
        .header('content-disposition', 'attachment; filename="token-orchestrator.db"')
        .send(stream)
    },
  })
}
