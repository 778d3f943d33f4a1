/** No key has two holders, as seen by the holders themselves: a real server, real connections, real time. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { Scratch } from '../crash/scratch.ts'
import type { FaultKind } from './judge.ts'
import { tryServer } from './trial.ts'
import { copyWithBug, startTried } from './tried-server.ts'
import { ACTS } from './world.ts'

/** A server that answers no more is a fault too. */
const PATIENCE = { timeout: 180_000 }
const LEASES = { inMemory: 24_000, durable: 8_000, withBug: 2500 }

suite('one holder at a time', () => {
  for (const [where, leases] of [
    ['in memory', LEASES.inMemory],
    ['on disk', LEASES.durable],
  ] as const) {
    test(`${leases} leases ${where}`, PATIENCE, async (t) => {
      using scratch = new Scratch()
      const data = `--data-dir=${join(scratch.path, 'data')}` as const
      await using served = await startTried(where === 'on disk' ? data : '--memory')
      const seed = Date.now()
      const { faults, certain, acts } = await tryServer([served.port], leases, seed)
      const found = faults.slice(0, 5).map(({ detail }) => detail)
      assert.equal(faults.length, 0, [`seed ${seed}`, ...found].join('\n'))
      assert.deepEqual(new Set(ACTS).difference(acts), new Set(), 'all was tried')
      // On a busy machine many leases are over before their answers come.
      assert(certain > leases / 10, `${certain} were held for sure`)
      t.diagnostic(`${certain} of ${leases} leases were held for sure`)
    })
  }
})

interface Bug {
  promise: string
  file: string
  find: string
  replace: string
  /** What it looks like from outside; it may look like others too. */
  fault: FaultKind
}

const BUGS: Bug[] = [
  {
    promise: 'a leased key is not drawn',
    file: 'engine/pool.ts',
    find: '    this.#changed(slot, State.available, ChangeKind.leased)',
    replace: `    if (random.uint32() % 50 === 0) transitions.unblock(rows, slot, this.policy, now)
    this.#changed(slot, State.available, ChangeKind.leased)`,
    fault: 'two holders',
  },
  {
    promise: 'no lease ends early',
    file: 'engine/transitions.ts',
    find: 'Math.min(now + ttlMs',
    replace: 'Math.min(now + ttlMs / 2',
    fault: 'two holders',
  },
  {
    promise: 'a past holder can do nothing to the next',
    file: 'engine/pool.ts',
    find: '    if (lease.token !== token) {',
    replace: `    const isPast = mine && lease.token < token && rows.isLive(slot)
    if (isPast && rows.state(slot) === State.leased) return slot
    if (lease.token !== token) {`,
    fault: 'two holders',
  },
  {
    promise: 'what a waiter was given is not given back before he does',
    file: 'http/v1/leases.ts',
    find: 'if (!raw.writableFinished) undo()',
    replace: 'if (raw.closed) undo()',
    fault: 'two holders',
  },
  {
    promise: 'fencing tokens rise',
    file: 'engine/tables.ts',
    find: 'this.#lastToken + 1',
    replace: 'this.#lastToken',
    fault: 'token repeated',
  },
  {
    promise: 'only a repeat is given the same lease',
    file: 'http/idempotency.ts',
    find: '${header}`)',
    replace: '${header.slice(0, 3)}`)',
    fault: 'lease given to two requests',
  },
  {
    promise: 'a repeat is given the same lease',
    file: 'engine/idempotency.ts',
    find: 'memory.until <= now) {',
    replace: 'memory.until > now) {',
    fault: 'request given too much',
  },
]

suite('the check can fail', () => {
  for (const { promise, fault, ...bug } of BUGS) {
    test(`broken and found: ${promise}`, PATIENCE, async (t) => {
      using scratch = new Scratch()
      copyWithBug(scratch.path, bug)
      await using served = await startTried('--memory', scratch.path)
      const { faults } = await tryServer([served.port], LEASES.withBug, 1)
      const kinds = faults.map(({ kind }) => kind)
      assert(kinds.includes(fault), `nobody noticed: ${kinds.join()}`)
      t.diagnostic(`${kinds.length} faults among ${LEASES.withBug} leases`)
    })
  }
})
