import type { Random } from './random.ts'
import type { Rows } from './rows.ts'

const HEX = codesOf('0123456789abcdef')
const BASE64URL = codesOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
const HEX_VALUES = valuesOf(HEX)
for (let digit = 10; digit < 16; digit++) HEX_VALUES[HEX[digit]! - 32] = digit // upper case
const BASE64URL_VALUES = valuesOf(BASE64URL)

function codesOf(digits: string): Uint8Array {
  return Uint8Array.from(digits, (digit) => digit.charCodeAt(0))
}

/** Value of a digit by its ASCII code; 255 for what is no digit. */
function valuesOf(codes: Uint8Array): Uint8Array {
  const values = new Uint8Array(128).fill(255)
  codes.forEach((code, value) => (values[code] = value))
  return values
}

const DASHES = [8, 13, 18, 23]

/** Fills four words with a random UUID, version 4 (RFC 9562). */
export function randomKeyId(random: Random, id: Uint32Array): void {
  id[0] = random.uint32()
  id[1] = (random.uint32() & 0xffff0fff) | 0x4000
  id[2] = (random.uint32() & 0x3fffffff) | 0x80000000
  id[3] = random.uint32()
}

/**
 * The four digits at `at` as one number, `bits` each; negative if one is no digit. Reading by four takes
 * one check where reading one by one takes four.
 */
function fourDigits(text: string, at: number, values: Uint8Array, bits: number): number {
  const a = text.charCodeAt(at)
  const b = text.charCodeAt(at + 1)
  const c = text.charCodeAt(at + 2)
  const d = text.charCodeAt(at + 3)
  if ((a | b | c | d) > 127) return -1
  const w = values[a]!
  const x = values[b]!
  const y = values[c]!
  const z = values[d]!
  if ((w | x | y | z) >>> bits !== 0) return -1
  return (w << (3 * bits)) | (x << (2 * bits)) | (y << bits) | z
}

/** Reads a UUID in its usual form, in either case. False: it is none, and `id` is undefined. */
export function parseKeyId(text: string, id: Uint32Array): boolean {
  if (text.length !== 36) return false
  for (const at of DASHES) if (text.charCodeAt(at) !== 45) return false
  const a = fourDigits(text, 0, HEX_VALUES, 4)
  const b = fourDigits(text, 4, HEX_VALUES, 4)
  const c = fourDigits(text, 9, HEX_VALUES, 4)
  const d = fourDigits(text, 14, HEX_VALUES, 4)
  const e = fourDigits(text, 19, HEX_VALUES, 4)
  const f = fourDigits(text, 24, HEX_VALUES, 4)
  const g = fourDigits(text, 28, HEX_VALUES, 4)
  const h = fourDigits(text, 32, HEX_VALUES, 4)
  if ((a | b | c | d | e | f | g | h) < 0) return false
  id[0] = (a << 16) | b
  id[1] = (c << 16) | d
  id[2] = (e << 16) | f
  id[3] = (g << 16) | h
  return true
}

/**
 * The UUID of four words as text, in lower case. One call with a character each is twice as fast as
 * any loop or table of strings, and this is half of what a lease costs.
 */
// prettier-ignore
export function formatUuid(a: number, b: number, c: number, d: number): string {
  const hex = HEX
  return String.fromCharCode(
    hex[a >>> 28]!, hex[(a >>> 24) & 15]!, hex[(a >>> 20) & 15]!, hex[(a >>> 16) & 15]!,
    hex[(a >>> 12) & 15]!, hex[(a >>> 8) & 15]!, hex[(a >>> 4) & 15]!, hex[a & 15]!, 45,
    hex[b >>> 28]!, hex[(b >>> 24) & 15]!, hex[(b >>> 20) & 15]!, hex[(b >>> 16) & 15]!, 45,
    hex[(b >>> 12) & 15]!, hex[(b >>> 8) & 15]!, hex[(b >>> 4) & 15]!, hex[b & 15]!, 45,
    hex[c >>> 28]!, hex[(c >>> 24) & 15]!, hex[(c >>> 20) & 15]!, hex[(c >>> 16) & 15]!, 45,
    hex[(c >>> 12) & 15]!, hex[(c >>> 8) & 15]!, hex[(c >>> 4) & 15]!, hex[c & 15]!,
    hex[d >>> 28]!, hex[(d >>> 24) & 15]!, hex[(d >>> 20) & 15]!, hex[(d >>> 16) & 15]!,
    hex[(d >>> 12) & 15]!, hex[(d >>> 8) & 15]!, hex[(d >>> 4) & 15]!, hex[d & 15]!,
  )
}

