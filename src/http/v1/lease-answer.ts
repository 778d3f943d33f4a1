/**
 * What a holder is told of leases: JSON without its braces. Text is put together by hand, since an object for a stringifier
 * would cost as much as the lease.
 */
import type { Answers, Lease } from '../../engine/operations.ts'
import { iso } from '../instants.ts'

/** How long it lasts from `now` spares clients with a wrong clock. `value` is that of a key that has one. */
export function writeLease(lease: Lease, value: string | null, now: number): string {
  const { leaseId, keyId, name, metadata, fencingToken, holder } = lease
  const { grantedAt, expiresAt, keyExpiresAt } = lease
  const death = keyExpiresAt === null ? 'null' : `"${iso(keyExpiresAt)}"`
  return (
    `"leaseId":"${leaseId}","keyId":"${keyId}","value":${text(value)},` +
    `"name":${text(name)},"metadata":${metadata ?? 'null'},"fencingToken":${fencingToken},` +
    `"holder":${text(holder)},${writeTerms(grantedAt, expiresAt, now)},"keyExpiresAt":${death}`
  )
}

export function writeReleased(release: Answers['release']): string {
  return release.released ? '"released":true' : `"released":false,"reason":"${release.reason}"`
}

function text(value: string | null): string {
  return value === null ? 'null' : JSON.stringify(value)
}

/** The last terms that were written: those of a batch are mostly the same. */
const last = { grantedAt: NaN, expiresAt: NaN, now: NaN, text: '' }

function writeTerms(grantedAt: number, expiresAt: number, now: number): string {
  if (grantedAt !== last.grantedAt || expiresAt !== last.expiresAt || now !== last.now) {
    last.grantedAt = grantedAt
    last.expiresAt = expiresAt
    last.now = now
    last.text =
      `"grantedAt":"${iso(grantedAt)}","expiresAt":"${iso(expiresAt)}",` +
      `"expiresInMs":${Math.max(0, expiresAt - now)}`
  }
  return last.text
}
