#!/usr/bin/env node
import { ConfigError } from './config-error.ts'
import { ERRORS } from '../engine/errors.ts'
import { JournalError } from '../store/embedded/journal.ts'
import { MasterKeyError } from '../service/vault.ts'
import { RedisError } from '../store/redis/redis-error.ts'
import { StoreFailure } from '../store/store.ts'
import { newerNode, version } from '../version.ts'
import { COMMANDS, commandsHelp } from './commands.ts'
import { ApiError } from './remote/api.ts'
import { suggestion } from './suggest.ts'

const HELP = `Usage: token-orchestrator COMMAND

Hands out API keys, one holder at a time, over HTTP.

${commandsHelp()}
`

/** A command line that cannot be understood. */
const USAGE_ERROR = 2

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args
  if (name !== undefined && Object.hasOwn(COMMANDS, name)) {
    const { loadsStore, load } = COMMANDS[name]!
    const wanted = loadsStore === true ? newerNode() : null
    if (wanted !== null) {
      const has = process.versions.node
      process.stderr.write(
        `token-orchestrator: ${name} needs Node.js ${wanted} or later; this is ${has}.\n`,
      )
      return 1
    }
    const { help, run } = await load()
    const end = rest.indexOf('--')
    const own = end < 0 ? rest : rest.slice(0, end) // what follows is another command's
    if (!own.includes('--help') && !own.includes('-h')) return run(rest, process.env)
    process.stdout.write(help(rest))
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
    : `token-orchestrator: unknown command "${command}"${suggestion(command, Object.keys(COMMANDS)) || '.'}`
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
    error instanceof ApiError ||
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
