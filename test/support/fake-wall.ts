import { writeFileSync } from 'node:fs'
import { needTool, run } from './tools.ts'

let library: string | undefined

/** The wrapper calls a semaphore after its pid, which one that was killed may have left behind. */
function findLibrary(tries = 5): string {
  try {
    library ??= run(needTool('faketime'), '-f', '+0s', 'printenv', 'LD_PRELOAD').trim()
    return library
  } catch (error) {
    if (tries === 1) throw error
    return findLibrary(tries - 1)
  }
}

/** A wall clock that can be set, for programs with this environment; their monotonic clock and ours stay as they are. */
export class FakeWall {
  readonly #file: string

  constructor(file: string) {
    this.#file = file
    this.setBy(0)
  }

  get env(): Record<string, string> {
    return {
      LD_PRELOAD: findLibrary(),
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    }
  }

  setBy(offsetMs: number): void {
    writeFileSync(this.#file, `${offsetMs < 0 ? '' : '+'}${offsetMs / 1000}\n`)
  }
}
