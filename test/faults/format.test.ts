/** Files that this version does not know: it says whose they are, and leaves them as they are. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { DATABASE, LASTING, LocalStore } from './data.ts'
import { refusalOf, Scratch, Served } from './served.ts'

/** A data directory of this version, changed by SQL. */
async function changed(directory: string, sql: string): Promise<void> {
  {
    await using local = await LocalStore.open(directory)
    await local.store.putPool('default', LASTING)
    await local.do('default', { op: 'create', count: 5 })
  }
  execute(directory, sql)
}

function execute(directory: string, sql: string): void {
  mkdirSync(directory, { recursive: true })
  const database = new DatabaseSync(join(directory, DATABASE))
  database.exec(sql)
  database.close()
}

suite('refused, and left as it is', { concurrency: 2 }, () => {
  const cases: [name: string, make: (directory: string) => Promise<void> | void, said: RegExp][] = [
    [
      'data of a newer version',
      (directory) => changed(directory, 'PRAGMA user_version = 3'),
      /newer version \(format 3; this program knows formats 1 to 2\): start that version/,
    ],
    [
      'data of a version too old',
      (directory) => changed(directory, 'PRAGMA user_version = 0'),
      /too old to be read \(format 0; this program knows formats 1 to 2\)/,
    ],
    [
      'the database of another program',
      (directory) => {
        execute(directory, 'CREATE TABLE songs (title TEXT); PRAGMA user_version = 1')
      },
      /was not made by Token Orchestrator/,
    ],
    [
      'the database of another program that says whose it is',
      (directory) => {
        execute(directory, 'CREATE TABLE maps (name TEXT); PRAGMA application_id = 1196444487')
      },
      /was not made by Token Orchestrator/,
    ],
    [
      'a text',
      (directory) => {
        mkdirSync(directory)
        writeFileSync(join(directory, DATABASE), 'Dear diary,\n'.repeat(1000))
      },
      /file is not a database/,
    ],
    [
      'a database that is cut short',
      async (directory) => {
        await changed(directory, '')
        const file = join(directory, DATABASE)
        writeFileSync(file, readFileSync(file).subarray(0, 5000))
      },
      /malformed|damaged/,
    ],
  ]
  for (const [name, make, what] of cases) {
    test(name, async () => {
      using scratch = new Scratch()
      await make(scratch.data)
      const file = join(scratch.data, DATABASE)
      const before = readFileSync(file)
      const said = await refusalOf(scratch.data)
      assert.match(said, what)
      assert.ok(said.includes(file), said)
      assert.ok(readFileSync(file).equals(before), 'it was changed')
    })
  }
})

test('an empty file is a fresh start', async () => {
  using scratch = new Scratch()
  mkdirSync(scratch.data)
  writeFileSync(join(scratch.data, DATABASE), '')
  {
    await using served = await Served.start(scratch.data)
    await served.create(4)
    await served.kill()
  }
  await using served = await Served.start(scratch.data)
  assert.equal(await served.keyCount(), 4)
})
