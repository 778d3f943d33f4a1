import type { FastifyInstance } from 'fastify'
import { isRefusal, type Lease, type Result } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import { batch, type BatchBody, type BatchOperation, MAX_BATCH_LEASES } from '../contract/batch.ts'
import { iso, isoOrNull } from '../instants.ts'
import { malformed, problemOf, sendProblem, sendRefusal } from '../problem.ts'
import { repeatableOf } from './idempotency.ts'

export function batchRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<{ Params: { pool: string }; Body: BatchBody }>({
    ...batch.runBatch,
    handler: async (request, reply) => {
      const { pool } = request.params
      const { operations } = request.body
      let leases = 0
      for (const operation of operations) {
        if (operation.op === 'acquire') leases += operation.count ?? 1
      }
      if (leases > MAX_BATCH_LEASES) {
        throw malformed(`A batch acquires at most ${MAX_BATCH_LEASES} leases, not ${leases}.`)
      }
      const results = await orchestrator.runBatch(pool, operations, repeatableOf(request))
      if ('code' in results) return sendRefusal(reply, results)
      const [first] = results
      const missing =
        first === undefined
          ? (await orchestrator.policy(pool)) === undefined
          : isRefusal(first) && first.code === 'pool_not_found'
      if (missing) return sendProblem(reply, 'pool_not_found')
      return reply
        .type('application/json; charset=utf-8')
        .send(write(operations, results, orchestrator.now()))
    },
  })
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
    `${writeTerms(grantedAt, expiresAt, now)},"keyExpiresAt":${death}`
  )
}

/** The last terms that were written: those of a batch are mostly the same. */
const last = { grantedAt: NaN, expiresAt: NaN, now: NaN, text: '' }

function writeTerms(grantedAt: number, expiresAt: number, now: number): string {
  if (grantedAt !== last.grantedAt || expiresAt !== last.expiresAt || now !== last.now) {
    const text =
      `"grantedAt":"${iso(grantedAt)}","expiresAt":"${iso(expiresAt)}",` +
      `"expiresInMs":${Math.max(0, expiresAt - now)}`
    Object.assign(last, { grantedAt, expiresAt, now, text })
  }
  return last.text
}
