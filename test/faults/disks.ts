/** Disks that are small, full or read-only. */
import { closeSync, mkdirSync, openSync, rmSync, statSync, truncateSync, writeSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { isRoot, needTool, run } from '../support/tools.ts'

const BLOCKS = [2 ** 20, 4096, 1]

/** Why this machine lets nobody mount anything here; false: it does. */
export const cannotMount: string | false = whyNotMount()

function whyNotMount(): string | false {
  if (process.platform !== 'linux') return 'only Linux has these file systems'
  if (!isRoot()) return 'mounting needs root'
  needTool('mount')
  const probe = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'])
  return probe.status === 0 ? false : `mounting is not allowed: ${String(probe.stderr).trim()}`
}

/** What is mounted at a path, until nobody needs it any more or the process ends. */
export class Mounted implements Disposable {
  readonly path: string

  private constructor(path: string) {
    this.path = path
    process.once('exit', this.#unmount)
  }

  /** A file system in memory that has room for so many MiB. */
  static small(path: string, mebibytes: number): Mounted {
    mkdirSync(path)
    run('mount', '-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', path)
    return new Mounted(path)
  }

  /** A directory, as it is, in which nobody can write. */
  static readOnly(path: string): Mounted {
    run('mount', '--bind', path, path)
    const mounted = new Mounted(path)
    run('mount', '-o', 'remount,bind,ro', path)
    return mounted
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#unmount)
    this.#unmount()
  }

  // Lazily: what still has a file open there must not keep it for ever.
  readonly #unmount = (): void => {
    spawnSync('umount', ['--lazy', this.path])
  }
}

/** A file that takes all the room that its disk has left. */
export class Filler {
  readonly #path: string

  constructor(directory: string) {
    this.#path = join(directory, 'filler')
  }

  /** Returns whether there was room left. */
  fill(): boolean {
    const descriptor = openSync(this.#path, 'a')
    let written = 0
    try {
      for (const size of BLOCKS) written += writeAll(descriptor, Buffer.alloc(size))
    } finally {
      closeSync(descriptor)
    }
    return written > 0
  }

  /** Gives so many bytes back. */
  shrink(bytes: number): void {
    truncateSync(this.#path, statSync(this.#path).size - bytes)
  }

  remove(): void {
    rmSync(this.#path, { force: true })
  }
}

function writeAll(descriptor: number, block: Buffer): number {
  for (let written = 0; ;) {
    try {
      written += writeSync(descriptor, block)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return written
      throw error
    }
  }
}
