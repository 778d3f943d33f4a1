/** The commands that a document shows, done in a shell as a reader would. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Command, MAIN, ROOT } from './command.ts'

/** The parts of a document by their headings; what comes before the first is under ''. */
export function sectionsOf(file: string): Map<string, string> {
  const [head, ...sections] = readFileSync(join(ROOT, file), 'utf8').split(/^## /m)
  const named = sections.map((section) => {
    const end = section.indexOf('\n')
    return [section.slice(0, end), section.slice(end)] as const
  })
  return new Map([['', head!], ...named])
}

/** The blocks of a text that are marked as that language, in order. */
export function blocksIn(text: string, language: string): string[] {
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

  /**
   * Does what the blocks say, one after another, until a command fails.
   * @param ports what is shown, the server's 3000 above all, and what it really is.
   * @returns what they print.
   */
  async follow(
    blocks: string[],
    ports: Readonly<Record<number, number>> & { 3000: number },
    variables: Record<string, string> = {},
  ): Promise<string> {
    assert(blocks.length > 0)
    let script = ['set -euo pipefail', ...blocks].join('\n')
    for (const [shown, real] of Object.entries(ports))
      script = script.replaceAll(`:${shown}`, `:${real}`)
    const env = {
      PATH: `${join(this.directory, '.bin')}:${process.env.PATH ?? ''}`,
      TOKEN_ORCHESTRATOR_URL: `http://127.0.0.1:${ports[3000]}`,
      ...variables,
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
