import type { FastifyInstance } from 'fastify'
import type { Refusal } from '../../engine/errors.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import type { Scope } from '../../service/scopes.ts'
import { whatIsMissing } from '../authorisation.ts'
import { batch, type BatchBody, type BatchOperation, MAX_BATCH_LEASES } from '../contract/batch.ts'
import { keys } from '../contract/keys.ts'
import { leases } from '../contract/leases.ts'
import { iso, isoOrNull } from '../instants.ts'
import { malformed, problemOf, sendProblem, sendRefusal } from '../problem.ts'
import { repeatableOf } from './idempotency.ts'

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
      const asked = operations.filter(mayDo).map(toOperation)
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
      return reply
        .type('application/json; charset=utf-8')
        .send(write(operations, results, orchestrator.now()))
    },
  })
}

function lackOfScope({ op }: BatchOperation): Refusal {
  return { code: 'missing_scope', detail: whatIsMissing(SCOPES[op]) }
}

function toOperation(operation: BatchOperation): Operation {
  return operation.op === 'acquire' ? { count: 1, ...operation } : operation
}

/** Text is put together by hand, since objects for a stringifier would cost more than the leases. */
function write(
  operations: readonly BatchOperation[],
  results: readonly Result[],
  now: number,
): string {
  let text = '{"results":['
  for (const [at, result] of results.entries()) {
    if (at > 0) text += ','
    text += writeResult(operations[at]!, result, now)
  }
  return `${text}]}`
}

function writeResult({ op }: BatchOperation, result: Result, now: number): string {
  if (isRefusal(result)) return JSON.stringify(problemOf(result))
  if ('leases' in result) {
    let text = '{"status":201,"leases":['
    for (const [at, lease] of result.leases.entries()) {
      if (at > 0) text += ','
      text += `{${writeLease(lease, now)}}`
    }
    return `${text}]}`
  }
  if ('lease' in result) return `{"status":200,${writeLease(result.lease, now)}}`
  if ('released' in result) {
    return result.released
      ? '{"status":200,"released":true}'
      : `{"status":200,"released":false,"reason":"${result.reason}"}`
  }
  if (op === 'keepAlive' && 'expiresAt' in result) {
    const { keyId, expiresAt } = result
    return JSON.stringify({ status: 200, keyId, expiresAt: isoOrNull(expiresAt) })
  }
  throw new Error(`no batch has an operation ${op} that answers so`)
}

function writeLease(lease: Lease, now: number): string {
  const { leaseId, keyId, fencingToken, grantedAt, expiresAt, keyExpiresAt } = lease
  const death = keyExpiresAt === null ? 'null' : `"${iso(keyExpiresAt)}"`
  return (
    `"leaseId":"${leaseId}","keyId":"${keyId}","fencingToken":${fencingToken},` +
    `"grantedAt":"${iso(grantedAt)}","expiresAt":"${iso(expiresAt)}",` +
    `"expiresInMs":${Math.max(0, expiresAt - now)},"keyExpiresAt":${death}`
  )
}
