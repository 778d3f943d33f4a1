import type { Clock } from '../../src/clock.ts'

interface Alarm {
  instant: number
  callback: () => void
}

/** Time that stands still until a test moves it. */
export class VirtualClock implements Clock {
  #now: number
  readonly #alarms = new Set<Alarm>()

  constructor(start = Date.UTC(2030, 0, 1)) {
    this.#now = start
  }

  now(): number {
    return this.#now
  }

  startFrom(instant: number): void {
    this.#now = Math.max(this.#now, instant)
  }

  elapsedMs(): number {
    return this.#now
  }

  callAt(instant: number, callback: () => void): () => void {
    const alarm = { instant, callback }
    this.#alarms.add(alarm)
    return () => {
      this.#alarms.delete(alarm)
    }
  }

  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Resolves when what a callback has begun is done, as far as is known. */
  idle(): Promise<unknown> {
    return this.yield()
  }

  /** Moves time forward and calls back, in order and each at its instant, all that is due by then. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (let alarm = this.#next(); alarm && alarm.instant <= end; alarm = this.#next()) {
      this.#alarms.delete(alarm)
      this.#now = Math.max(this.#now, alarm.instant)
      alarm.callback()
      await this.idle()
    }
    this.#now = end
  }

  #next(): Alarm | undefined {
    let next: Alarm | undefined
    for (const alarm of this.#alarms) {
      if (next === undefined || alarm.instant < next.instant) next = alarm
    }
    return next
  }
}
