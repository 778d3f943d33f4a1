/** Copies of keys as the scripts read and write them. */
import { type CopiedKey, type CopiedLease, slotIn } from '../../engine/copies.ts'
import type { EndReason } from '../../engine/errors.ts'
import { parseLeaseId } from '../../engine/ids.ts'
import { packKeyId, packSecret, parsePackedLeaseId, unpackKeyId } from '../../engine/packed-ids.ts'
import { NEVER, State, STATE_NAMES } from '../../engine/rows.ts'
import { leaseIdFromWire } from './wire.ts'

export interface WireCopy {
  id: string
  /** As lua/rules.lua says. Read: its token is text, and what never comes is null. */
  row: unknown[]
  ownLifetime: boolean
  disabled: boolean
  /** As lua/views.lua says. */
  detail: (string | false)[]
  /** That the id of its lease names, if an embedded store gave that. */
  slot?: string
}

type Row = [
  ...[createdAt: number, keepAliveAt: number, expiresAt: number | null, until: number],
  ...[token: string, failures: number, state: State, flags: number, endReason: EndReason | false],
  ...Partial<
    [grantedAt: number, ttlMs: number, lostMs: number, secret: string, holder: string | false]
  >,
]

export function copyFromWire(copy: WireCopy, uid: number): CopiedKey {
  const { id, row, ownLifetime, disabled, detail } = copy
  const [createdAt, keepAliveAt, expiresAt, until, token, failures, state, , endReason] = row as Row
  const [sealed, digest, name, metadata, reason] = detail
  return {
    keyId: unpackKeyId(id),
    value: sealed && digest ? { sealed, digest } : null,
    name: orNull(name),
    metadata: orNull(metadata),
    state: STATE_NAMES[state],
    createdAt,
    keepAliveAt,
    expiresAt: expiresAt ?? NEVER,
    until,
    fencingToken: Number(token),
    endReason: endReason || 'unknown',
    failures,
    hasOwnLifetime: ownLifetime,
    disabled,
    disabledReason: orNull(reason),
    lease: state === State.leased ? leaseFromRow(copy, uid) : null,
  }
}

function leaseFromRow({ id, row, slot }: WireCopy, uid: number): CopiedLease {
  const [, , , , token, , , , , grantedAt, ttlMs, lostMs, secret, holder] = row as Required<Row>
  return {
    leaseId: leaseIdFromWire({ uid, id, token, secret }, slot),
    holder: orNull(holder),
    grantedAt,
    ttlMs,
    lostCooldownMs: lostMs,
  }
}

export function copyToWire(key: CopiedKey): WireCopy {
  const { value, lease, endReason } = key
  const slot = lease === null ? null : slotIn(lease)
  return {
    id: packKeyId(key.keyId)!,
    row: [
      ...[key.createdAt, key.keepAliveAt, key.expiresAt, key.until, key.fencingToken],
      ...[key.failures, State[key.state], 0, endReason === 'unknown' ? false : endReason],
      ...(lease === null ? [] : leaseToRow(lease)),
    ],
    ownLifetime: key.hasOwnLifetime,
    disabled: key.disabled,
    detail: [value?.sealed, value?.digest, key.name, key.metadata, key.disabledReason].map(orFalse),
    ...(slot !== null && { slot: String(slot) }),
  }
}

function leaseToRow({ leaseId, holder, grantedAt, ttlMs, lostCooldownMs }: CopiedLease): unknown[] {
  const own = parseLeaseId(leaseId)
  const secret = own === null ? parsePackedLeaseId(leaseId)!.secret : packSecret(own)
  return [grantedAt, ttlMs, lostCooldownMs, secret, orFalse(holder)]
}

function orNull(text: string | false | undefined): string | null {
  return text === false || text === undefined ? null : text
}

function orFalse(text: string | null | undefined): string | false {
  return text ?? false
}
