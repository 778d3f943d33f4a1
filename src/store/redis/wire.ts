/** Operations as the script takes them, and its results as callers know them. */
import type { Change, ChangeName } from '../../engine/changes.ts'
import type { Refusal } from '../../engine/errors.ts'
import type {
  AcquireOperation,
  FoundLease,
  HeldLease,
  Key,
  Lease,
  NewKey,
  Operation,
  PoolCounts,
  Result,
} from '../../engine/operations.ts'
import type { Random } from '../../engine/random.ts'
import { formatLeaseId, formatUuid, parseLeaseId, randomKeyId } from '../../engine/ids.ts'
import { routed } from './layout.ts'
import { historyFromWire, historyToWire, type WireHistory } from './history.ts'
import {
  formatPackedLeaseId,
  type PackedLease,
  packKeyId,
  packSecret,
  parsePackedLeaseId,
  randomChance,
  randomSecret,
  unpackKeyId,
  unpackSecret,
} from '../../engine/packed-ids.ts'
import { State, STATE_NAMES } from '../../engine/rows.ts'

/** Where an operation is done: the pool, and which of its shards. */
export interface Place {
  readonly uid: number
  readonly shard: number
  readonly shards: number
}

/** An operation with all that it takes from outside, chance included. */
export interface WireOperation {
  op: string
  [field: string]: unknown
}

/**
 * Id, token, secret, holder, granted at, ends at, key expires at, sealed value, name, metadata; the slot that the id of
 * one names that an embedded store gave.
 */
export type WireLease = [
  ...[string, string, string, string | null, number, number, number | null],
  ...[string | null, string | null, string | null, string?],
]
/** Id, token, holder, granted at, ends at. */
type WireHeldLease = [string, string, string | null, number, number]

export type WireChange = [kind: ChangeName, id: string, token: string]

type WireKey = Omit<Key, 'keyId' | 'state' | 'lease'> & {
  id: string
  state: State
  lease: WireHeldLease | null
}

/** Lua has one word for an empty list and an empty object. */
type List<T> = T[] | Record<string, never>

export interface WireResult extends Partial<WireHistory> {
  code?: Refusal['code']
  reason?: string
  duplicate?: { index: number; id?: string; firstIndex?: number }
  keyIds?: List<string>
  skipped?: List<[number, string]>
  leases?: List<WireLease>
  lease?: WireLease
  id?: string
  expiresAt?: number | null
  key?: WireKey
  keys?: List<WireKey>
  heldLeases?: List<WireHeldLease>
  found?: WireHeldLease | null
  nextCursor?: string | null
  results?: List<WireResult> | null
  counts?: PoolCounts
  /** The pool that was emptied before that one, where the history is not there. */
  before?: number
  look?: Look
  /** By index the keys that have values which were asked for. */
  holders?: List<[number, string]>
  /** What a request came to, as it was kept; null: it is a new one. */
  memory?: string | null
  open?: Turn
  turn?: number
}

/** Where a request is being done. */
export interface Turn {
  shard: number
  turn: number
}

/** What a shard says for the draws and creates of its pool. */
export interface Look extends PoolCounts {
  now: number
  /** Of the policy. */
  maxKeys: number
  maxLeaseTtlMs: number
}

/** An empty list is an object. */
export function listOf<T>(list: List<T> | undefined): T[] {
  return Array.isArray(list) ? list : []
}

