import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'

const BYTES = 16

/**
 * The latest instant, written in its place again and again, which needs no room: so that on a disk that is
 * quite full what time has done can still be shown, and is not taken back after a restart.
 */
export class InstantFile {
  readonly #descriptor: number
  readonly #bytes = Buffer.alloc(BYTES)

  /** @throws the system's error where the file cannot be made or read. */
  constructor(directory: string) {
    const file = join(directory, 'instant')
    // Made where it is missing, and never emptied.
    this.#descriptor = openSync(file, constants.O_RDWR | constants.O_CREAT, 0o600)
    if (this.read() === 0) this.write(0)
  }

  /** ms since the epoch; 0: none was written, or not to its end. */
  read(): number {
    this.#bytes.fill(0)
    readSync(this.#descriptor, this.#bytes, 0, BYTES, 0)
    const isWhole = this.#bytes.readUInt32LE(8) === crc32(this.#bytes.subarray(0, 8))
    return isWhole ? this.#bytes.readDoubleLE(0) : 0
  }

  write(instant: number): void {
    this.#bytes.writeDoubleLE(instant, 0)
    this.#bytes.writeUInt32LE(crc32(this.#bytes.subarray(0, 8)), 8)
    writeSync(this.#descriptor, this.#bytes, 0, BYTES, 0)
    fsyncSync(this.#descriptor)
  }

  close(): void {
    closeSync(this.#descriptor)
  }
}
