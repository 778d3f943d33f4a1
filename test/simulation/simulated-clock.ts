import type { Clock } from '../../src/clock.ts'

interface Alarm {
  instant: number
  callback: () => void
}

/** A process's clock, whose turns and timers come when a simulation says so, or never. */
export class SimulatedClock implements Clock {
  #now: number
  /** Each look at the stopwatch costs some time, so that work with a budget comes to its end. */
  #looks = 0
  readonly #turns: (() => void)[] = []
  readonly #alarms = new Set<Alarm>()

  constructor(wall: number) {
    this.#now = wall
  }

  now(): number {
    return this.#now
  }

  startFrom(instant: number): void {
    this.#now = Math.max(this.#now, instant)
  }

  elapsedMs(): number {
    return this.#looks++ * 0.3
  }

  callAt(instant: number, callback: () => void): () => void {
    const alarm = { instant, callback }
    this.#alarms.add(alarm)
    return () => {
      this.#alarms.delete(alarm)
    }
  }

  yield(): Promise<void> {
    return new Promise((resolve) => this.#turns.push(resolve))
  }

  pass(ms: number): void {
    this.#now += ms
  }

  /** Whether somebody waits for his turn. */
  get isWaitedFor(): boolean {
    return this.#turns.length > 0
  }

  /** Gives the turn to who has waited longest. */
  takeTurn(): void {
    this.#turns.shift()!()
  }

  get isRinging(): boolean {
    return this.#due() !== undefined
  }

  ring(): void {
    const alarm = this.#due()!
    this.#alarms.delete(alarm)
    alarm.callback()
  }

  #due(): Alarm | undefined {
    return [...this.#alarms].find(({ instant }) => instant <= this.#now)
  }
}