export function toWire(operation: Operation, place: Place, random: Random): WireOperation {
  const { uid } = place
  switch (operation.op) {
    case 'create':
      return {
        op: 'create',
        ids: Array.from({ length: operation.count }, () => newId(place, random)),
        lifetimeMs: operation.lifetimeMs,
        by: operation.by,
      }
    case 'import': {
      const keys = operation.keys.map((key) => newKey(key, place, random))
      return { op: 'import', keys, skip: operation.onDuplicate === 'skip', by: operation.by }
    }
    case 'acquire':
      return { ...acquireToWire(operation, operation.count ?? 1, random), begun: false }
    case 'renew': {
      const { op, ttlMs, keepAlive } = operation
      return { op, ...lease(operation.leaseId, uid), ttlMs, keepAlive }
    }
    case 'release': {
      const { op, outcome = 'ok', retryAfterMs, reason } = operation
      return { op, ...lease(operation.leaseId, uid), outcome, retryAfterMs, reason }
    }
    case 'showLease':
      return { op: 'showLease', ...lease(operation.leaseId, uid) }
    case 'unblock': {
      const held = operation.leaseId === undefined ? undefined : lease(operation.leaseId, uid)
      return { op: 'unblock', ...key(operation.keyId), lease: held, by: operation.by }
    }
    case 'history':
      return { op: 'history', ...key(operation.keyId), ...historyToWire(operation) }
    case 'revoke':
    case 'keepAlive':
    case 'remove': {
      const { op, keyId, by } = operation
      return { op, ...key(keyId), by }
    }
    case 'show':
      return { op: 'show', ...key(operation.keyId) }
    case 'update': {
      const { keyId, coolingUntil, ...changes } = operation
      return { ...changes, ...key(keyId), endCooldown: coolingUntil === null }
    }
    case 'list': {
      const { state, cursor, ...rest } = operation
      return { ...rest, state: state && State[state], ...after(cursor) }
    }
    case 'listLeases': {
      const { cursor, ...rest } = operation
      return { ...rest, ...after(cursor) }
    }
    case 'revokeLeases':
    case 'describe':
    case 'recall':
    case 'remember':
      return { ...operation }
  }
}

/** An acquire of so many of its leases. */
export function acquireToWire(
  { op, ttlMs, keyId, holder, leave = 0 }: AcquireOperation,
  count: number,
  random: Random,
): WireOperation {
  const drawn = Math.max(count, keyId === undefined ? 0 : 1)
  return {
    op,
    count,
    ttlMs,
    holder,
    leave,
    ...(keyId === undefined ? {} : { named: true, ...key(keyId) }),
    secrets: Array.from({ length: drawn }, () => randomSecret(random)),
    chances: keyId === undefined ? Array.from({ length: count }, () => randomChance(random)) : [],
  }
}

export function fromWire(result: WireResult, uid: number): Result {
  if (result.code !== undefined) return refusalFromWire(result)
  if (result.leases !== undefined) return { leases: leasesFromWire(result.leases, uid) }
  if (result.lease !== undefined) return { lease: leaseFromWire(result.lease, uid) }
  if (result.keyIds !== undefined) {
    const keyIds = listOf(result.keyIds).map(unpackKeyId)
    if (result.skipped === undefined) return { keyIds }
    const skipped = listOf(result.skipped)
    return { keyIds, skipped: skipped.map(([index, id]) => ({ index, keyId: unpackKeyId(id) })) }
  }
  if (result.id !== undefined) {
    const keyId = unpackKeyId(result.id)
    return result.expiresAt === undefined ? { keyId } : { keyId, expiresAt: result.expiresAt }
  }
  if (result.key !== undefined) return { key: keyFromWire(result.key) }
  const nextCursor = result.nextCursor ? unpackKeyId(result.nextCursor) : null
  if (result.keys !== undefined) return { keys: listOf(result.keys).map(keyFromWire), nextCursor }
  if (result.heldLeases !== undefined) {
    return { heldLeases: listOf(result.heldLeases).map(heldFromWire), nextCursor }
  }
  if (result.results !== undefined) {
    if (result.results === null) return { results: null }
    return { results: listOf(result.results).map((one) => fromWire(one, uid)) }
  }
  if (result.records !== undefined) return historyFromWire(result as WireHistory)
  return result as Result
}

export function leasesFromWire(leases: List<WireLease>, uid: number): Lease[] {
  return listOf(leases).map((lease) => leaseFromWire(lease, uid))
}

