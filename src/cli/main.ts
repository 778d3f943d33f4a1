#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { ConfigError } from '../config.ts'
import { serve } from './serve.ts'

const HELP = `Usage: token-orchestrator COMMAND

Hands out API keys, one holder at a time, over HTTP.

  serve          start the server ("serve --help" shows its options)
  --version      show the version
  --help         show this text
`

/** A command line that cannot be understood. */
const USAGE_ERROR = 2

async function main(args: string[]): Promise<number> {
  const [command, ...rest] = args
  switch (command) {
    case 'serve':
      return serve(rest, process.env)
    case '--version':
      process.stdout.write(`${version()}\n`)
      return 0
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(HELP)
      return 0
    default:
      if (command !== undefined) process.stderr.write(`${whatIsWrong(command)}\n\n`)
      process.stderr.write(HELP)
      return USAGE_ERROR
  }
}

function whatIsWrong(command: string): string {
  return command.startsWith('-')
    ? `token-orchestrator: the command goes before its options: token-orchestrator serve ${command}`
    : `token-orchestrator: unknown command "${command}".`
}

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof ConfigError)) throw error
  process.stderr.write(
    `token-orchestrator: ${error.message}\nSee token-orchestrator serve --help.\n`,
  )
  process.exitCode = USAGE_ERROR
}
