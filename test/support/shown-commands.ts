/** The commands that a document shows, done in a shell as a reader would. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Command, MAIN, ROOT } from './command.ts'

/** Where the documents say that the server is. */
const SHOWN_PORT = ':3000'

/** The blocks of a document that are marked as that language, in order. */
export function blocksOf(file: string, language: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const fence = new RegExp(`^( *)\`\`\`${language}\\n(.*?)^\\1\`\`\``, 'gms')
  return [...text.matchAll(fence)].map(([, indent, block]) =>
    block!.replaceAll(`\n${indent!}`, '\n'),
  )
}

/** A folder with the files that a document supposes, and a shell that finds the CLI. */
export class Reader implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))

  constructor() {
    const cli = `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`
    this.has('.bin/token-orchestrator', cli)
    chmodSync(join(this.directory, '.bin/token-orchestrator'), 0o755)
  }

  has(file: string, text: string): void {
    const path = join(this.directory, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text, { mode: 0o600 })
  }

  /** Does what the blocks say, one after another, until a command fails. @returns what they print. */
  async follow(blocks: string[], port: number): Promise<string> {
    assert(blocks.length > 0)
    const script = ['set -euo pipefail', ...blocks].join('\n').replaceAll(SHOWN_PORT, `:${port}`)
    const env = {
      PATH: `${join(this.directory, '.bin')}:${process.env.PATH ?? ''}`,
      TOKEN_ORCHESTRATOR_URL: `http://127.0.0.1:${port}`,
    }
    await using shell = new Command('bash', ['-c', script], { cwd: this.directory, env })
    const code = await shell.code
    assert.equal(code, 0, `${shell.stdout}${shell.stderr}`)
    return shell.stdout
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true })
  }
}
