#!/usr/bin/env node
import { ConfigError } from '../config.ts'
import { ERRORS } from '../engine/errors.ts'
import { JournalError } from '../store/embedded/journal.ts'
import { MasterKeyError } from '../service/vault.ts'
import { RedisError } from '../store/redis/open.ts'
import { StoreFailure } from '../store/store.ts'
import { version } from '../version.ts'
import { backup, BACKUP_HELP, check, CHECK_HELP, restore, RESTORE_HELP } from './data.ts'
import { serve, SERVE_HELP } from './serve.ts'

const HELP = `Usage: token-orchestrator COMMAND

Hands out API keys, one holder at a time, over HTTP.

  serve          start the server
  backup FILE    copy what a running server has saved
  restore FILE   make a data directory of a backup
  check [FILE]   look for damage in a data directory or a backup
  --version      show the version
  --help         show this text; after a command, its options
`

const COMMANDS: Record<string, { help: string; run: typeof serve }> = {
  serve: { help: SERVE_HELP, run: serve },
  backup: { help: BACKUP_HELP, run: backup },
  restore: { help: RESTORE_HELP, run: restore },
  check: { help: CHECK_HELP, run: check },
}

/** A command line that cannot be understood. */
const USAGE_ERROR = 2

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name!] : undefined
  if (command !== undefined) {
    if (!rest.includes('--help') && !rest.includes('-h')) return command.run(rest, process.env)
    process.stdout.write(command.help)
    return 0
  }
  switch (name) {
    case '--version':
      process.stdout.write(`${version()}\n`)
      return 0
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(HELP)
      return 0
    default:
      if (name !== undefined) process.stderr.write(`${whatIsWrong(name)}\n\n`)
      process.stderr.write(HELP)
      return USAGE_ERROR
  }
}

function whatIsWrong(command: string): string {
  return command.startsWith('-')
    ? `token-orchestrator: the command goes before its options: token-orchestrator serve ${command}`
    : `token-orchestrator: unknown command "${command}".`
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (error instanceof ConfigError) {
    const command = process.argv[2]!
    process.stderr.write(
      `token-orchestrator: ${error.message}\nSee token-orchestrator ${command} --help.\n`,
    )
    process.exitCode = USAGE_ERROR
  } else if (
    error instanceof JournalError ||
    error instanceof MasterKeyError ||
    error instanceof RedisError
  ) {
    process.stderr.write(`token-orchestrator: ${error.message}\n`)
    process.exitCode = 1
  } else if (error instanceof StoreFailure) {
    const { title } = ERRORS[error.code]
    process.stderr.write(`token-orchestrator: it cannot start: ${title} (${error.message})\n`)
    process.exitCode = 1
  } else {
    throw error
  }
}
