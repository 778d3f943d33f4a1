/** Operations as they are asked for and answered, with ids as text, on top of a pool's slots. */
import { REFUSED, type Refusal } from './errors.ts'
import { findKey, findLease } from './find.ts'
import type { Reference } from './idempotency.ts'
import { formatKeyId } from './ids.ts'
import { Import } from './import.ts'
import { create, history, list, type MakeRoom, update } from './key-operations.ts'
import { acquire, listLeases, release, renew, revokeLeases, unblock } from './lease-operations.ts'
import {
  type Answers,
  type Attributed,
  isRefusal,
  type Lease,
  type Operation,
  type RecallOperation,
  type RememberOperation,
  type Result,
} from './operations.ts'
import { type Pool, UNSETTLED } from './pool.ts'
import { State } from './rows.ts'
import type { Tables } from './tables.ts'
import { keyOf, leaseOf, orNull } from './views.ts'

/** How far a list of operations has come. */
export interface Progress {
  readonly results: Result[]
  /** Those that an acquire got before it answered UNSETTLED; called again after settling, it goes on from there. */
  leases: Lease[]
  /** One that answered so, likewise. */
  importing: Import | null
}

/** Does one operation. `makeRoom` sees to it that there is room for new keys. */
export function perform(
  tables: Tables,
  pool: Pool,
  operation: Operation,
  progress: Progress,
  makeRoom: MakeRoom,
  now: number,
): Result | typeof UNSETTLED {
  tables.history?.turn(now, (operation as Attributed).by)
  switch (operation.op) {
    case 'create':
      return create(tables, pool, operation, makeRoom, now)
    case 'import':
      progress.importing ??= new Import(tables, pool, operation)
      return progress.importing.run(makeRoom, now)
    case 'acquire':
      return acquire(tables, pool, operation, progress.leases, now)
    case 'renew':
      return renew(tables, pool, operation, now)
    case 'release':
      return release(tables, pool, operation, now)
    case 'unblock':
      return unblock(tables, pool, operation, now)
    case 'list':
      return list(tables, pool, operation, now)
    case 'listLeases':
      return listLeases(tables, pool, operation, now)
    case 'revokeLeases':
      return revokeLeases(tables, pool, operation, now)
    case 'history':
      return history(tables, pool, operation, now)
    case 'describe':
      return pool.nextDue <= now ? UNSETTLED : { counts: pool.counts() }
    case 'showLease': {
      const slot = findLease(pool, operation.leaseId, now)
      return typeof slot === 'number' ? { lease: leaseOf(tables, slot) } : slot
    }
    case 'show': {
      const slot = findKey(pool, operation.keyId, now)
      return slot === 0 ? REFUSED.key_not_found : { key: keyOf(tables, slot, now) }
    }
    case 'keepAlive': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      pool.keepAlive(slot, now)
      return {
        keyId: formatKeyId(tables.rows, slot),
        expiresAt: orNull(tables.rows.expiresAt(slot)),
      }
    }
    case 'revoke': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      if (tables.rows.state(slot) !== State.leased) return REFUSED.key_not_leased
      pool.revoke(slot, now)
      return { keyId: formatKeyId(tables.rows, slot) }
    }
    case 'recall':
      return recall(tables, pool, operation, now)
    case 'remember':
      return remember(tables, operation, progress.results, now)
    case 'update':
      return update(tables, pool, operation, now)
    case 'remove': {
      const slot = findKey(pool, operation.keyId, now)
      if (slot === 0) return REFUSED.key_not_found
      pool.remove(slot)
      return { keyId: formatKeyId(tables.rows, slot) }
    }
  }
}

function recall(
  tables: Tables,
  pool: Pool,
  { key, body }: RecallOperation,
  now: number,
): Answers['recall'] | Refusal {
  const references = tables.idempotency.recall(key, body, now)
  if (references === null) return { results: null }
  if ('code' in references) return references
  return { results: references.map((reference) => asOfNow(tables, pool, reference, now)) }
}

/** What a result would say now: a live lease with its deadlines of today, an ended one that it is. */
function asOfNow(tables: Tables, pool: Pool, reference: Reference, now: number): Result {
  if ('result' in reference) return reference.result
  if ('keyIds' in reference) return reference
  const leaseIds = 'leaseId' in reference ? [reference.leaseId] : reference.leaseIds
  const found = leaseIds.map((leaseId) => findLease(pool, leaseId, now))
  const slots = found.filter((slot) => typeof slot === 'number')
  const [first] = found
  if (slots.length === 0 && typeof first === 'object') return first
  const leases = slots.map((slot) => leaseOf(tables, slot))
  return 'leaseId' in reference ? { lease: leases[0]! } : { leases }
}

function remember(
  tables: Tables,
  { key, body, count }: RememberOperation,
  before: readonly Result[],
  now: number,
): Answers['remember'] {
  const results = before.slice(before.length - count)
  const remembered = count !== 1 || !isRefusal(results[0]!)
  if (remembered) tables.idempotency.remember(key, body, results, now)
  return { remembered }
}
