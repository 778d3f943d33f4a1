/** How far something has come, on a terminal only and on one line. */
const WIDTH = 30
const REDRAW_MS = 100

export class Bar {
  readonly #total: number | null
  readonly #isShown = process.stderr.isTTY
  #drawnAt = 0

  /** @param total null: it is not known. */
  constructor(total: number | null) {
    this.#total = total
  }

  show(done: number, text: string): void {
    const now = performance.now()
    if (!this.#isShown || now < this.#drawnAt + REDRAW_MS) return
    this.#drawnAt = now
    const share = this.#total === null ? null : Math.min(1, done / this.#total)
    const full = Math.round((share ?? 0) * WIDTH)
    const bar = share === null ? '' : `[${'#'.repeat(full)}${' '.repeat(WIDTH - full)}] `
    process.stderr.write(`\r\x1b[K${bar}${text}`)
  }

  /** Leaves the line empty. */
  clear(): void {
    if (this.#isShown) process.stderr.write('\r\x1b[K')
  }
}
