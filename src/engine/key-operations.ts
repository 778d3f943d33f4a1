/** Operations that make, show and change keys. */
import { REFUSED, type Refusal } from './errors.ts'
import { findKey } from './find.ts'
import { formatKeyId } from './ids.ts'
import { Listing } from './listing.ts'
import type {
  Answers,
  CreateOperation,
  ImportOperation,
  Key,
  ListOperation,
  NewKey,
  UpdateOperation,
} from './operations.ts'
import { after } from './policy.ts'
import { type Pool, UNSETTLED } from './pool.ts'
import { State } from './rows.ts'
import type { Tables } from './tables.ts'
import { keyOf } from './views.ts'

/** Makes room for so many keys; else why there is none, or UNSETTLED where there may be after settling. */
export type MakeRoom = (pool: Pool, count: number, now: number) => Refusal | typeof UNSETTLED | null

export function create(
  tables: Tables,
  pool: Pool,
  operation: CreateOperation,
  makeRoom: MakeRoom,
  now: number,
): Answers['create'] | Refusal | typeof UNSETTLED {
  const noRoom = makeRoom(pool, operation.count, now)
  if (noRoom !== null) return noRoom
  const own = operation.lifetimeMs !== undefined
  const expiresAt = after(now, own ? operation.lifetimeMs! : pool.policy.keyLifetimeMs)
  const keyIds: string[] = []
  for (let made = 0; made < operation.count; made++) {
    keyIds.push(formatKeyId(tables.rows, pool.create(now, expiresAt, own)))
  }
  return { keyIds }
}

export function importKeys(
  tables: Tables,
  pool: Pool,
  { keys, onDuplicate }: ImportOperation,
  makeRoom: MakeRoom,
  now: number,
): Answers['import'] | Refusal | typeof UNSETTLED {
  const slots = keys.map(({ value }) => pool.findValue(value.digest, now))
  const firsts = new Map<string, number>()
  const fresh: number[] = []
  for (const [index, { value }] of keys.entries()) {
    const first = firsts.get(value.digest)
    const slot = slots[index]!
    if (slot === 0 && first === undefined) {
      firsts.set(value.digest, index)
      fresh.push(index)
    } else if (onDuplicate === 'refuse') {
      const has =
        first === undefined ? { keyId: formatKeyId(tables.rows, slot) } : { firstIndex: first }
      return { code: 'duplicate_value', duplicate: { index, ...has } }
    }
  }
  const noRoom = makeRoom(pool, fresh.length, now)
  if (noRoom !== null) return noRoom
  for (const index of fresh) slots[index] = addKey(tables, pool, keys[index]!, now)
  const skipped: Answers['import']['skipped'] = []
  for (const [index, { value }] of keys.entries()) {
    const first = firsts.get(value.digest)
    if (first === index) continue
    skipped.push({ index, keyId: formatKeyId(tables.rows, slots[first ?? index]!) })
  }
  return { keyIds: fresh.map((index) => formatKeyId(tables.rows, slots[index]!)), skipped }
}

function addKey(
  tables: Tables,
  pool: Pool,
  { value, name, metadata, lifetimeMs }: NewKey,
  now: number,
): number {
  const own = lifetimeMs !== undefined
  const slot = pool.create(now, after(now, own ? lifetimeMs : pool.policy.keyLifetimeMs), own)
  tables.details.set(slot, { value, name, metadata })
  return slot
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
