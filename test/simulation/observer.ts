/** Enters in the history what an engine does, as it does it, whether or not anyone will be told. */
import assert from 'node:assert/strict'
import type { Engine, Run } from '../../src/engine/engine.ts'
import { parseKeyId } from '../../src/engine/ids.ts'
import { isRefusal, type Lease, type Operation, type Result } from '../../src/engine/operations.ts'
import type { Policy } from '../../src/engine/policy.ts'
import { countsOf } from '../support/model-key.ts'
import type { Call } from './calls.ts'
import { isRead, type Seen } from './history.ts'
import type { SimulatedProcess, World } from './simulated-process.ts'
import type { Watcher } from './watch.ts'

const UNSETTLED = -1

/** How much of a run is entered. */
interface Progress {
  results: number
  /** By an acquire that has not been answered yet. */
  readonly granted: Map<string, Lease>
  /** How often its pool had been removed when it began. */
  readonly removals: number
}

export class Observer implements Watcher {
  readonly #world: World
  readonly #process: SimulatedProcess
  readonly #progressOf = new WeakMap<Run, Progress>()
  readonly #removals = new Map<string, number>()
  /** Slots of dead keys that were found at the start. */
  readonly #deadSlots = new Set<number>()
  /** Of imports that are half done: for how many keys they have taken slots. */
  readonly #ready = new Map<Run, number>()

  constructor(world: World, process: SimulatedProcess) {
    this.#world = world
    this.#process = process
  }

