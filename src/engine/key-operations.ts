/** Operations that make, show and change keys. */
import { REFUSED, type Refusal } from './errors.ts'
import { findKey } from './find.ts'
import { formatKeyId, parseKeyId } from './ids.ts'
import { Listing } from './listing.ts'
import type {
  Answers,
  CreateOperation,
  HistoryOperation,
  Key,
  ListOperation,
  UpdateOperation,
} from './operations.ts'
import { after } from './policy.ts'
import type { Pool, UNSETTLED } from './pool.ts'
import { State } from './rows.ts'
import type { Tables } from './tables.ts'
import { keyOf } from './views.ts'

const id = new Uint32Array(4)

/**
 * Makes room for so many keys, `ready` of which have a slot already; else why there is none, or UNSETTLED where there
 * may be after settling.
 */
export type MakeRoom = (
  pool: Pool,
  count: number,
  ready: number,
  now: number,
) => Refusal | typeof UNSETTLED | null

export function create(
  tables: Tables,
  pool: Pool,
  operation: CreateOperation,
  makeRoom: MakeRoom,
  now: number,
): Answers['create'] | Refusal | typeof UNSETTLED {
  const noRoom = makeRoom(pool, operation.count, 0, now)
  if (noRoom !== null) return noRoom
  const own = operation.lifetimeMs !== undefined
  const expiresAt = after(now, own ? operation.lifetimeMs! : pool.policy.keyLifetimeMs)
  const keyIds: string[] = []
  for (let made = 0; made < operation.count; made++) {
    keyIds.push(formatKeyId(tables.rows, pool.create(now, expiresAt, own)))
  }
  return { keyIds }
}

export function update(
  tables: Tables,
  pool: Pool,
  operation: UpdateOperation,
  now: number,
): Answers['update'] | Refusal {
  const slot = findKey(pool, operation.keyId, now)
  if (slot === 0) return REFUSED.key_not_found
  const { disabled, reason } = operation
  pool.update(slot, disabled, operation.coolingUntil === null, now)
  if (disabled === true && reason !== undefined) tables.setDisabledReason(slot, reason)
  if (disabled === false) tables.setDisabledReason(slot, null)
  const before = tables.details.get(slot)
  const { name = before.name, metadata = before.metadata } = operation
  if (name !== before.name || metadata !== before.metadata) {
    tables.details.set(slot, { ...before, name, metadata })
  }
  return { key: keyOf(tables, slot, now) }
}

export function list(
  tables: Tables,
  pool: Pool,
  operation: ListOperation,
  now: number,
): Answers['list'] | Refusal {
  const { limit, state, cursor } = operation
  const listing = new Listing(tables, pool)
  if (!listing.startAfter(cursor)) return REFUSED.invalid_cursor
  listing.narrow(state === undefined ? null : State[state], null, now)
  const keys: Key[] = []
  const nextCursor = listing.visit((slot) => {
    if (!pool.settleKey(slot, now)) return true
    const key = keyOf(tables, slot, now)
    if (state === undefined || key.state === state) keys.push(key)
    return keys.length < limit
  })
  return { keys, nextCursor }
}

export function history(
  tables: Tables,
  pool: Pool,
  { keyId, limit, cursor }: HistoryOperation,
  now: number,
): Answers['history'] | Refusal {
  if (tables.history === null) return REFUSED.history_off
  if (!parseKeyId(keyId, id)) return REFUSED.key_not_found
  const page = tables.history.page(pool.name, id, now, limit, cursor)
  if (page === null) return REFUSED.invalid_cursor
  const isKnown = cursor !== undefined || page.entries.length > 0 || page.nextCursor !== null
  return isKnown || pool.find(id, now) !== 0 ? page : REFUSED.key_not_found
}
