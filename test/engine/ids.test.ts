import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  formatKeyId,
  formatLeaseId,
  formatUuid,
  parseKeyId,
  parseLeaseId,
  randomKeyId,
} from '../../src/engine/ids.ts'
import { Rows } from '../../src/engine/rows.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const HIGHEST = 0xffffffff
const WORDS = [0, 1, 0x7fffffff, 0x80000000, HIGHEST]
const TOKENS = [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]
const KEY_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

const HOSTILE = [
  '',
  'constructor',
  '__proto__',
  'x'.repeat(3000),
  '\0',
  '\0'.repeat(32),
  '\0'.repeat(36),
  'é'.repeat(32),
  '\u{1f511}'.repeat(18),
  '%00',
  '../../etc/passwd',
]

function parsed(text: string): number[] | null {
  const id = new Uint32Array(4)
  return parseKeyId(text, id) ? [...id] : null
}

test('random key ids are version 4 UUIDs, and are read as they are written', () => {
  const random = new SeededRandom(1)
  const rows = new Rows(1)
  const slot = rows.take()
  const id = new Uint32Array(4)
  for (let round = 0; round < 1000; round++) {
    randomKeyId(random, id)
    rows.setId(slot, id)
    const text = formatKeyId(rows, slot)
    assert.match(text, KEY_ID)
    assert.deepEqual(parsed(text), [...id])
    assert.deepEqual(parsed(text.toUpperCase()), [...id])
  }
})

test('every bit of a key id counts', () => {
  for (let word = 0; word < 4; word++) {
    for (const value of WORDS) {
      const id = [0, 0, 0, 0].with(word, value) as [number, number, number, number]
      assert.deepEqual(parsed(formatUuid(...id)), id)
    }
  }
  assert.equal(
    formatUuid(0x01234567, 0x89abcdef, 0xfedcba98, 0x76543210),
    '01234567-89ab-cdef-fedc-ba9876543210',
  )
})

test('what is no UUID is no key id', () => {
  const right = '01234567-89ab-cdef-fedc-ba9876543210'
  const almost = Array.from(right, (_, place) => right.slice(0, place) + right.slice(place + 1))
  const wrong = Array.from(right, (_, place) =>
    ['g', '-', '0', ' ', '\0', 'ａ', '@', '`', '/', ':'].map((character) => ({
      text: right.slice(0, place) + character + right.slice(place + 1),
      valid: right[place] === '-' ? character === '-' : character === '0',
    })),
  ).flat()
  for (const text of [...HOSTILE, ...almost, `${right}0`, ` ${right}`, `{${right}}`]) {
    assert.equal(parsed(text), null, text)
  }
  for (const { text, valid } of wrong) assert.equal(parsed(text) !== null, valid, text)
})

test('lease ids are read as they are written', () => {
  const random = new SeededRandom(1)
  const word = (): number => (random.chance(0.5) ? random.pick(WORDS)! : random.uint32())
  for (let round = 0; round < 1000; round++) {
    const token = random.chance(0.5) ? random.pick(TOKENS)! : random.below(2 ** 53)
    const lease = { slot: word(), token, secret0: word(), secret1: word(), secret2: word() }
    const text = formatLeaseId(lease)
    assert.match(text, /^[A-Za-z0-9_-]{32}$/)
    assert.deepEqual(parseLeaseId(text), lease)
    // Slot, token (high and low word) and secret, each in network order: plain base64url.
    const bytes = Buffer.alloc(24)
    const { slot, secret0, secret1, secret2 } = lease
    const words = [slot, Math.floor(token / 2 ** 32), token % 2 ** 32, secret0, secret1, secret2]
    words.forEach((value, place) => bytes.writeUInt32BE(value, place * 4))
    assert.equal(text, bytes.toString('base64url'))
  }
})

test('a lease id with any other character in any place is another lease', () => {
  const lease = { slot: 5, token: 1.8e15, secret0: 1, secret1: 2, secret2: 3 }
  const text = formatLeaseId(lease)
  for (let place = 0; place < text.length; place++) {
    for (const character of BASE64URL) {
      if (character === text[place]) continue
      const tampered = text.slice(0, place) + character + text.slice(place + 1)
      assert.notDeepEqual(parseLeaseId(tampered), lease)
    }
    for (const character of ['=', '+', '/', ' ', '\0', 'é', 'Ā']) {
      const broken = text.slice(0, place) + character + text.slice(place + 1)
      assert.equal(parseLeaseId(broken), null)
    }
  }
})

test('what is no lease id is none', () => {
  const right = formatLeaseId({ slot: 1, token: 2, secret0: 3, secret1: 4, secret2: 5 })
  for (const text of [...HOSTILE, right.slice(1), `${right}A`, `${right}=`]) {
    assert.equal(parseLeaseId(text), null, text)
  }
})
