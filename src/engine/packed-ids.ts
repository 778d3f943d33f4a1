/** Ids of keys and leases as Redis keeps them, and as callers know them. Leases keep theirs wherever they go. */
import type { LeaseSecret } from './ids.ts'
import type { Random } from './random.ts'

// In the order of their codes, so that packed ids have the order of the ids.
const DIGITS = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
/** Two digits for each three of a hexadecimal number, and back. */
const PAIRS = Array.from({ length: 4096 }, (_, bits) => DIGITS[bits >>> 6]! + DIGITS[bits & 63]!)
const TRIPLES = new Map(PAIRS.map((pair, bits) => [pair, bits.toString(16).padStart(3, '0')]))

const UID_DIGITS = 5
export const ID_DIGITS = 22
const TOKEN_DIGITS = 9
const SECRET_DIGITS = 16
const LEASE_ID = /^[\w-]{52}$/

/** The 32 digits of a UUID in 22; null: it is none. */
export function packKeyId(keyId: string): string | null {
  if (!UUID.test(keyId)) return null
  const hex = `${keyId.replaceAll('-', '').toLowerCase()}0`
  let packed = ''
  for (let at = 0; at < hex.length; at += 3) packed += PAIRS[parseInt(hex.slice(at, at + 3), 16)]!
  return packed
}

export function unpackKeyId(packed: string): string {
  let hex = ''
  for (let at = 0; at < packed.length; at += 2) hex += TRIPLES.get(packed.slice(at, at + 2))!
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}

/** A lease id taken apart: the pool, the key, and what must be found there. */
export interface PackedLease {
  uid: number
  id: string
  /** Too long for a number in Lua's JSON. */
  token: string
  secret: string
}

/** A lease id is looked up, not searched, and who has not been given it cannot guess it. */
export function formatPackedLeaseId({ uid, id, token, secret }: PackedLease): string {
  return digits(uid, UID_DIGITS) + id + digits(Number(token), TOKEN_DIGITS) + secret
}

/** Null: the text cannot be a lease id. */
export function parsePackedLeaseId(text: string): PackedLease | null {
  if (!LEASE_ID.test(text)) return null
  const id = text.slice(UID_DIGITS, UID_DIGITS + ID_DIGITS)
  const token = numberOf(text.slice(UID_DIGITS + ID_DIGITS, -SECRET_DIGITS))
  if (token === 0 || token > Number.MAX_SAFE_INTEGER) return null
  const secret = text.slice(-SECRET_DIGITS)
  return { uid: numberOf(text.slice(0, UID_DIGITS)), id, token: String(token), secret }
}

/** 12 random bytes. */
export function randomSecret(random: Random): string {
  let secret = ''
  for (let word = 0; word < 4; word++) secret += digits(random.uint32() & 0xffffff, 4)
  return secret
}

export function packSecret({ secret0, secret1, secret2 }: LeaseSecret): string {
  return (
    digits(secret0 >>> 8, 4) +
    digits(((secret0 & 0xff) << 16) | (secret1 >>> 16), 4) +
    digits(((secret1 & 0xffff) << 8) | (secret2 >>> 24), 4) +
    digits(secret2 & 0xffffff, 4)
  )
}

export function unpackSecret(secret: string): LeaseSecret {
  const part = (at: number): number => numberOf(secret.slice(at, at + 4))
  const [a, b, c, d] = [part(0), part(4), part(8), part(12)]
  return {
    secret0: ((a << 8) | (b >>> 16)) >>> 0,
    secret1: ((b << 16) | (c >>> 8)) >>> 0,
    secret2: ((c << 24) | d) >>> 0,
  }
}

/** A uniform number in [0, 1) that Lua reads as it is written. */
export function randomChance(random: Random): number {
  return ((random.uint32() & 0xffff) * 2 ** 32 + random.uint32()) / 2 ** 48
}

function digits(number: number, count: number): string {
  let text = ''
  for (let rest = number; text.length < count; rest = Math.floor(rest / 64)) {
    text = DIGITS[rest % 64]! + text
  }
  return text
}

function numberOf(text: string): number {
  let number = 0
  for (const digit of text) number = number * 64 + DIGITS.indexOf(digit)
  return number
}
