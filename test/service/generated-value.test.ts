import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { generateValue } from '../../src/service/generated-value.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function numberOf(digits: string): bigint {
  return Array.from(digits).reduce(
    (number, digit) => number * 62n + BigInt(BASE62.indexOf(digit)),
    0n,
  )
}

test('is prefix, 32 random bytes and their CRC-32, in base62', () => {
  const random = new SeededRandom(3)
  const same = new SeededRandom(3)
  for (const prefix of ['acme_live', 'a', 'a-b_c', 'x'.repeat(32)]) {
    const value = generateValue(prefix, random)
    assert(value.startsWith(`${prefix}_`))
    const [, body, checksum] = /^(.+)_([0-9A-Za-z]{6})$/.exec(value)!
    assert.equal(numberOf(checksum!), BigInt(crc32(body!)))
    const digits = body!.slice(prefix.length + 1)
    assert.match(digits, /^[0-9A-Za-z]{43}$/)
    let bytes = 0n
    for (let word = 0; word < 8; word++) bytes = (bytes << 32n) | BigInt(same.uint32())
    assert.equal(numberOf(digits), bytes, 'every bit of them')
  }
})

test('a typo shows in the checksum', () => {
  const value = generateValue('acme', new SeededRandom(4))
  const at = value.length - 20
  const typo = value.slice(0, at) + (value[at] === 'x' ? 'y' : 'x') + value.slice(at + 1)
  const [, body, checksum] = /^(.+)_(\w{6})$/.exec(typo)!
  assert.notEqual(numberOf(checksum!), BigInt(crc32(body!)))
})

test('the smallest and the largest fit', () => {
  assert.match(generateValue('a', { uint32: () => 0 }), /^a_0{43}_[0-9A-Za-z]{6}$/)
  const largest = generateValue('a', { uint32: () => 0xffffffff })
  assert.equal(numberOf(largest.slice(2, 45)), 2n ** 256n - 1n)
})

test('no digit is favoured, and none comes twice', () => {
  const random = new SeededRandom(5)
  const values = Array.from({ length: 5000 }, () => generateValue('k', random).slice(2, 45))
  assert.equal(new Set(values).size, values.length)
  // The first digit has less room; the others are as good as uniform.
  const counts = new Map<string, number>()
  for (const digit of values.flatMap((value) => Array.from(value.slice(1)))) {
    counts.set(digit, (counts.get(digit) ?? 0) + 1)
  }
  const expected = (5000 * 42) / 62
  const chiSquared = Array.from(BASE62)
    .map((digit) => ((counts.get(digit) ?? 0) - expected) ** 2 / expected)
    .reduce((sum, part) => sum + part)
  assert(chiSquared < 120, `${chiSquared} at 61 degrees of freedom`) // one in 100 000 is above
})
