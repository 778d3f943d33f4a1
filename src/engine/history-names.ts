import type { Save } from './unsaved.ts'

/**
 * Names that records of the history tell by number, each once. What is saved of one that no record tells any more
 * is of no use; it goes when its number is given to another.
 */
export class HistoryNames {
  readonly #save: Save
  readonly #numbers = new Map<string, number>()
  readonly #texts: (string | null)[] = [null]
  /** By number: records that tell it. */
  readonly #uses: number[] = [0]
  readonly #free: number[] = []

  constructor(save: Save) {
    this.#save = save
  }

  /** The number of a name that one more record tells; 0: it tells none. */
  use(name: string | null | undefined): number {
    if (name === null || name === undefined) return 0
    const number = this.#numbers.get(name) ?? this.#add(name)
    this.#uses[number]!++
    return number
  }

  /** A record that tells it is gone. */
  drop(number: number): void {
    if (number === 0 || --this.#uses[number]! > 0) return
    this.#forget(number)
  }

  textOf(number: number): string | null {
    return this.#texts[number] ?? null
  }

  /** From before a restart, saved already; the records that tell it follow. */
  restore(number: number, name: string): void {
    while (this.#texts.length <= number) {
      this.#texts.push(null)
      this.#uses.push(0)
    }
    this.#texts[number] = name
  }

  /** From before a restart: one more record tells it. */
  restoreUse(number: number): void {
    if (number !== 0) this.#uses[number]!++
  }

  /** All records are there. */
  restored(): void {
    for (let number = this.#texts.length - 1; number > 0; number--) {
      if (this.#uses[number]! > 0) this.#numbers.set(this.#texts[number]!, number)
      else this.#forget(number)
    }
  }

  #add(name: string): number {
    const number = this.#free.pop() ?? this.#texts.length
    this.#texts[number] = name
    this.#uses[number] = 0
    this.#numbers.set(name, number)
    this.#save(`history/${number}`, name)
    return number
  }

  #forget(number: number): void {
    const name = this.#texts[number]
    if (typeof name === 'string') this.#numbers.delete(name)
    this.#texts[number] = null
    this.#free.push(number)
  }
}
