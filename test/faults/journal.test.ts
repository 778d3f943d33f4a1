/** The journal itself: groups that are sent while others are under way. */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  type Group,
  type Journal,
  JournalError,
  type Saved,
} from '../../src/store/embedded/journal.ts'
import { PAGE_BYTES } from '../../src/store/embedded/sqlite/format.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'
import { cannotMount, Filler, Mounted } from './disks.ts'
import { Scratch } from './served.ts'

const INSTANT = Date.UTC(2030, 0, 1)
const MANY = 500
const DISK_MIB = 64

function open(directory: string, rooms: boolean[] = []): Promise<Journal> {
  return SqliteJournal.open({ directory, sync: true }, { room: (left) => rooms.push(left) })
}

function group(sequence: number, { words = 4 } = {}): Group {
  const entries = new Map([[`document/${sequence}`, 'text']])
  const records = new Uint32Array(words).fill(sequence)
  const instant = INSTANT + sequence
  return { sequence, instant, records, entries, chunks: [], history: null, cut: 1 }
}

function groupOfTime(sequence: number): Group {
  return { ...group(sequence, { words: 0 }), entries: new Map() }
}

/** What became of each. */
async function fates(commits: Promise<void>[]): Promise<string[]> {
  const settled = await Promise.allSettled(commits)
  return settled.map((fate) => {
    if (fate.status === 'fulfilled') return 'committed'
    assert(fate.reason instanceof JournalError)
    return fate.reason.fault
  })
}

/** What another process would find. */
async function savedIn(directory: string): Promise<{ groups: number[]; entries: number }> {
  const journal = await open(directory)
  const saved: Saved[] = await Array.fromAsync(journal.read())
  await journal.close()
  const groups = saved.flatMap((one) => (one.kind === 'group' ? [one.sequence] : []))
  return { groups, entries: saved.filter(({ kind }) => kind === 'entry').length }
}

function upTo(last: number): number[] {
  return Array.from({ length: last }, (_, at) => at + 1)
}

test('groups that wait for the disk share its time, and come in their order', async () => {
  using scratch = new Scratch()
  const journal = await open(scratch.data)
  const heard: number[] = []
  const commits = upTo(MANY).map((sequence) =>
    journal.commit(group(sequence)).then(() => {
      assert(sequence <= journal.sequence)
      heard.push(sequence)
    }),
  )
  const read = Array.fromAsync(journal.read())
  await Promise.all(commits)
  assert.deepEqual(heard, upTo(MANY))
  assert.equal(journal.sequence, MANY)
  assert.equal((await read).filter(({ kind }) => kind === 'group').length, MANY, 'read after them')
  // Each transaction writes a page at least.
  const pages = statSync(join(scratch.data, 'state.db-wal')).size / PAGE_BYTES
  assert(pages < MANY, `${MANY} groups wrote ${pages} pages`)
  await journal.close()
  assert.deepEqual(await savedIn(scratch.data), { groups: upTo(MANY), entries: MANY })
})

test('a group does not go to disk where the one before it did not', async () => {
  using scratch = new Scratch()
  const journal = await open(scratch.data)
  await journal.commit(group(1))
  assert.deepEqual(await fates([journal.commit(group(3)), journal.commit(group(4))]), [
    'full',
    'full',
  ])
  await journal.commit(group(2))
  await journal.close()
  assert.deepEqual(await savedIn(scratch.data), { groups: [1, 2], entries: 2 })
})

test(
  'where one group finds no room, those before it are kept, and none after it',
  { skip: cannotMount },
  async () => {
    using scratch = new Scratch()
    using disk = Mounted.small(scratch.data, DISK_MIB)
    const rooms: boolean[] = []
    const journal = await open(disk.path, rooms)
    const large = group(3, { words: (DISK_MIB * 2 ** 20) / 4 })
    const sent = [group(1), group(2), large, group(4), group(5)]
    const before = await fates(sent.map((one) => journal.commit(one)))
    assert.deepEqual(before, ['committed', 'committed', 'full', 'full', 'full'])
    assert.equal(journal.sequence, 2)
    assert.deepEqual(rooms, [false])
    await journal.commit(group(3))
    await journal.close()
    assert.deepEqual(await savedIn(disk.path), { groups: [1, 2, 3], entries: 3 })
  },
)

test('the time has a place of its own on a disk without room', { skip: cannotMount }, async () => {
  using scratch = new Scratch()
  using disk = Mounted.small(scratch.data, DISK_MIB)
  const filler = new Filler(disk.path)
  const journal = await open(disk.path)
  let last = 0
  let fate = 'committed'
  for (; fate === 'committed'; last++) {
    ;[fate] = (await fates([journal.commit(group(last + 1))])) as [string]
    filler.fill()
  }
  last--
  assert.equal(fate, 'full')
  // It goes where the others go, as long as it finds room there.
  let instant
  for (; ; last++) {
    const timed = groupOfTime(last + 1)
    await journal.commit(timed)
    instant = timed.instant
    if (journal.sequence === last) break
  }
  await journal.close()
  filler.remove()
  const next = await open(disk.path)
  assert.equal(next.instant, instant)
  await next.commit(group(last + 1))
  await next.close()
  assert.deepEqual((await savedIn(disk.path)).groups, upTo(last + 1))
})
