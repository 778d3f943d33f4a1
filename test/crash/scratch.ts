import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A directory of its own. `using` removes it. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'token-orchestrator-crash-'))

  /** A data directory that does not exist yet, on this disk or where a disk is mounted. */
  dataDir(parent = this.path): string {
    return join(mkdtempSync(join(parent, 'run-')), 'data')
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