  ran(run: Run, now: number, finished: boolean): void {
    this.#process.guard(() => {
      const calls = this.#process.callsOf(run.operations)
      const deadline = this.#learn(run, now)
      if (!finished) this.#learnGrants(run, now)
      const { saw, disk, history } = this.#world
      for (const call of calls) {
        call.seen = history.seen(deadline, call.seen)
        call.isUnsettled = !finished
      }
      if (!finished && disk.underWay.length > 0) {
        saw('a call had to wait for settling while a commit was under way')
      }
      this.#ready.delete(run)
      if (!finished && run.importing !== null) {
        this.#ready.set(run, this.#slotsWithoutKey() - sum(this.#ready.values()))
        saw('an import was interrupted')
      }
      if (finished && disk.underWay.length > 0 && run.operations.every(isRead)) {
        saw('a read waited for a commit')
      }
    })
  }

  putPool(told: unknown, name: string, policy: Policy): void {
    this.#lookAtPools(`put ${name}`, told, true, () => {
      const { history, saw } = this.#world
      const isUnsettled = told === UNSETTLED
      this.#process.poolCall!.isUnsettled = isUnsettled
      if (isUnsettled) saw('a pool that was gone kept its place from a new one')
      else history.putPool(name, policy, told)
    })
  }

  removePool(told: unknown, name: string): void {
    const { history } = this.#world
    this.#lookAtPools(`remove ${name}`, told, history.model.pools.has(name), () => {
      history.removePool(name, told)
      if (told !== null) return
      this.#removals.set(name, this.#removalsOf(name) + 1)
      this.#process.removed.add(name)
    })
  }

  policy(told: unknown, name: string): void {
    this.#process.guard(() => {
      const { history, note } = this.#world
      note(`policy of ${name}`)
      assert.deepEqual(told, history.model.pools.get(name)?.policy)
      this.#sees(history.seen())
    })
  }

  poolNames(): void {
    this.#process.guard(() => {
      const { history } = this.#world
      const now = this.#process.clock.now()
      const pools: Record<string, object> = {}
      const keys = { available: 0, leased: 0, cooling: 0, disabled: 0 }
      for (const [name, pool] of history.model.pools) {
        const counts = countsOf(pool, now)
        pools[name] = counts
        for (const state of Object.keys(keys) as (keyof typeof keys)[]) keys[state] += counts[state]
      }
      this.#sees(history.seenAll(now))
      this.#process.poolCall!.expected = { keys, poolCount: history.model.pools.size, pools }
    })
  }

  restored(engine: Engine): void {
    this.#process.guard(() => {
      const { history, note, saw } = this.#world
      const process = this.#process
      note('restored')
      assert(process.clock.now() >= history.shownUntil, 'what has been shown is future again')
      process.engine = engine
      process.isReloading = false
      this.#ready.clear()
      const { rows } = engine.tables
      for (let slot = 1; rows.knows(slot); slot++) {
        if (!rows.isLive(slot)) this.#deadSlots.add(slot)
      }
      if (engine.nextDue === 0) saw('a pool was being drained at a crash, and was drained on')
    })
  }

  #sees(seen: Seen): void {
    if (this.#process.poolCall !== null) this.#process.poolCall.seen = seen
  }

  #removalsOf(pool: string): number {
    return this.#removals.get(pool) ?? 0
  }

  #lookAtPools(what: string, told: unknown, wouldChange: boolean, look: () => void): void {
    this.#process.guard(() => {
      this.#world.note(`${what}: ${JSON.stringify(told)}`)
      if (!this.#wasFrozen(told, wouldChange)) look()
      this.#sees(this.#world.history.seen())
    })
  }

  /** Without room, all is refused that would change something, and nothing else. */
  #wasFrozen(told: unknown, wouldChange: boolean): boolean {
    const refused = isStorageFull(told)
    assert.equal(refused, wouldChange && !this.#process.hasRoom, 'refused for want of room')
    if (refused) this.#world.saw('a write was refused for want of room')
    return refused
  }

  #begin(run: Run): Progress {
    const progress = { results: 0, granted: new Map(), removals: this.#removalsOf(run.pool) }
    this.#progressOf.set(run, progress)
    return progress
  }

  /** Returns the latest deadline whose effect the new results show. */
  #learn(run: Run, now: number): number {
    const progress = this.#progressOf.get(run) ?? this.#begin(run)
    this.#world.history.model.readyKeys = sum(this.#ready.values()) - (this.#ready.get(run) ?? 0)
    let deadline = 0
    for (; progress.results < run.results.length; progress.results++) {
      const operation = run.operations[progress.results]!
      const told = run.results[progress.results]!
      this.#world.note(`${run.pool} ${operation.op}: ${brief(told)}`)
      const before = run.results.slice(0, progress.results)
      const seen = this.#learnResult(run.pool, operation, told, progress, now, before)
      deadline = Math.max(deadline, seen)
      progress.granted.clear()
      this.#learnAnswer(operation, told, seen, now)
    }
    return deadline
  }

  #slotsWithoutKey(): number {
    const { rows, stateCounts } = this.#process.engine!.tables
    return rows.used - sum(stateCounts)
  }

  /** What the result means to who asked for it. */
  #learnAnswer(operation: Operation, told: Result, deadline: number, now: number): void {
    const call = this.#process.callOf(operation)
    if (call === undefined) return
    const { waiting, repeatable, isSingle } = call
    const isGrant = 'leases' in told
    const leave = operation.op === 'acquire' ? (operation.leave ?? 0) : 0
    if (isGrant) this.#checkOrder(call, leave, now)
    if (!isSingle) return
    const seen = this.#world.history.seen(deadline, call.seen)
    if (operation.op === 'recall') {
      const answer = 'results' in told ? told.results?.[0] : told
      if (answer !== undefined) call.looks.push({ told: answer, seen })
      return
    }
    call.looks.push({ told, seen })
    if (repeatable !== null && !isRefusal(told)) this.#world.history.owesMemory(repeatable.key)
    if (waiting === null) return
    if (isGrant) this.#process.granted(call)
    waiting.latest = Math.min(waiting.latest, now + waiting.waitMs)
    waiting.entered = Math.min(waiting.entered, this.#process.lastPlace)
    const mayCome = 'code' in told && ['pool_exhausted', 'pool_empty'].includes(told.code)
    if (!mayCome) waiting.isOver = true
  }

  /** Nobody is given a key while somebody who came before him waits for one, unless he leaves one for each. */
  #checkOrder(call: Call, leave: number, now: number): void {
    const before = this.#process.waiters.filter(({ waiting, pool }) => {
      const { entered, deadline, isOver, gone } = waiting!
      if (pool !== call.pool || entered >= call.place) return false
      return !isOver && !gone.signal.aborted && now < deadline // else he waits no more
    })
    assert(before.length <= leave, 'somebody who waited was overtaken')
  }

  #learnResult(
    pool: string,
    operation: Operation,
    told: Result,
    { granted, removals }: Progress,
    now: number,
    before: readonly Result[],
  ): number {
    const { history, saw } = this.#world
    const isGone = 'code' in told && told.code === 'pool_not_found'
    // Who has begun on a pool that is gone since does not go on with its successor.
    if (isGone && this.#removalsOf(pool) > removals) return 0
    const still = [...granted.values()].filter(({ expiresAt }) => expiresAt > now)
    if (still.length > 0) assert('leases' in told, 'refused what had been granted')
    if (still.length > 0 && !this.#process.hasRoom) return 0
    const wouldChange = !isRead(operation) && history.model.pools.has(pool)
    if (this.#wasFrozen(told, wouldChange)) return 0
    if (isRead(operation) && !this.#process.hasRoom && !isGone) {
      saw('a read was answered while there was no room')
    }
    if (granted.size > 0 && 'leases' in told && operation.op === 'acquire') {
      for (const lease of still) assert(told.leases.includes(lease), 'a lease was forgotten')
      for (const lease of told.leases) {
        if (!granted.has(lease.leaseId)) history.grant(pool, lease, operation, now)
      }
      const all = told.leases.length === operation.count
      assert(all || !history.hasFree(pool, now), 'a key was left over')
      return 0
    }
    const { deadline } = history.operation(pool, operation, told, now, before)
    if ('keyIds' in told) this.#noteSlots(told.keyIds)
    return deadline
  }

  /** What an acquire has got that is not finished. */
  #learnGrants(run: Run, now: number): void {
    const { granted } = this.#progressOf.get(run)!
    const operation = run.operations[run.results.length]!
    if (operation.op !== 'acquire') return
    for (const lease of run.leases) {
      if (granted.has(lease.leaseId)) continue
      this.#world.history.grant(run.pool, lease, operation, now)
      this.#world.saw('an acquire was interrupted after its first leases')
      granted.set(lease.leaseId, lease)
    }
  }

  #noteSlots(keyIds: string[]): void {
    const id = new Uint32Array(4)
    for (const keyId of keyIds) {
      assert(parseKeyId(keyId, id))
      const slot = this.#process.engine!.tables.index.find(id)
      if (this.#deadSlots.delete(slot)) this.#world.saw('a slot was used again after a crash')
    }
  }
}

function sum(numbers: Iterable<number>): number {
  return [...numbers].reduce((total, number) => total + number, 0)
}

function isStorageFull(told: unknown): boolean {
  return typeof told === 'object' && told !== null && 'code' in told && told.code === 'storage_full'
}

function brief(told: Result): string {
  if ('code' in told) return told.code
  if ('keyIds' in told) return told.keyIds.join()
  if ('leases' in told) return told.leases.map(({ leaseId }) => leaseId).join()
  return 'ok'
}
