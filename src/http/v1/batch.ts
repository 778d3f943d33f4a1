import type { FastifyInstance } from 'fastify'
import { REFUSED, type Refusal } from '../../engine/errors.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../engine/operations.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import type { AccessToken } from '../../service/access.ts'
import type { Scope } from '../../service/scopes.ts'
import { whatIsMissing } from '../authorisation.ts'
import { batch, type BatchBody, type BatchOperation, MAX_BATCH_LEASES } from '../contract/batch.ts'
import { keys } from '../contract/keys.ts'
import { leases } from '../contract/leases.ts'
import { iso, isoOrNull } from '../instants.ts'
import { malformed, problemOf, sendProblem, sendRefusal } from '../problem.ts'
import { repeatableOf } from '../idempotency.ts'

/** Each operation needs what its single route does. */
const SCOPES: Record<BatchOperation['op'], readonly Scope[]> = {
  acquire: leases.acquireLease.scopes,
  renew: leases.renewLease.scopes,
  release: leases.releaseLease.scopes,
  keepAlive: keys.keepKeyAlive.scopes,
}

type Values = ReadonlyMap<string, string>

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
      const asked = operations.filter(mayDo).map((operation) => toOperation(operation, caller))
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
      return reply
        .type('application/json; charset=utf-8')
        .send(write(operations, results, values, orchestrator.now()))
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

function toOperation(operation: BatchOperation, caller: AccessToken | null): Operation {
  if (operation.op !== 'acquire') return operation
  return { count: 1, holder: caller?.name, ...operation }
}

/** Text is put together by hand, since objects for a stringifier would cost more than the leases. */
function write(
  operations: readonly BatchOperation[],
  results: readonly Result[],
  values: Values,
  now: number,
): string {
  let text = '{"results":['
  for (const [at, result] of results.entries()) {
    if (at > 0) text += ','
    text += writeResult(operations[at]!, result, values, now)
  }
  return `${text}]}`
}

function writeResult({ op }: BatchOperation, result: Result, values: Values, now: number): string {
  if (isRefusal(result)) return JSON.stringify(problemOf(result))
  if ('leases' in result) {
    let text = ''
    for (const lease of result.leases) {
      if (isUnreadable(lease, values)) continue
      text += `${text === '' ? '' : ','}{${writeLease(lease, values, now)}}`
    }
    return text === '' ? unreadable() : `{"status":201,"leases":[${text}]}`
  }
  if ('lease' in result) {
    if (isUnreadable(result.lease, values)) return unreadable()
    return `{"status":200,${writeLease(result.lease, values, now)}}`
  }
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

function isUnreadable({ sealed, leaseId }: Lease, values: Values): boolean {
  return sealed !== null && !values.has(leaseId)
}

function unreadable(): string {
  return JSON.stringify(problemOf(REFUSED.value_unreadable))
}

function writeLease(lease: Lease, values: Values, now: number): string {
  const { leaseId, keyId, name, metadata, fencingToken, holder } = lease
  const { grantedAt, expiresAt, keyExpiresAt } = lease
  const value = lease.sealed === null ? 'null' : JSON.stringify(values.get(leaseId))
  const death = keyExpiresAt === null ? 'null' : `"${iso(keyExpiresAt)}"`
  return (
    `"leaseId":"${leaseId}","keyId":"${keyId}","value":${value},` +
    `"name":${text(name)},"metadata":${metadata ?? 'null'},"fencingToken":${fencingToken},` +
    `"holder":${text(holder)},"grantedAt":"${iso(grantedAt)}","expiresAt":"${iso(expiresAt)}",` +
    `"expiresInMs":${Math.max(0, expiresAt - now)},"keyExpiresAt":${death}`
  )
}

function text(value: string | null): string {
  return value === null ? 'null' : JSON.stringify(value)
}
