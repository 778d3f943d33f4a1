import { crc32 } from 'node:zlib'
import type { Random } from '../engine/random.ts'

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const RANDOM_WORDS = 8
/** Digits that 32 bytes and 4 bytes take. */
const RANDOM_DIGITS = 43
const CHECKSUM_DIGITS = 6

/**
 * A credential that secret scanners can tell at sight: `<prefix>_<32 random bytes>_<CRC-32 of all before it>`, both
 * in base62. The checksum spares them, and whoever guards something, asking about a typo. After GitHub's tokens.
 */
export function generateValue(prefix: string, random: Random): string {
  let number = 0n
  for (let word = 0; word < RANDOM_WORDS; word++) number = (number << 32n) | BigInt(random.uint32())
  const body = `${prefix}_${base62(number, RANDOM_DIGITS)}`
  return `${body}_${base62(BigInt(crc32(body)), CHECKSUM_DIGITS)}`
}

function base62(number: bigint, digits: number): string {
  let text = ''
  for (let rest = number; text.length < digits; rest /= 62n)
    text = BASE62[Number(rest % 62n)]! + text
  return text
}
