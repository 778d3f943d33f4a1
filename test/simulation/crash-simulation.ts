/**
 * The life of a server that crashes again and again: many callers at once, commits that take their time, fail
 * or find no room, and processes that are gone between any two turns. Everything follows from the seed.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { Operation } from '../../src/engine/operations.ts'
import type { Group } from '../../src/store/embedded/journal.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { isOfTime } from '../support/simulated-disk.ts'
import type { Call } from './calls.ts'
import { Callers, type Request } from './callers.ts'
import { History } from './history.ts'
import { Observer } from './observer.ts'
import type { Sightings } from './sightings.ts'
import { SimulatedClock } from './simulated-clock.ts'
import { SimulatedProcess, type World } from './simulated-process.ts'
import { SlowDisk } from './slow-disk.ts'
import type { StoreSources } from './store-copies.ts'
import { type Temper, temperOf } from './temper.ts'
import { watch } from './watch.ts'

export interface CrashOptions {
  seed: number
  steps: number
  /** Keys of a storm: those that are made, or come free, in the same millisecond. */
  stormKeys: number
  /** Called with all that happens, in order. */
  onNote?: (what: string) => void
}

/** A small state, which goes with small slices. */
export const SMALL = { steps: 1500, stormKeys: 60 }
/** One that needs slices as large as they are. */
export const LARGE = { steps: 1500, stormKeys: 300 }

export interface Outcome {
  /** Of all that has happened, in order. */
  hash: string
  hours: number
  crashes: number
  calls: number
}

const START = Date.UTC(2030, 0, 1)
const HOUR = 3_600_000
const MAX_PLACES = 4
const MAX_CALLS = 10
/** And as many more who wait for a key. */
const MAX_WAITERS = 8
/** Steps after which whoever still waits waits for ever. */
const CALM_STEPS = 50_000
const LAST_NOTES = 25

type Action =
  | 'call'
  | 'callPools'
  | 'takeTurn'
  | 'ring'
  | 'decide'
  | 'hear'
  | 'read'
  | 'passTime'
  | 'turnRoom'
  | 'crash'
  | 'hangUp'

/** @throws Error with seed and step for the first thing that is wrong. */
export async function simulateCrashes(
  sources: StoreSources,
  options: CrashOptions,
  sightings: Sightings = new Map(),
): Promise<Outcome> {
  const simulation = new CrashSimulation(sources, options, sightings)
  try {
    await simulation.run()
  } catch (cause) {
    const { step, notes } = simulation
    const last = [...notes, String(cause)].join('\n  ')
    throw new Error(`seed ${options.seed}, step ${step}: ${last}`, { cause })
  }
  return simulation.outcome()
}

class CrashSimulation {
  readonly #options: CrashOptions
  readonly #random: SeededRandom
  readonly #temper: Temper
  readonly #callers: Callers
  readonly #disk: SlowDisk
  readonly #history: History
  readonly #world: World
  readonly #saw: World['saw']
  readonly #hash = createHash('sha256')
  readonly notes: string[] = []
  step = 0
  #calls = 0
  #crashes = 0
  #process!: SimulatedProcess
  /** Of who has hung up and will ask again. */
  #comesBack: Call | null = null
  #hasRoom = true
  #time = START