export function foundFromWire({ found }: WireResult, pool: string): FoundLease[] {
  return found ? [{ pool, ...heldFromWire(found) }] : []
}

export function changeFromWire([kind, id, token]: WireChange, pool: string): Change {
  return { kind, pool, keyId: unpackKeyId(id), fencingToken: Number(token) }
}

function refusalFromWire({ duplicate, ...refusal }: WireResult): Refusal {
  if (duplicate === undefined) return refusal as Refusal
  const { index, id, firstIndex } = duplicate
  const has = id === undefined ? { firstIndex: firstIndex! } : { keyId: unpackKeyId(id) }
  return { ...(refusal as Refusal), duplicate: { index, ...has } }
}

function leaseFromWire(lease: WireLease, uid: number): Lease {
  const [id, token, secret, holder, grantedAt, expiresAt, keyExpiresAt, ...rest] = lease
  const [sealed, name, metadata, slot] = rest
  return {
    leaseId: leaseIdFromWire({ uid, id, token, secret }, slot),
    keyId: unpackKeyId(id),
    sealed,
    name,
    metadata,
    fencingToken: Number(token),
    holder,
    grantedAt,
    expiresAt,
    keyExpiresAt,
  }
}

export function leaseIdFromWire(lease: PackedLease, slot: string | undefined): string {
  if (slot === undefined) return formatPackedLeaseId(lease)
  const { token, secret } = lease
  return formatLeaseId({ slot: Number(slot), token: Number(token), ...unpackSecret(secret) })
}

function heldFromWire([id, token, holder, grantedAt, expiresAt]: WireHeldLease): HeldLease {
  return { keyId: unpackKeyId(id), fencingToken: Number(token), holder, grantedAt, expiresAt }
}

function keyFromWire({ id, state, lease, ...rest }: WireKey): Key {
  const terms = lease && heldFromWire(lease)
  return {
    ...rest,
    keyId: unpackKeyId(id),
    state: STATE_NAMES[state],
    lease: terms && {
      fencingToken: terms.fencingToken,
      holder: terms.holder,
      grantedAt: terms.grantedAt,
      expiresAt: terms.expiresAt,
    },
  }
}

function newKey(
  { value, name, metadata, lifetimeMs }: NewKey,
  place: Place,
  random: Random,
): object {
  const { sealed, digest } = value
  const detail = [sealed, digest, name ?? false, metadata ?? false, false]
  return { id: newId(place, random), detail, lifetimeMs }
}

const words = new Uint32Array(4)

function newId({ shard, shards }: Place, random: Random): string {
  randomKeyId(random, words)
  const first = shards === 1 ? words[0]! : routed(words[0]!, shard, shards)
  return packKeyId(formatUuid(first, words[1]!, words[2]!, words[3]!))!
}

/** What cannot be an id names no key. */
function key(keyId: string): { id?: string } {
  const id = packKeyId(keyId)
  return id === null ? {} : { id }
}

/** Who has a lease that an embedded store gave knows the slot there, and not the key. */
export function lease(
  leaseId: string,
  uid: number,
): { id?: string; slot?: string; token?: string; secret?: string } {
  const moved = parseLeaseId(leaseId)
  if (moved !== null) {
    const { slot, token } = moved
    if (token === 0 || token > Number.MAX_SAFE_INTEGER) return {}
    return { slot: String(slot), token: String(token), secret: packSecret(moved) }
  }
  const parsed = parsePackedLeaseId(leaseId)
  if (parsed?.uid !== uid) return {}
  return { id: parsed.id, token: parsed.token, secret: parsed.secret }
}

function after(cursor: string | undefined): { cursor?: string; badCursor?: true } {
  if (cursor === undefined) return {}
  const packed = packKeyId(cursor)
  return packed === null ? { badCursor: true } : { cursor: packed }
}
