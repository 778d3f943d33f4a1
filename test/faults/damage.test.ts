/** Data that were damaged by other hands: a start refuses them in words, and never shows wrong ones. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, suite, test } from 'node:test'
import { JournalError } from '../../src/store/embedded/journal.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { DATABASE, LASTING, LocalStore, putDatabase, writeChunks } from './data.ts'
import { assertPlainWords, refusalOf, Scratch } from './served.ts'

/** Bits that are flipped in a file, one at a time. */
const FLIPS = Number(process.env.FLIPS ?? 40)
const PAGE_BYTES = 4096
const POOLS = ['default', 'other']
/** What is damaged, or where. */
const NAMED =
  /group \d+|chunk \d+|entry |state\.db|(chunks|entries) were written|journal is missing|contradict/

const scratch = new Scratch()
after(() => {
  scratch[Symbol.dispose]()
})
const leaseIds: string[] = []
const intact = await makeDatabase()
const right = await tell()

/** Thousands of keys in chunks, and some groups after them. */
async function makeDatabase(): Promise<Buffer> {
  mkdirSync(scratch.data)
  {
    await using local = await LocalStore.open(scratch.data)
    for (const pool of POOLS) await local.store.putPool(pool, LASTING)
    for (let group = 0; group < 50; group++) await local.do('default', { op: 'create', count: 50 })
    const { keyIds } = await local.do('other', { op: 'create', count: 100 })
    for (const keyId of keyIds.slice(0, 40)) {
      const reason = `${keyId} was refused`
      await local.do('other', { op: 'update', keyId, disabled: true, reason })
    }
    await lease(local, 30)
  }
  assert.equal(await writeChunks(scratch.data), 3)
  {
    await using local = await LocalStore.open(scratch.data)
    await lease(local, 30)
    await local.do('default', { op: 'create', count: 20 })
  }
  return readFileSync(join(scratch.data, DATABASE))
}

async function lease(local: LocalStore, count: number): Promise<void> {
  for (let lease = 0; lease < count; lease++) {
    const { leases } = await local.do('default', { op: 'acquire', count: 1 })
    leaseIds.push(leases[0]!.leaseId)
  }
}

async function tell(): Promise<string> {
  await using local = await LocalStore.open(scratch.data)
  return JSON.stringify(await local.tell(POOLS, leaseIds))
}

/** Changes the intact data by SQL, which knows nothing of checksums. */
function damage(change: (database: DatabaseSync) => void, directory = scratch.data): void {
  putDatabase(directory, intact)
  const database = new DatabaseSync(join(directory, DATABASE))
  try {
    change(database)
  } finally {
    database.close()
  }
}

function numbersIn(table: 'journal' | 'chunks'): number[] {
  const column = table === 'journal' ? 'sequence' : 'number'
  const numbers: number[] = []
  damage((database) => {
    for (const row of database.prepare(`SELECT ${column} FROM ${table}`).all()) {
      numbers.push(row[column] as number)
    }
  })
  return numbers
}

/** Null: the start shows exactly what was saved; else why it refuses. */
async function refusal(): Promise<string | null> {
  try {
    assert.ok((await tell()) === right, 'wrong data are shown in silence')
    return null
  } catch (error) {
    if (error instanceof JournalError) return error.message
    throw error
  }
}

function flip(bytes: Uint8Array, bit: number): void {
  bytes[bit >>> 3]! ^= 1 << (bit & 7)
}

/** Flips one bit in the file, at each of these places. */
async function flipInFile(bits: Iterable<number>): Promise<void> {
  const wrong: string[] = []
  for (const bit of bits) {
    const bytes = Buffer.from(intact)
    flip(bytes, bit)
    putDatabase(scratch.data, bytes)
    const where = `bit ${bit & 7} of byte ${bit >>> 3}`
    try {
      const said = await refusal()
      if (said === null) continue
      assertPlainWords(said)
      assert.match(said, NAMED)
    } catch (error) {
      wrong.push(`${where}: ${(error as Error).message}`)
    }
  }
  assert.deepEqual(wrong, [])
}

/** Where the pages of tables begin that hold more than one row; the first has a header before. */
function* tablePages(): Generator<{ at: number; rows: number }> {
  for (let page = 0; page < intact.length; page += PAGE_BYTES) {
    const at = page === 0 ? 100 : page
    const rows = intact.readUInt16BE(at + 3)
    if ([2, 5, 10, 13].includes(intact[at]!) && rows > 1 && rows < 200) yield { at, rows }
  }
}

