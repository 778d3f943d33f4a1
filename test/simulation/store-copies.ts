/** Copies of the sources with changes in their text: other constants, or a promise broken on purpose. */
import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as engineModule from '../../src/engine/engine.ts'
import type * as orchestratorModule from '../../src/service/orchestrator.ts'
import type * as embeddedModule from '../../src/store/embedded/embedded-store.ts'
import type * as journalModule from '../../src/store/embedded/journal.ts'
import type * as storeModule from '../../src/store/store.ts'

const SOURCES = join(import.meta.dirname, '../../src')
const COPIED = ['engine', 'store', 'service', 'clock.ts']

/** A text that a file contains exactly once, and what comes in its place. */
export interface Edit {
  file: string
  find: string
  replace: string
}

/** What a simulation needs of the sources. */
export type StoreSources = Pick<typeof engineModule, 'Engine'> &
  Pick<typeof orchestratorModule, 'Orchestrator'> &
  Pick<typeof embeddedModule, 'EmbeddedStore'> &
  Pick<typeof journalModule, 'JournalError'> &
  Pick<typeof storeModule, 'StoreFailure'>

/** Slices, turns and chunks of a few keys, so that a small state needs many of them. */
export const SMALL_SLICES: Edit[] = [
  {
    file: 'engine/engine.ts',
    find: 'SETTLED_BEFORE_RUN = 16',
    replace: 'SETTLED_BEFORE_RUN = 2',
  },
  {
    file: 'engine/pool.ts',
    find: 'MAX_REAPED_PER_DRAW = 128',
    replace: 'MAX_REAPED_PER_DRAW = 2',
  },
  {
    file: 'engine/unsaved.ts',
    find: 'TIDIED_A_GROUP = 1000',
    replace: 'TIDIED_A_GROUP = 1',
  },
  {
    file: 'store/embedded/embedded-store.ts',
    find: 'KEYS_A_LOOK = 64',
    replace: 'KEYS_A_LOOK = 4',
  },
  { file: 'engine/import.ts', find: 'KEYS_A_TURN = 1000', replace: 'KEYS_A_TURN = 2' },
  { file: 'store/embedded/recover.ts', find: 'SLOTS_A_TURN = 10_000', replace: 'SLOTS_A_TURN = 8' },
  { file: 'store/embedded/chunks.ts', find: 'CHUNK_SLOTS = 1024', replace: 'CHUNK_SLOTS = 4' },
  {
    file: 'store/embedded/chunks.ts',
    find: 'SMALLEST_JOURNAL_BYTES = 64 * 2 ** 20',
    replace: 'SMALLEST_JOURNAL_BYTES = 2048',
  },
  {
    file: 'store/embedded/chunks.ts',
    find: 'MAX_CHUNKS_A_GROUP = 16',
    replace: 'MAX_CHUNKS_A_GROUP = 2',
  },
]

/** Makes copies in a directory of its own, which goes with them. */
export class Copies {
  readonly #directory: string
  #number = 0

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async open(): Promise<Copies> {
    const directory = await mkdtemp(join(tmpdir(), 'copies-'))
    await writeFile(join(directory, 'package.json'), '{"type":"module"}')
    return new Copies(directory)
  }

  async load(edits: readonly Edit[]): Promise<StoreSources> {
    const copy = join(this.#directory, String(this.#number++))
    for (const name of COPIED) await cp(join(SOURCES, name), join(copy, name), { recursive: true })
    for (const edit of edits) await apply(copy, edit)
    const load = (file: string): Promise<object> =>
      import(pathToFileURL(join(copy, file)).href) as Promise<object>
    return {
      ...(await load('engine/engine.ts')),
      ...(await load('service/orchestrator.ts')),
      ...(await load('store/embedded/embedded-store.ts')),
      ...(await load('store/embedded/journal.ts')),
      ...(await load('store/store.ts')),
    } as StoreSources
  }

  remove(): Promise<void> {
    return rm(this.#directory, { recursive: true })
  }
}

async function apply(copy: string, { file, find, replace }: Edit): Promise<void> {
  const path = join(copy, file)
  const [head, tail, ...more] = (await readFile(path, 'utf8')).split(find)
  assert(tail !== undefined && more.length === 0, `once in ${file}: ${find}`)
  await writeFile(path, head! + replace + tail)
}
