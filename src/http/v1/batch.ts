import type { FastifyInstance } from 'fastify'
import type { Refusal } from '../../engine/errors.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import type { AccessToken } from '../../service/access.ts'
import type { Scope } from '../../service/scopes.ts'
import { whatIsMissing } from '../authorisation.ts'
import { batch, type BatchBody, type BatchOperation, MAX_BATCH_LEASES } from '../contract/batch.ts'
import { keys } from '../contract/keys.ts'
import { leases } from '../contract/leases.ts'
import { asJson } from '../json.ts'
import { malformed, sendProblem, sendRefusal } from '../problem.ts'
import { type Values, writeResults } from './batch-answer.ts'
import { repeatableOf } from '../idempotency.ts'

/** Each operation needs what its single route does. */
const SCOPES: Record<BatchOperation['op'], readonly Scope[]> = {
  acquire: leases.acquireLease.scopes,
  renew: leases.renewLease.scopes,
  release: leases.releaseLease.scopes,
  keepAlive: keys.keepKeyAlive.scopes,
}

export function batchRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<{ Params: { pool: string }; Body: BatchBody }>({
    ...batch.runBatch,
    handler: async (request, reply) => {
      const { pool } = request.params
      const { operations } = request.body
      let leaseCount = 0
      for (const operation of operations) {
        if (operation.op === 'acquire') leaseCount += operation.count ?? 1
      }
      if (leaseCount > MAX_BATCH_LEASES) {
        throw malformed(`A batch acquires at most ${MAX_BATCH_LEASES} leases, not ${leaseCount}.`)
      }
      const { caller } = request
      const mayDo = ({ op }: BatchOperation): boolean => caller?.may(SCOPES[op]) ?? true
      const asked = caller === null ? operations : operations.filter(mayDo).map(withHolder(caller))
      const done = await orchestrator.runBatch(pool, asked, repeatableOf(request))
      if ('code' in done) return sendRefusal(reply, done)
      const [first] = done
      const missing =
        first === undefined
          ? (await orchestrator.policy(pool)) === undefined
          : isRefusal(first) && first.code === 'pool_not_found'
      if (missing) return sendProblem(reply, 'pool_not_found')
      const inOrder = done.values()
      const results =
        done.length === operations.length
          ? done
          : operations.map((operation) =>
              mayDo(operation) ? inOrder.next().value! : lackOfScope(operation),
            )
      const values = await openValues(orchestrator, pool, results)
      return asJson(reply, writeResults(operations, results, values, orchestrator.now()))
    },
  })
}

function lackOfScope({ op }: BatchOperation): Refusal {
  return { code: 'missing_scope', detail: whatIsMissing(SCOPES[op]) }
}

/** By lease id the values of the keys that have one; what will not decrypt is left out. */
async function openValues(
  orchestrator: Orchestrator,
  pool: string,
  results: readonly Result[],
): Promise<Values> {
  const sealed: Lease[] = []
  for (const result of results) {
    if ('leases' in result) {
      for (const lease of result.leases) if (lease.sealed !== null) sealed.push(lease)
    } else if ('lease' in result && result.lease.sealed !== null) sealed.push(result.lease)
  }
  const values = new Map<string, string>()
  if (sealed.length === 0) return values
  for (const [at, value] of (await orchestrator.valuesOf(pool, sealed)).entries()) {
    if (typeof value === 'string') values.set(sealed[at]!.leaseId, value)
  }
  return values
}

/** Leases are by default that of who asks. */
function withHolder({ name }: AccessToken): (operation: BatchOperation) => Operation {
  return (operation) => {
    if (operation.op === 'acquire') return { holder: name, ...operation }
    return operation.op === 'keepAlive' ? { ...operation, by: name } : operation
  }
}