suite('a single bit', () => {
  test('inside a group or a chunk: it is named', async () => {
    const random = new SeededRandom(1)
    for (const [table, key, blob, what] of [
      ['journal', 'sequence', 'changes', 'group'],
      ['chunks', 'number', 'records', 'chunk'],
    ] as const) {
      const numbers = numbersIn(table)
      for (let flips = 0; flips < FLIPS / 3; flips++) {
        const number = random.pick(numbers)!
        damage((database) => {
          const row = database.prepare(`SELECT ${blob} FROM ${table} WHERE ${key} = ?`).get(number)
          const bytes = row![blob] as Uint8Array
          flip(bytes, random.below(bytes.length * 8))
          database.prepare(`UPDATE ${table} SET ${blob} = ? WHERE ${key} = ?`).run(bytes, number)
        })
        assert.match((await refusal())!, new RegExp(`^.*${what} ${number} .*damaged`))
      }
    }
  })

  test('anywhere in the file: it is refused in words, or does no harm', async () => {
    const random = new SeededRandom(2)
    await flipInFile(Array.from({ length: FLIPS }, () => random.below(intact.length * 8)))
  })

  test('where SQLite keeps how its pages are laid out: no less', async () => {
    const random = new SeededRandom(3)
    const pages = [...tablePages()]
    const bits = Array.from({ length: FLIPS }, () => {
      const { at, rows } = random.pick(pages)!
      const cell = at - (at % PAGE_BYTES) + intact.readUInt16BE(at + 8 + 2 * random.below(rows))
      const where = random.chance(0.3) ? at + random.below(8 + 2 * rows) : cell + random.below(10)
      return where * 8 + random.below(8)
    })
    await flipInFile(bits)
  })

  test('in the number of rows of a page: what is gone is missed', async () => {
    const bits: number[] = []
    for (const { at } of tablePages())
      for (let bit = 0; bit < 6; bit++) bits.push((at + 4) * 8 + bit)
    await flipInFile(bits)
  })
})

suite('the server', { concurrency: 2 }, () => {
  const groups = numbersIn('journal')
  const middle = groups[groups.length >> 1]!
  const cases: [name: string, said: RegExp, change: string][] = [
    [
      'a group in the middle is gone',
      new RegExp(`group ${middle} of the journal is missing`),
      `DELETE FROM journal WHERE sequence = ${middle}`,
    ],
    [
      'the first group is gone',
      new RegExp(`group ${groups[0]!} of the journal is missing`),
      `DELETE FROM journal WHERE sequence = ${groups[0]!}`,
    ],
    ['all groups are gone', /the journal is missing/, 'DELETE FROM journal'],
    [
      'groups and chunks are gone',
      /the journal is missing/,
      'DELETE FROM journal; DELETE FROM chunks',
    ],
    [
      'a chunk is gone',
      /3 chunks were written, 2 are there/,
      'DELETE FROM chunks WHERE number = 1',
    ],
    [
      'a chunk has the place of another',
      /chunk 7 is damaged/,
      'UPDATE chunks SET number = 7 WHERE number = 1',
    ],
    [
      'a group is cut short',
      new RegExp(`group ${middle} of the journal is`),
      `UPDATE journal SET changes = x'1234' WHERE sequence = ${middle}`,
    ],
    [
      'a group is text',
      new RegExp(`group ${middle} of the journal is`),
      `UPDATE journal SET changes = 'none' WHERE sequence = ${middle}`,
    ],
    [
      'a letter of an entry is another',
      /entry pool\/1 is damaged/,
      `UPDATE entries SET value = replace(value, 'default', 'defaulu') WHERE name = 'pool/1'`,
    ],
    [
      'a letter goes from the value of an entry to its name',
      /entry pool\/1\{ is damaged/,
      `UPDATE entries SET value = substr(value, 2), name = name || '{' WHERE name = 'pool/1'`,
    ],
    [
      'the value of an entry is bytes',
      /entry reason\/\d+ is damaged/,
      `UPDATE entries SET value = cast(value AS BLOB) WHERE name LIKE 'reason/%'`,
    ],
    [
      'the entry of a pool is gone',
      /contradict|entries were written/,
      `DELETE FROM entries WHERE name = 'pool/2'`,
    ],
    [
      'the entry of a reason is gone',
      /\d+ entries were written, \d+ are there/,
      `DELETE FROM entries WHERE name = (SELECT max(name) FROM entries)`,
    ],
    ['a table is gone', /state\.db: .*journal/, 'DROP TABLE journal'],
  ]
  for (const [name, said, change] of cases) {
    test(`${name}: it says so and ends with 1`, async () => {
      using place = new Scratch()
      damage((database) => {
        database.exec(change)
      }, place.path)
      assert.match(await refusalOf(place.path), said)
    })
  }
})
