import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { Command, listeningPort, ROOT } from '../support/command.ts'

/** A server in a process of its own, from its sources or from a copy of them. */
export async function startTried(
  where: '--memory' | `--data-dir=${string}` | `--redis=${string}`,
  root = ROOT,
): Promise<{ port: number } & AsyncDisposable> {
  const main = join(root, 'src/cli/main.ts')
  const command = new Command(process.execPath, [main, 'serve', where, '--port', '0'])
  const port = await listeningPort(command)
  return { port, [Symbol.asyncDispose]: () => command[Symbol.asyncDispose]() }
}

/** A copy of the sources, in which `find` is replaced, as a root to start a server from. */
export function copyWithBug(
  root: string,
  { file, find, replace }: { file: string; find: string; replace: string },
): void {
  for (const name of ['src', 'package.json']) {
    cpSync(join(ROOT, name), join(root, name), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  const path = join(root, 'src', file)
  const [head, tail, ...more] = readFileSync(path, 'utf8').split(find)
  assert(tail !== undefined && more.length === 0, `once in ${file}: ${find}`)
  writeFileSync(path, head! + replace + tail)
}
