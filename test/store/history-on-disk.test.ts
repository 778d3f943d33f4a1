/** A history that outlives its process. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { HistoryLimits } from '../../src/engine/history.ts'
import { type Answers, isRefusal, type Operation } from '../../src/engine/operations.ts'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { DATABASE_FILE } from '../../src/store/embedded/sqlite/format.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'
import { verifyDirectory } from '../../src/store/embedded/sqlite/verify.ts'
import { Scratch } from '../faults/served.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { BusyClock } from './harness.ts'

const DAY_MS = 24 * 3_600_000
const KEPT: HistoryLimits = { keptMs: DAY_MS, records: 1000 }
const SIZES = { maxTotalKeys: 100, maxPools: 2 }
const POLICY = { ...DEFAULT_POLICY, keyLifetimeMs: null }
const noEvents = { wakeAt: () => undefined }

class Opened implements AsyncDisposable {
  readonly store: EmbeddedStore

  constructor(store: EmbeddedStore) {
    this.store = store
  }

  static async in(directory: string, clock: BusyClock, history: HistoryLimits | null = KEPT) {
    const options = { directory, sync: false, history: history !== null }
    const store = await EmbeddedStore.open(
      { ...SIZES, history },
      clock,
      new SeededRandom(clock.now()),
      noEvents,
      (events) => SqliteJournal.open(options, events),
    )
    return new Opened(store)
  }

  static async on(disk: SimulatedDisk, clock: BusyClock, history = KEPT): Promise<Opened> {
    const random = new SeededRandom(clock.now())
    const limits = { ...SIZES, history }
    return new Opened(
      await EmbeddedStore.open(limits, clock, random, noEvents, (events) => disk.open(events)),
    )
  }

  /** With the pool in which all happens. */
  async pool(): Promise<this> {
    await this.store.putPool('pool', POLICY)
    return this
  }

  async do<O extends Operation>(operation: O): Promise<Answers[O['op']]> {
    const [result] = await this.store.run('pool', [operation])
    assert(!isRefusal(result), JSON.stringify(result))
    return result
  }

  async create(): Promise<string> {
    return (await this.do({ op: 'create', count: 1, by: 'ann' })).keyIds[0]!
  }

  history(keyId: string): Promise<Answers['history']> {
    return this.do({ op: 'history', keyId, limit: 1000 })
  }

  async changes(keyId: string): Promise<string[]> {
    return (await this.history(keyId)).entries.map(({ change }) => change)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store.close()
  }
}

