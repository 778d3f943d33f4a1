import { REFUSED } from '../../engine/errors.ts'
import { isRefusal, type Lease, type Result } from '../../engine/operations.ts'
import type { BatchOperation } from '../contract/batch.ts'
import { iso, isoOrNull } from '../instants.ts'
import { problemOf } from '../problem.ts'

/** By lease id the values of the keys that have one; what would not decrypt is not there. */
export type Values = ReadonlyMap<string, string>

/** Text is put together by hand, since objects for a stringifier would cost more than the leases. */
export function writeResults(
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
    `"holder":${text(holder)},${writeTerms(grantedAt, expiresAt, now)},"keyExpiresAt":${death}`
  )
}

function text(value: string | null): string {
  return value === null ? 'null' : JSON.stringify(value)
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