/** The id of the key in that slot. */
export function formatKeyId(rows: Rows, slot: number): string {
  return formatUuid(
    rows.idWord(slot, 0),
    rows.idWord(slot, 1),
    rows.idWord(slot, 2),
    rows.idWord(slot, 3),
  )
}

const LEASE_ID_LENGTH = 32
const HIGH = 2 ** 32

/** A lease id taken apart: where to look, and what must be found there. */
export interface LeaseRef extends LeaseSecret {
  slot: number
  token: number
}

/** 12 random bytes. */
export interface LeaseSecret {
  secret0: number
  secret1: number
  secret2: number
}

/**
 * A lease id is looked up, not searched: it is the slot, the fencing token and 12 random bytes, in
 * base64url. Who has not been given it cannot guess it.
 */
// prettier-ignore
export function formatLeaseId(lease: LeaseRef): string {
  const digits = BASE64URL
  const a = lease.slot
  const b = Math.floor(lease.token / HIGH)
  const c = lease.token >>> 0
  const d = lease.secret0
  const e = lease.secret1
  const f = lease.secret2
  return String.fromCharCode(
    digits[a >>> 26]!, digits[(a >>> 20) & 63]!, digits[(a >>> 14) & 63]!, digits[(a >>> 8) & 63]!,
    digits[(a >>> 2) & 63]!, digits[((a & 3) << 4) | (b >>> 28)]!, digits[(b >>> 22) & 63]!, digits[(b >>> 16) & 63]!,
    digits[(b >>> 10) & 63]!, digits[(b >>> 4) & 63]!, digits[((b & 15) << 2) | (c >>> 30)]!, digits[(c >>> 24) & 63]!,
    digits[(c >>> 18) & 63]!, digits[(c >>> 12) & 63]!, digits[(c >>> 6) & 63]!, digits[c & 63]!,
    digits[d >>> 26]!, digits[(d >>> 20) & 63]!, digits[(d >>> 14) & 63]!, digits[(d >>> 8) & 63]!,
    digits[(d >>> 2) & 63]!, digits[((d & 3) << 4) | (e >>> 28)]!, digits[(e >>> 22) & 63]!, digits[(e >>> 16) & 63]!,
    digits[(e >>> 10) & 63]!, digits[(e >>> 4) & 63]!, digits[((e & 15) << 2) | (f >>> 30)]!, digits[(f >>> 24) & 63]!,
    digits[(f >>> 18) & 63]!, digits[(f >>> 12) & 63]!, digits[(f >>> 6) & 63]!, digits[f & 63]!,
  )
}

/** Null: the text cannot be a lease id. */
export function parseLeaseId(text: string): LeaseRef | null {
  if (text.length !== LEASE_ID_LENGTH) return null
  const a = fourDigits(text, 0, BASE64URL_VALUES, 6)
  const b = fourDigits(text, 4, BASE64URL_VALUES, 6)
  const c = fourDigits(text, 8, BASE64URL_VALUES, 6)
  const d = fourDigits(text, 12, BASE64URL_VALUES, 6)
  const e = fourDigits(text, 16, BASE64URL_VALUES, 6)
  const f = fourDigits(text, 20, BASE64URL_VALUES, 6)
  const g = fourDigits(text, 24, BASE64URL_VALUES, 6)
  const h = fourDigits(text, 28, BASE64URL_VALUES, 6)
  if ((a | b | c | d | e | f | g | h) < 0) return null
  return {
    slot: ((a << 8) | (b >>> 16)) >>> 0,
    token: (((b << 16) | (c >>> 8)) >>> 0) * HIGH + (((c << 24) | d) >>> 0),
    secret0: ((e << 8) | (f >>> 16)) >>> 0,
    secret1: ((f << 16) | (g >>> 8)) >>> 0,
    secret2: ((g << 24) | h) >>> 0,
  }
}