  constructor(sources: StoreSources, options: CrashOptions, sightings: Sightings) {
    const random = new SeededRandom(options.seed)
    const limits = { maxTotalKeys: options.stormKeys * 3, maxPools: MAX_PLACES }
    this.#options = options
    this.#random = random
    this.#temper = temperOf(random)
    this.#callers = new Callers(random, options.stormKeys)
    this.#disk = new SlowDisk(sources.JournalError, random, (group) => {
      this.#handedOver(group)
    })
    this.#history = new History(limits)
    this.#saw = (sighting) => {
      sightings.set(sighting, (sightings.get(sighting) ?? 0) + 1)
    }
    this.#world = {
      sources,
      limits,
      disk: this.#disk,
      history: this.#history,
      random: new SeededRandom(~options.seed),
      note: (what) => {
        this.#note(what)
      },
      saw: this.#saw,
    }
  }

  async run(): Promise<void> {
    this.#start()
    await settled()
    for (; this.step < this.#options.steps; this.step++) {
      await this.#act()
      if (this.#random.chance(0.003)) await this.#calm()
    }
    await this.#calm()
  }

  outcome(): Outcome {
    return {
      hash: this.#hash.digest('hex'),
      hours: (this.#time - START) / HOUR,
      crashes: this.#crashes,
      calls: this.#calls,
    }
  }

  #note(what: string): void {
    this.#hash.update(`${what}\n`)
    this.#options.onNote?.(what)
    this.notes.push(what)
    if (this.notes.length > LAST_NOTES) this.notes.shift()
  }

  /** One thing happens, and all that follows from it at once. */
  async #act(): Promise<void> {
    const process = this.#process
    const temper = this.#temper
    const { clock, phase } = process
    const isOver = phase === 'ended' || process.hasFailed
    const waiters = process.waiters.length
    const mayCall = phase === 'serving' && process.calls.size - waiters < MAX_CALLS
    const action = this.#choose({
      call: mayCall ? temper.call : 0,
      callPools: mayCall && process.poolCall === null ? temper.callPools : 0,
      takeTurn: clock.isWaitedFor ? temper.turn : 0,
      ring: clock.isRinging ? 1 : 0,
      decide: this.#disk.commits > 0 ? temper.commit : 0,
      hear: this.#disk.isUnheard ? temper.commit : 0,
      read: this.#disk.isReading ? 5 : 0,
      passTime: temper.passTime,
      turnRoom: temper.turnRoom * (process.isBusy ? 10 : 1),
      hangUp: phase === 'serving' && waiters > 0 ? temper.hangUp : 0,
      crash: isOver ? 1 : temper.crash * (this.#isDelicate() ? 3 : 1),
    })
    this.#do(action)
    await settled()
    if (process.fault !== null) throw process.fault as Error
  }

  #choose(weights: Record<Action, number>): Action {
    const actions = Object.entries(weights) as [Action, number][]
    const sum = actions.reduce((total, [, weight]) => total + weight, 0)
    let place = (this.#random.uint32() / 2 ** 32) * sum
    for (const [action, weight] of actions) {
      place -= weight
      if (place < 0) return action
    }
    return 'passTime'
  }

  #do(action: Action): void {
    if (action === 'call') this.#call()
    else if (action === 'callPools') this.#callPools()
    else if (action === 'takeTurn') this.#process.clock.takeTurn()
    else if (action === 'ring') this.#process.clock.ring()
    else if (action === 'decide') this.#decide()
    else if (action === 'hear') this.#disk.hear()
    else if (action === 'read') this.#disk.readOn()
    else if (action === 'passTime') this.#passTime()
    else if (action === 'turnRoom') this.#turnRoom()
    else if (action === 'hangUp') this.#hangUp()
    else this.#crash()
  }

  /** A moment at which much is half done. */
  #isDelicate(): boolean {
    const { isReloading, isBusy } = this.#process
    return this.#disk.commits > 0 || this.#disk.isReading || isReloading || isBusy
  }

  /** `leftAt`: how far time had come in the process before. */
  #start(leftAt = START): void {
    const history = this.#history
    const random = this.#random
    const setBack = random.chance(this.#temper.setBackChance)
    const wall = this.#time - (setBack ? random.below(2 ** random.below(23)) : 0)
    if (wall < this.#disk.instant) this.#saw('the clock was set back')
    if (wall < history.shownUntil) this.#saw('the clock was set back behind what had been shown')
    const now = Math.max(wall, this.#disk.instant)
    const keys = [...history.model.pools.values()].flatMap(({ keys }) => keys)
    if (keys.some(({ expiresAt }) => expiresAt > leftAt && expiresAt <= now)) {
      this.#saw('a key died while nobody was there')
    }
    if (keys.some(({ disabledReason }) => disabledReason !== null)) {
      this.#saw('a key was disabled for a reason before a crash')
    }
    if (this.#disk.hasChunks) this.#saw('state was read from chunks')
    history.restarted()
    this.#process = new SimulatedProcess(this.#world, new SimulatedClock(wall))
    watch(this.#world.sources, new Observer(this.#world, this.#process))
    this.#note(`start at ${wall}`)
    this.#process.start(this.#hasRoom)
  }

  #crash(): void {
    const random = this.#random
    const { phase, engine, isReloading, clock } = this.#process
    const { commits } = this.#disk
    const kept = random.below(commits + 1)
    this.#note(`crash, ${phase}; of ${commits} groups under way ${kept} are kept`)
    if (kept > 0) this.#saw('a crash while a commit was under way, which was kept')
    if (kept < commits) this.#saw('a crash while a commit was under way, which was lost')
    if (engine === null) this.#saw('a crash during recovery')
    if (this.#disk.sequence === 0) this.#saw('a crash before anything was on disk')
    if (isReloading) this.#saw('a crash while the state was read anew')
    if (this.#process.waiters.length > 0) this.#saw('somebody was waiting at a crash')
    this.#disk.keepFirst(kept)
    this.#disk.crash()
    this.#goBack()
    this.#crashes++
    this.#time += random.chance(0.5) ? random.below(50) : random.below(2 ** random.below(22))
    this.#start(clock.now())
  }

  /** Only what is on the disk has happened. */
  #goBack(): void {
    const undone = this.#history.backTo(this.#disk.sequence)
    this.#note(`${undone.length} deeds are undone`)
    for (const deed of undone) {
      if (deed.kind !== 'operation') this.#saw('a change of a pool was undone')
      else if ('remembered' in deed.told) this.#saw('the memory of a request was undone')
      else if ('leases' in deed.told) {
        this.#saw('a lease was undone')
        if (this.#process.callOf(deed.operation)?.waiting) {
          this.#saw('a grant to somebody who waited was undone')
        }
      } else if ('keyIds' in deed.told && deed.told.keyIds.length > 10) {
        this.#saw('a create of many was undone')
      }
    }
  }

  #passTime(): void {
    const ms = this.#msToPass()
    this.#time += ms
    this.#process.clock.pass(ms)
    this.#note(`${ms} ms pass`)
  }

  /** Mostly a little; often to when something falls due, or to just before it; seldom long. */
  #msToPass(): number {
    const random = this.#random
    const chosen = random.below(20)
    if (chosen < 12) return random.below(30)
    if (chosen < 15) return random.below(2000)
    if (chosen < 19) return this.#msToDeadline(this.#process.clock.now())
    return random.below(2 ** random.below(21))
  }

  #msToDeadline(now: number): number {
    const { model } = this.#history
    const dues = this.#random.chance(0.2) ? model.forgettings(now) : model.deadlines(now)
    const due = this.#random.pick(dues.slice(0, 3)) ?? now
    return Math.max(0, due - now + this.#random.below(3) - 1)
  }

  #turnRoom(): void {
    this.#hasRoom = !this.#hasRoom
    this.#note(this.#hasRoom ? 'room' : 'no room')
    this.#process.setRoom(this.#hasRoom)
  }

  #handedOver(group: Group): void {
    this.#note(`group ${group.sequence}, ${group.records.length} words`)
    this.#history.closed(group.sequence)
    if (isOfTime(group)) this.#saw('a group held nothing but its instant')
    if (this.#disk.isUnheard) this.#saw('a group was closed before the last one was heard of')
  }

  /** Groups are on disk, or will never be. */
  #decide(): void {
    if (!this.#disk.isUnheard && this.#random.chance(this.#temper.failedChance)) this.#fail()
    else this.#commitOrFill()
  }

  #commitOrFill(): void {
    const fullChance = this.#temper.fullChance * (this.#process.isBusy ? 4 : 1)
    if (!this.#disk.isUnheard && this.#random.chance(fullChance)) this.#fill()
    else this.#commit()
  }

  #commit(): void {
    const count = 1 + this.#random.below(this.#disk.commits)
    if (count > 1) this.#saw('groups were committed together')
    this.#disk.commit(count, ({ sequence, chunks, cut }) => {
      this.#note(`group ${sequence} committed`)
      if (chunks.length > 0) this.#saw('chunks were written')
      if (cut > 1) this.#saw('groups were cut off')
    })
  }

  #fill(): void {
    this.#note(`no room for ${this.#disk.commits} groups`)
    this.#saw('a full disk: the state was read anew')
    if (this.#disk.commits > 1) this.#saw('a group found no room, and others came after it')
    this.#process.filled()
    this.#goBack()
    this.#disk.refuse('full')
  }

  #fail(): void {
    const { commits } = this.#disk
    const kept = this.#random.below(commits + 1)
    this.#note(`of ${commits} groups, which failed, ${kept} are kept`)
    if (kept > 0) this.#saw('a failed commit was kept')
    if (kept < commits) this.#saw('a failed commit was lost')
    this.#disk.keepFirst(kept)
    this.#process.hasFailed = true
    this.#disk.refuse('failed')
  }

  #call(): void {
    const random = this.#random
    if (this.#comesBack !== null) {
      this.#process.askAgain(this.#comesBack)
      this.#comesBack = null
      return
    }
    if (random.chance(0.02)) {
      this.#lookAtAll()
      return
    }
    const pool = random.pick(this.#callers.pools)!
    const { model, lostLeases } = this.#history
    this.#calls++
    const mayRequest = this.#process.waiters.length < MAX_WAITERS
    if (mayRequest && random.chance(this.#temper.requestChance)) {
      this.#request(pool, this.#callers.request(model, pool, lostLeases))
    } else {
      this.#process.run(pool, this.#callers.operations(model, pool, lostLeases))
    }
  }

  /** Somebody has waited long enough, or his connection is gone and he will ask again. */
  #hangUp(): void {
    const process = this.#process
    const call = this.#random.pick(process.waiters)!
    process.hangUp(call)
    if (this.#random.chance(0.5)) this.#comesBack = call
  }

  #request(pool: string, request: Request): void {
    const process = this.#process
    const { kind, repeatable } = request
    if (kind === 'create') process.create(pool, request.count, request.repeatable)
    else if (kind === 'batch') process.run(pool, request.operations, repeatable)
    else process.acquire(pool, request.operation, request.waitMs, repeatable)
  }

  #callPools(): void {
    const random = this.#random
    const name = random.pick(this.#callers.pools)!
    const chosen = random.below(10)
    this.#calls++
    if (chosen < 4) this.#process.putPool(name, this.#callers.policy())
    else if (chosen < 6 && name !== 'default') this.#process.removePool(name)
    else if (chosen < 8) this.#process.askPolicy(name)
    else this.#process.askStats()
  }

  /** Everything that can be seen, in all pools. */
  #lookAtAll(): void {
    const lost = this.#history.lostLeases
    for (const [name, { keys }] of this.#history.model.pools) {
      const leaseIds = keys.flatMap(({ leases }) => leases.slice(-2).map(({ id }) => id))
      const looks: Operation[] = [
        { op: 'list', limit: 10_000 },
        { op: 'describe' },
        ...[...leaseIds, ...lost].map((leaseId): Operation => ({ op: 'showLease', leaseId })),
      ]
      this.#process.run(name, looks)
    }
  }

  /** Nothing new comes, and the disk works, if it finds room: then nobody waits for long. */
  async #calm(): Promise<void> {
    this.#note('calm')
    await this.#wind()
    if (this.#process.phase === 'ended' || this.#process.hasFailed) {
      this.#crash()
      await this.#wind()
    }
    if (this.#process.phase !== 'serving') return
    this.#passTime()
    await this.#wind()
    this.#process.checkRest()
    this.#lookAtAll()
    await this.#wind()
    this.#process.audit()
    if (this.#random.chance(0.3)) {
      this.#process.close()
      await this.#wind()
      this.#crash()
      await settled()
    }
  }

  async #wind(): Promise<void> {
    await settled()
    for (let step = 0; ; step++) {
      const process = this.#process
      if (process.fault !== null) throw process.fault as Error
      if (process.clock.isWaitedFor) process.clock.takeTurn()
      else if (this.#disk.isReading) this.#disk.readOn()
      else if (this.#disk.isUnheard) this.#disk.hear()
      else if (this.#disk.commits > 0) this.#commitOrFill()
      else if (process.clock.isRinging) process.clock.ring()
      else break
      await settled()
      assert(step < CALM_STEPS, 'there is no end of it')
    }
    assert.deepEqual(this.#process.stuck, [], 'somebody waits for ever')
  }
}

/** All that happens at once has happened. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
