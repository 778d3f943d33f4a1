/**
 * A disk whose power can be cut: XFS in a file, which on a shutdown forgets all that was not synced. Needs
 * Linux, root, loop devices and xfsprogs.
 */
import { execFile, execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { isRoot, needTool } from '../support/tools.ts'

/** XFS is no smaller than 300 MB. */
const DISK_BYTES = 400 * 2 ** 20
/** Longer than any of these commands takes. */
const PATIENCE_MS = 30_000
/** They end a process without its noticing. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class PowerDisk implements AsyncDisposable {
  /** Where its files are. */
  readonly path: string
  readonly #image: string
  #mounted = false
  readonly #atExit = (): void => {
    // Even if a server uses it still; the loop device goes with the last file that is open.
    if (this.#mounted) execFileSync('umount', ['--lazy', this.path], { stdio: 'ignore' })
  }
  readonly #atSignal = (signal: NodeJS.Signals): void => {
    if (process.listenerCount(signal) > 0) return // somebody else ends what is under way
    this.#atExit()
    process.kill(process.pid, signal)
  }

  private constructor(directory: string) {
    this.path = mkdtempSync(join(directory, 'disk-'))
    this.#image = `${this.path}.img`
  }

  /** @throws Error with the reason where it cannot be made. */
  static async make(directory: string): Promise<PowerDisk> {
    const disk = new PowerDisk(directory)
    const image = openSync(disk.#image, 'w')
    ftruncateSync(image, DISK_BYTES)
    closeSync(image)
    try {
      await run('mkfs.xfs', '-q', disk.#image)
      process.on('exit', disk.#atExit)
      for (const signal of SIGNALS) process.once(signal, disk.#atSignal)
      await disk.#mount()
    } catch (error) {
      await disk[Symbol.asyncDispose]()
      throw error
    }
    return disk
  }

  /** From now on nothing reaches it, and what was not synced is lost. */
  async cut(): Promise<void> {
    await run('xfs_io', '-x', '-c', 'shutdown', this.path)
  }

  /** The power is back. No file may be open. */
  async restore(): Promise<void> {
    await this.#unmount()
    await this.#mount()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#mounted) await this.#unmount()
      rmSync(this.#image, { force: true })
      rmdirSync(this.path)
    } finally {
      this.#atExit()
      process.off('exit', this.#atExit)
      for (const signal of SIGNALS) process.off(signal, this.#atSignal)
    }
  }

  async #mount(): Promise<void> {
    await run('mount', '-o', 'loop', this.#image, this.path)
    this.#mounted = true
  }

  async #unmount(): Promise<void> {
    await run('umount', this.path)
    this.#mounted = false
  }
}

/** Why no such disk can be made here; null: it can. */
export async function whyNoPowerDisk(directory: string): Promise<string | null> {
  if (!isRoot()) return 'to mount a disk whose power can be cut needs root'
  needTool('mkfs.xfs')
  try {
    await using disk = await PowerDisk.make(directory)
    await disk.cut()
    return null
  } catch (error) {
    return `no disk whose power can be cut: ${(error as Error).message.trim()}`
  }
}

async function run(command: string, ...args: string[]): Promise<void> {
  await promisify(execFile)(command, args, { timeout: PATIENCE_MS })
}
