import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Place } from './tested-server.ts'

/** A directory of its own. `using` removes it. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'token-orchestrator-crash-'))

  /** A data directory that does not exist yet, on this disk or where a disk is mounted. */
  place(parent = this.path): Place {
    const codeDir = join(this.path, 'code')
    mkdirSync(codeDir, { recursive: true })
    return { dataDir: join(mkdtempSync(join(parent, 'run-')), 'data'), codeDir }
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