function execute(directory: string, sql: string): unknown[] {
  const database = new DatabaseSync(join(directory, DATABASE_FILE))
  try {
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

suite('after a restart', () => {
  test('it is what it was, and what time has done meanwhile is in it, once', async () => {
    using scratch = new Scratch()
    const clock = new BusyClock()
    let keyId
    let before
    {
      await using opened = await (await Opened.in(scratch.data, clock)).pool()
      keyId = await opened.create()
      await opened.do({ op: 'acquire', holder: 'w1', ttlMs: 1000 })
      await clock.advance(500)
      before = await opened.history(keyId)
    }
    await clock.advance(1000)
    for (let start = 0; start < 2; start++) {
      await using opened = await Opened.in(scratch.data, clock)
      const after = await opened.history(keyId)
      assert.deepEqual(after.entries.slice(1), before.entries)
      assert.equal(after.entries[0]!.change, 'lease_expired')
      assert.equal(after.entries[0]!.holder, 'w1')
      assert.equal(after.since, before.since)
    }
    {
      await using opened = await Opened.in(scratch.data, clock)
      await opened.do({ op: 'remove', keyId, by: 'bob' })
    }
    await using opened = await Opened.in(scratch.data, clock)
    assert.deepEqual(await opened.changes(keyId), ['deleted', 'lease_expired', 'leased', 'created'])
    assert.deepEqual((await opened.history(keyId)).entries[0]!.by, 'bob')
  })

  test('whenever it comes: nobody could tell, though old records and names go', async () => {
    const steps = fc.array(
      fc.record({
        what: fc.constantFrom('lease', 'lease', 'alive', 'create', 'remove', 'wait'),
        key: fc.nat(),
        name: fc.nat({ max: 30 }),
        crash: fc.boolean(),
      }),
      { minLength: 50, maxLength: 150 },
    )
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 5, max: 60 }), async (steps, records) => {
        const clock = new BusyClock()
        const limits = { keptMs: 50_000, records }
        const disk = new SimulatedDisk()
        const random = (): SeededRandom => new SeededRandom(7)
        const memory = new Opened(
          EmbeddedStore.inMemory({ ...SIZES, history: limits }, clock, random(), noEvents),
        )
        await memory.pool()
        const lasting = random()
        const open = async (): Promise<Opened> =>
          new Opened(
            await EmbeddedStore.open({ ...SIZES, history: limits }, clock, lasting, noEvents, (e) =>
              disk.open(e),
            ),
          )
        let durable = await (await open()).pool()
        const keyIds: string[] = []
        const both = async (operation: Operation): Promise<string> => {
          const told = await Promise.all(
            [memory, durable].map(({ store }) => store.run('pool', [operation])),
          )
          const [one, other] = told.map((results) => JSON.stringify(results))
          if (operation.op !== 'acquire') assert.equal(one, other)
          return one!
        }
        for (const { what, key, name, crash } of steps) {
          const keyId = keyIds[key % Math.max(keyIds.length, 1)] ?? 'none'
          const by = `somebody ${name}`
          if (what === 'create') {
            const [created] = JSON.parse(await both({ op: 'create', count: 1, by })) as [
              Answers['create'],
            ]
            keyIds.push(...created.keyIds)
          } else if (what === 'lease') {
            await both({ op: 'acquire', keyId, holder: `worker ${name}`, ttlMs: 3000 })
          } else if (what === 'alive') await both({ op: 'keepAlive', keyId, by })
          else if (what === 'remove') await both({ op: 'remove', keyId, by })
          else await clock.advance(name * 200)
          if (crash) durable = await open()
        }
        for (const keyId of keyIds) {
          const [one, other] = await Promise.all(
            [memory, durable].map(({ store }) =>
              store.run('pool', [{ op: 'history', keyId, limit: 1000 }]),
            ),
          )
          const [told, again] = [one![0], other![0]]
          if (isRefusal(told) || isRefusal(again)) {
            assert.deepEqual(again, told)
            continue
          }
          assert.deepEqual(again.entries, told.entries)
          assert(again.since >= told.since)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('rows that are too old are gone from the disk', async () => {
    using scratch = new Scratch()
    const clock = new BusyClock()
    {
      await using opened = await (await Opened.in(scratch.data, clock)).pool()
      const keyId = await opened.create()
      for (let change = 0; change < 50; change++) {
        await clock.advance(DAY_MS / 10)
        await opened.do({ op: 'keepAlive', keyId })
      }
    }
    const [row] = execute(scratch.data, 'SELECT count(*) AS rows FROM history') as [
      { rows: number },
    ]
    assert(row.rows >= 11 && row.rows <= 13, `${row.rows} rows`)
  })
})

test('what is not saved has not happened, in the history neither', async () => {
  const disk = new SimulatedDisk()
  const clock = new BusyClock()
  await using opened = await (await Opened.on(disk, clock)).pool()
  const keyId = await opened.create()
  disk.decide = () => Promise.resolve('full')
  await assert.rejects(opened.do({ op: 'keepAlive', keyId }))
  disk.decide = () => Promise.resolve('committed')
  assert.deepEqual(await opened.changes(keyId), ['created'])
  await opened.do({ op: 'acquire' })
  const again = await Opened.on(disk, clock)
  assert.deepEqual(await again.changes(keyId), ['leased', 'created'])
})

suite('a data directory', () => {
  test('of a server that kept none opens with one, and is then of a newer format', async () => {
    using scratch = new Scratch()
    const clock = new BusyClock()
    let keyId
    {
      await using opened = await (await Opened.in(scratch.data, clock, null)).pool()
      keyId = await opened.create()
    }
    assert.deepEqual(
      { ...(execute(scratch.data, 'PRAGMA user_version')[0] as object) },
      { user_version: 1 },
    )
    await clock.advance(1000)
    {
      await using opened = await Opened.in(scratch.data, clock)
      const page = await opened.history(keyId)
      assert.deepEqual(page, { entries: [], nextCursor: null, since: clock.now() })
      await opened.do({ op: 'keepAlive', keyId })
    }
    assert.deepEqual(
      { ...(execute(scratch.data, 'PRAGMA user_version')[0] as object) },
      { user_version: 2 },
    )
    assert.deepEqual(verifyDirectory(scratch.data).faults, [])
    await using opened = await Opened.in(scratch.data, clock)
    assert.deepEqual(await opened.changes(keyId), ['kept_alive'])
  })

  test('forgets it where none is kept any more, for it would be incomplete', async () => {
    using scratch = new Scratch()
    const clock = new BusyClock()
    let keyId
    {
      await using opened = await (await Opened.in(scratch.data, clock)).pool()
      keyId = await opened.create()
    }
    {
      await using opened = await Opened.in(scratch.data, clock, null)
      await opened.do({ op: 'keepAlive', keyId })
    }
    assert.deepEqual(
      execute(scratch.data, "SELECT name FROM entries WHERE name LIKE 'history%'"),
      [],
    )
    await using opened = await Opened.in(scratch.data, clock)
    assert.deepEqual(await opened.changes(keyId), [])
  })

  const damages: [string, string, RegExp][] = [
    [
      'a flipped bit',
      "UPDATE history SET records = substr(records, 1, 99) || x'07' || substr(records, 101) WHERE last = 3",
      /the history up to record 3 is damaged/,
    ],
    [
      'a missing part',
      'DELETE FROM history WHERE last = 3',
      /records of the history before 4 are missing/,
    ],
  ]
  for (const [name, sql, said] of damages) {
    test(`with ${name} in it is refused, and the check says where`, async () => {
      using scratch = new Scratch()
      const clock = new BusyClock()
      {
        await using opened = await (await Opened.in(scratch.data, clock)).pool()
        const keyId = await opened.create()
        for (let change = 0; change < 4; change++) await opened.do({ op: 'keepAlive', keyId })
      }
      execute(scratch.data, sql)
      await assert.rejects(Opened.in(scratch.data, clock), said)
      assert.match(verifyDirectory(scratch.data).faults.join(), said)
    })
  }
})
