/** A store that lives so long that its journal is cut, and is killed now and then. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Key, Lease, Operation } from '../../src/engine/operations.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Journal, JournalEvents, Saved } from '../../src/store/embedded/journal.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { BusyClock, Harness } from './harness.ts'

type OpenJournal = (events: JournalEvents) => Promise<Journal>

const KEYS = 20_000
const HELD = 5000
/** More bytes of changes than a journal keeps of a state of that size. */
const ROUNDS = 180
const LIFE_ROUNDS = 60

const limits = { maxTotalKeys: 50_000, maxPools: 10 }

class Life {
  readonly #openJournal: OpenJournal
  readonly #random = new SeededRandom(7)
  readonly #clock = new BusyClock()
  #harness!: Harness
  #held: Lease[] = []
  journal!: Journal

  constructor(openJournal: OpenJournal) {
    this.#openJournal = openJournal
  }

  async open(): Promise<void> {
    this.#harness = await Harness.open(
      (_limits, _clock, _random, events) =>
        EmbeddedStore.open(limits, this.#clock, this.#random, events, async (journalEvents) => {
          this.journal = await this.#openJournal(journalEvents)
          return this.journal
        }),
      { keyLifetimeMs: null, leaseTtlMs: 3_600_000 },
    )
  }

  async create(): Promise<void> {
    for (let made = 0; made < KEYS; made += 10_000) await this.#harness.create(10_000)
  }

  /** Gives back what is held and takes as much again. */
  async round(): Promise<void> {
    const operations: Operation[] = this.#held.map(({ leaseId }, at) => ({
      op: 'release',
      leaseId,
      outcome: at % 50 === 0 ? 'error' : 'ok',
    }))
    const results = await this.#harness.store.run('pool', [
      ...operations,
      { op: 'acquire', count: HELD },
    ])
    const acquired = results.at(-1)!
    assert('leases' in acquired)
    assert(results.slice(0, -1).every((result) => 'released' in result && result.released))
    this.#held = acquired.leases
    await this.#clock.advance(20)
  }

  async keys(): Promise<Key[]> {
    const keys: Key[] = []
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await this.#harness.do({
        op: 'list',
        limit: 1000,
        ...(cursor === undefined ? {} : { cursor }),
      })
      keys.push(...page.keys)
      cursor = page.nextCursor
    }
    return keys
  }

  async close(): Promise<void> {
    await this.#harness.close()
  }
}

async function live(openJournal: OpenJournal): Promise<void> {
  const life = new Life(openJournal)
  await life.open()
  await life.create()
  for (let round = 1; round <= ROUNDS; round++) {
    await life.round()
    if (round % LIFE_ROUNDS !== 0) continue
    const before = await life.keys()
    assert.equal(before.length, KEYS)
    await life.close()
    await life.open()
    assert.deepEqual(await life.keys(), before, `after round ${round}`)
  }
  const saved = await Array.fromAsync(life.journal.read())
  const of = <K extends Saved['kind']>(kind: K): Extract<Saved, { kind: K }>[] =>
    saved.filter((one): one is Extract<Saved, { kind: K }> => one.kind === kind)
  const groups = of('group')
  const bytes = groups.reduce((sum, { records }) => sum + records.byteLength, 0)
  assert.equal(of('chunk').length, Math.ceil((KEYS + 1) / 1024), 'all of the state is in chunks')
  assert(groups[0]!.sequence > 10, 'the journal was never cut')
  assert(bytes < 80 * 2 ** 20, `the journal has ${bytes} bytes`)
  await life.close()
}

test('on a simulated disk', async () => {
  const disk = new SimulatedDisk()
  await live((events) => disk.open(events))
})

test('on a real one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
  try {
    await live((events) => SqliteJournal.open({ directory, sync: true }, events))
  } finally {
    rmSync(directory, { recursive: true })
  }
})
