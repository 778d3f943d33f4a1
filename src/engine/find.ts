/** Keys and leases by their ids as text. */
import { REFUSED, type Refusal } from './errors.ts'
import { parseKeyId, parseLeaseId } from './ids.ts'
import { parsePackedLeaseId } from './packed-ids.ts'
import type { Pool } from './pool.ts'

const id = new Uint32Array(4)

/** The slot of a live key; 0: there is none. */
export function findKey(pool: Pool, keyId: string, now: number): number {
  return parseKeyId(keyId, id) ? pool.find(id, now) : 0
}

/** The slot of the key that the lease holds, or why it holds none. */
export function findLease(pool: Pool, leaseId: string, now: number): number | Refusal {
  const lease = parseLeaseId(leaseId)
  if (lease !== null) return pool.findLease(lease, now)
  const moved = parsePackedLeaseId(leaseId)
  return moved === null ? REFUSED.lease_not_found : pool.findMovedLease(moved, now)
}
