import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const RESERVE_BYTES = 16 * 2 ** 20
const BLOCK_BYTES = 2 ** 20

/**
 * A file that is there only to be deleted: when the disk is full, what is under way finds room in its
 * place, and what comes later can be refused before it has changed anything.
 */
export class ReserveFile {
  readonly #directory: string
  readonly #path: string

  constructor(directory: string) {
    this.#directory = directory
    this.#path = join(directory, 'reserve')
  }

  /** Makes the reserve, if there is room for it and some more. Returns whether it is there. */
  fill(): boolean {
    if (this.#size() === RESERVE_BYTES) return true
    const { bavail, bsize } = statfsSync(this.#directory)
    if (bavail * bsize < 2 * RESERVE_BYTES - this.#size()) return false
    // Random bytes, for some file systems need no room for zeros.
    const block = randomFillSync(Buffer.alloc(BLOCK_BYTES))
    const descriptor = openSync(this.#path, 'w', 0o600)
    try {
      for (let left = RESERVE_BYTES; left > 0; left -= BLOCK_BYTES) writeSync(descriptor, block)
      return true
    } catch {
      this.spend()
      return false
    } finally {
      closeSync(descriptor)
    }
  }

  /** Gives the room away. Returns whether there was any. */
  spend(): boolean {
    const there = this.#size() > 0
    rmSync(this.#path, { force: true })
    return there
  }

  #size(): number {
    return statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0
  }
}
