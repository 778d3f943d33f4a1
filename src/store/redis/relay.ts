/** What is done through one server, told to the others while somebody listens there: all on one channel, which is `layout.changes`. */
import type { Clock } from '../../clock.ts'
import type { Tally } from '../../engine/changes.ts'
import { randomSecret } from '../../engine/packed-ids.ts'
import type { Random } from '../../engine/random.ts'
import type { PoolChange, StoreEvents } from '../store.ts'
import type { Connection } from './connection.ts'
import type { Layout } from './layout.ts'
import { changeFromWire, type WireChange } from './wire.ts'

const TOLD_EVERY_MS = 100
/** Changes of a pool that are told one by one at a time, as many as a reader is. */
const CHANGES_AT_A_TIME = 1000
/** After so many pulses of their own all servers tell this one; who says nothing for longer is gone. */
const PULSES_TO_BE_TOLD = 3

interface Told {
  changes: WireChange[]
  /** Beside those. */
  more: Tally
}

interface Message {
  from: string
  /** One more than that of the message before. */
  number: number
  pools: [pool: string, changes: WireChange[], more: Tally][]
  poolChanges: [pool: string, change: PoolChange][]
}

export class Relay {
  readonly #connection: Connection
  readonly #channel: string
  readonly #clock: Clock
  readonly #events: StoreEvents
  /** Tells this server's messages from those of others. */
  readonly #self: string
  #othersListen = false
  #isListening = false
  /** A message to itself is on its way, by which it sees that messages come. */
  #awaitsOwn = false
  /** Pulses until nothing is missed any more; 0: nothing is. */
  #missesFor = 0
  #pools = new Map<string, Told>()
  #poolChanges: Message['poolChanges'] = []
  #number = 0
  /** By sender, the number of the last message that was heard, and how many pulses ago that was. */
  readonly #senders = new Map<string, { number: number; quietFor: number }>()
  #stopTelling: (() => void) | null = null

  constructor(
    connection: Connection,
    layout: Layout,
    clock: Clock,
    random: Random,
    events: StoreEvents,
  ) {
    this.#connection = connection
    this.#channel = layout.changes
    this.#clock = clock
    this.#events = events
    this.#self = randomSecret(random)
    connection.links.listen((channel, message) => {
      if (channel === this.#channel) this.#hear(message!)
      // Messages may have been missed, and will be until the others see that this server listens again.
      else if (channel === null && this.#isListening) this.#missesFor = PULSES_TO_BE_TOLD
    })
  }

  /** Whether somebody here or elsewhere wants to be told each change now. */
  get isHeard(): boolean {
    return this.#othersListen || this.#isHeardHere
  }

  get #isHeardHere(): boolean {
    const { changed, isHeard = () => true } = this.#events
    return changed !== undefined && isHeard()
  }

  /** Once a second. `listeners` servers listen to the channel, this one among them if it does. */
  look(listeners: number): void {
    const toldBefore = this.#othersListen
    this.#othersListen = listeners > (this.#isListening ? 1 : 0)
    if (this.#othersListen && !toldBefore) this.#number++ // whoever has heard this server before has missed something
    if (this.#missesFor > 0 && --this.#missesFor === 0) this.#events.missed?.()
    const { links } = this.#connection
    if (!this.#isHeardHere) {
      if (this.#isListening) links.unsubscribe(this.#channel).catch(() => undefined)
      this.#isListening = false
      this.#missesFor = 0
    } else if (!this.#isListening || this.#awaitsOwn) {
      // In a cluster another node may have the channel by now.
      links.subscribe(this.#channel).catch(() => undefined)
      this.#isListening = true
      this.#missesFor = PULSES_TO_BE_TOLD
      this.#senders.clear()
    }
    this.#awaitsOwn = this.#isListening
    for (const [from, sender] of this.#senders) {
      if (++sender.quietFor <= PULSES_TO_BE_TOLD) continue
      this.#senders.delete(from)
      this.#events.missed?.() // it may have ended before it told what it did
    }
    // If there is nothing to tell, by its number whoever listens sees that he has missed nothing.
    if (this.#isListening || this.#othersListen) this.#tell()
  }

  /** This server has done that, in this order. */
  changed(pool: string, changes: readonly WireChange[]): void {
    if (this.#isHeardHere) this.#events.changed!(changes.map((one) => changeFromWire(one, pool)))
    if (!this.#othersListen) return
    const told = this.#pools.get(pool) ?? { changes: [], more: {} }
    this.#pools.set(pool, told)
    const room = CHANGES_AT_A_TIME - told.changes.length
    told.changes.push(...changes.slice(0, room))
    for (const [kind] of changes.slice(room)) told.more[kind] = (told.more[kind] ?? 0) + 1
    this.#tellSoon()
  }

  /** So has a caller of this server, who sees to those who listen here. */
  poolChanged(pool: string, change: PoolChange): void {
    if (!this.#othersListen) return
    this.#poolChanges.push([pool, change])
    this.#tell() // before anything that is done to the pool afterwards
  }

  /** The outcome of a call is unknown: what it did is told to nobody. Many may fail at once, and readers are told once. */
  lost(): void {
    if (this.#isListening) this.#missesFor = Math.max(this.#missesFor, 1)
    this.#number++
  }

  close(): void {
    this.#stopTelling?.()
  }

  #tellSoon(): void {
    this.#stopTelling ??= this.#clock.callAt(this.#clock.now() + TOLD_EVERY_MS, () => {
      this.#tell()
    })
  }

  #tell(): void {
    this.#stopTelling?.()
    this.#stopTelling = null
    const message: Message = {
      from: this.#self,
      number: ++this.#number,
      pools: [...this.#pools].map(([pool, { changes, more }]) => [pool, changes, more]),
      poolChanges: this.#poolChanges,
    }
    this.#pools = new Map()
    this.#poolChanges = []
    // Whoever does not get it will see so by the number of the next one.
    const told = this.#connection.read(this.#channel, 'SPUBLISH', JSON.stringify(message))
    told.catch(() => undefined)
  }

  #hear(text: string): void {
    const { from, number, pools, poolChanges } = JSON.parse(text) as Message
    if (from === this.#self) {
      this.#awaitsOwn = false
      return
    }
    const before = this.#senders.get(from)?.number
    if (number === before) return // it was sent again
    this.#senders.set(from, { number, quietFor: 0 })
    for (const [pool, changes, more] of pools) {
      this.#events.changed?.(changes.map((one) => changeFromWire(one, pool)))
      if (Object.keys(more).length > 0) this.#events.tallied?.(pool, more)
    }
    for (const [pool, change] of poolChanges) this.#events.poolChanged?.(pool, change)
    if (before !== undefined && number !== before + 1) this.#events.missed?.()
  }
}
