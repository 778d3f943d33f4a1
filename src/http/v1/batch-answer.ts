import { REFUSED } from '../../engine/errors.ts'
import { isRefusal, type Lease, type Result } from '../../engine/operations.ts'
import type { BatchOperation } from '../contract/batch.ts'
import { isoOrNull } from '../instants.ts'
import { problemOf } from '../problem.ts'
import { writeLease, writeReleased } from './lease-answer.ts'

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
      const value = valueOf(lease, values)
      if (value === undefined) continue
      text += `${text === '' ? '' : ','}{${writeLease(lease, value, now)}}`
    }
    return text === '' ? unreadable() : `{"status":201,"leases":[${text}]}`
  }
  if ('lease' in result) {
    const value = valueOf(result.lease, values)
    if (value === undefined) return unreadable()
    return `{"status":200,${writeLease(result.lease, value, now)}}`
  }
  if ('released' in result) return `{"status":200,${writeReleased(result)}}`
  if (op === 'keepAlive' && 'expiresAt' in result) {
    const { keyId, expiresAt } = result
    return JSON.stringify({ status: 200, keyId, expiresAt: isoOrNull(expiresAt) })
  }
  throw new Error(`no batch has an operation ${op} that answers so`)
}

function unreadable(): string {
  return JSON.stringify(problemOf(REFUSED.value_unreadable))
}

/** Null: the key is plain; undefined: its value would not decrypt. */
function valueOf({ leaseId, sealed }: Lease, values: Values): string | null | undefined {
  return sealed === null ? null : values.get(leaseId)
}
