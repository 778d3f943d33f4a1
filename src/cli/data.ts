/** The commands that look after saved data: backup, restore, check. */
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { copyFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigError } from './config-error.ts'
import { readAs } from './config.ts'
import { JournalError } from '../store/embedded/journal.ts'
import { syncPath } from '../store/embedded/sqlite/database.ts'
import { DATABASE_FILE } from '../store/embedded/sqlite/format.ts'
import { type Verdict, verifyDirectory, verifyFile } from '../store/embedded/sqlite/verify.ts'
import { serverOf } from './remote/api.ts'
import { type Flag, flagsHelp, readFlags } from './flags.ts'
import { COMMON_FLAGS } from './remote/command.ts'

export const BACKUP_FLAGS: Record<string, Flag> = {
  url: COMMON_FLAGS.url,
  'token-file': COMMON_FLAGS['token-file'],
}

export const DATA_FLAGS: Record<string, Flag> = {
  'data-dir': {
    placeholder: 'DIRECTORY',
    help: 'the data directory (TOKEN_ORCHESTRATOR_DATA_DIR, else ./data)',
  },
}

export const BACKUP_HELP = `Usage: token-orchestrator backup FILE [--url URL] [--token-file FILE]

Copies what a running server has saved into FILE, while it serves, and checks the copy. A server
that has access tokens wants one with the scope admin.

${flagsHelp(BACKUP_FLAGS)}
`

export const RESTORE_HELP = `Usage: token-orchestrator restore FILE [--data-dir DIRECTORY]

Checks a backup and makes a data directory of it, in which there must be no data yet.

${flagsHelp(DATA_FLAGS)}
`

export const CHECK_HELP = `Usage: token-orchestrator check [FILE] [--data-dir DIRECTORY]

Reads all of a backup, or of a data directory that no server uses, and says what is wrong
with it. The exit code is 1 if anything is.

${flagsHelp(DATA_FLAGS)}
`

/** @returns the exit code, as all commands here. */
export async function backup(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const { file, options } = read(args, BACKUP_FLAGS)
  if (file === undefined) throw new ConfigError('name the FILE that the backup goes to')
  const { url, token } = serverOf(options.url, options['token-file'], env)
  refuseExisting(file)
  const partial = `${file}.partial`
  try {
    await fetchBackup(new URL('/v1/backup', url), token, partial)
    const verdict = verifyFile(partial)
    if (verdict.faults.length > 0) return report('the backup', verdict)
    syncPath(partial)
    renameSync(partial, file)
    syncPath(dirname(resolve(file)))
    return report(file, verdict)
  } finally {
    rmSync(partial, { force: true })
  }
}

export async function restore(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const { file, options } = read(args, DATA_FLAGS)
  const directory = readAs('dataDir', 'data-dir', options['data-dir'], env)
  if (file === undefined) throw new ConfigError('name the FILE to restore')
  const target = join(directory, DATABASE_FILE)
  refuseExisting(target)
  const verdict = verifyFile(file)
  if (verdict.faults.length > 0) return report(file, verdict)
  const partial = `${target}.partial`
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    await copyFile(file, partial)
    syncPath(partial)
    renameSync(partial, target)
    syncPath(directory)
  } finally {
    rmSync(partial, { force: true })
  }
  return report(directory, verdict)
}

export async function check(args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const { file, options } = read(args, DATA_FLAGS)
  if (file !== undefined && options['data-dir'] !== undefined) {
    throw new ConfigError('name a FILE or --data-dir, not both')
  }
  const directory = readAs('dataDir', 'data-dir', options['data-dir'], env)
  const what = file ?? directory
  const isDirectory = (await stat(what).catch(() => null))?.isDirectory() ?? file === undefined
  return report(what, isDirectory ? verifyDirectory(what) : verifyFile(what))
}

interface Read {
  file: string | undefined
  options: Record<string, string | undefined>
}

function read(args: string[], flags: Record<string, Flag>): Read {
  const { values, words } = readFlags(args, flags, '[FILE]')
  return { file: words[0], options: values as Record<string, string | undefined> }
}

function refuseExisting(file: string): void {
  if (!existsSync(file)) return
  throw new JournalError('inaccessible', `${file} is there already; move it away first`)
}

async function fetchBackup(url: URL, token: string | undefined, file: string): Promise<void> {
  const headers: Record<string, string> =
    token === undefined ? {} : { authorization: `Bearer ${token}` }
  let response
  try {
    response = await fetch(url, { headers })
  } catch (error) {
    const { cause } = error as Error
    const why = cause instanceof Error ? cause.message : String(error)
    throw new JournalError('inaccessible', `no server answers at ${url.origin}: ${why}`)
  }
  if (!response.ok || response.body === null) {
    const text = await response.text()
    const refused = whyRefused(text)
    const said =
      refused === null ? `${url.href}: ${response.status} ${text}` : `${url.origin} ${refused}`
    throw new JournalError('inaccessible', said)
  }
  try {
    await pipeline(Readable.fromWeb(response.body), createWriteStream(file, { mode: 0o600 }))
  } catch (error) {
    const { message } = error as Error
    throw new JournalError('inaccessible', `the backup did not arrive whole: ${message}`)
  }
}

/** What an answer says of the access token, in words for the command line; null: nothing. */
function whyRefused(answer: string): string | null {
  if (answer.includes('"access_token_required"')) {
    return 'wants an access token: name a file with --token-file, or set TOKEN_ORCHESTRATOR_TOKEN'
  }
  if (answer.includes('"access_token_invalid"')) {
    return 'does not know this access token: it is wrong, deleted or expired'
  }
  return answer.includes('"missing_scope"') ? 'wants an access token with the scope admin' : null
}

function report(what: string, verdict: Verdict): number {
  const { faults, keys, pools, chunks, groups } = verdict
  if (faults.length > 0) {
    process.stderr.write(`token-orchestrator: ${what} is damaged:\n`)
    for (const fault of faults) process.stderr.write(`  ${fault}\n`)
    return 1
  }
  const instant = new Date(verdict.instant).toISOString()
  process.stdout.write(
    `${what}: no faults. ${keys} keys in ${pools.length} pools as of ${instant}; ` +
      `${chunks} chunks and ${groups} groups of changes.\n`,
  )
  return 0
}
