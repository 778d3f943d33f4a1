/** Commands that ask a running server: how they are described, read from a command line and shown in the help. */
import { columns, type Flag, flagsHelp, readFlags } from '../flags.ts'
import { ConfigError } from '../config-error.ts'
import { Api } from './api.ts'
import { Output } from './output.ts'
import { suggestion } from '../suggest.ts'

/** What a command line says. */
export interface Call {
  /** The arguments that are no flags, as many as the usage says. */
  words: string[]
  /** Of a flag that is given once. */
  text: (flag: string) => string | undefined
  /** Of a flag that may be given more than once. */
  texts: (flag: string) => string[]
  isSet: (flag: string) => boolean
  api: Api
  out: Output
}

export interface Command {
  /** Its arguments: those in brackets may be left out, and the last may be repeated where it ends in dots. */
  usage: string
  summary: string
  /** What else there is to say, in lines. */
  more?: string
  flags?: Record<string, Flag>
  /** @returns the exit code; none is 0. */
  run: (call: Call) => Promise<number | undefined>
}

export interface Group {
  summary: string
  commands: Record<string, Command>
}

/** What all of them know. */
export const COMMON_FLAGS = {
  url: {
    placeholder: 'URL',
    help: 'the server (TOKEN_ORCHESTRATOR_URL, else http://127.0.0.1:3000)',
  },
  'token-file': {
    placeholder: 'FILE',
    help: 'its first line is the access token (else TOKEN_ORCHESTRATOR_TOKEN, the token itself)',
  },
  json: { help: 'write JSON for programs: one object, or one a line' },
} satisfies Record<string, Flag>

export function flagsOf({ flags }: Command): Record<string, Flag> {
  return { ...flags, ...COMMON_FLAGS }
}

/** @throws ConfigError where the command line cannot be understood. */
export async function runGroup(
  name: string,
  { commands }: Group,
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const [sub, ...rest] = args
  if (sub === undefined) {
    const known = Object.keys(commands).join(', ')
    throw new ConfigError(`say what to do with ${name}: ${known}`)
  }
  if (!Object.hasOwn(commands, sub)) {
    throw new ConfigError(`${name} knows no "${sub}"${suggestion(sub, Object.keys(commands))}`)
  }
  return runCommand(commands[sub]!, rest, env)
}

/** @throws ConfigError where the command line cannot be understood. */
export async function runCommand(
  command: Command,
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const flags = flagsOf(command)
  const { values, words } = readFlags(args, flags, command.usage)
  for (const [flag, { words: known }] of Object.entries(flags)) {
    if (known === undefined) continue
    const given = [values[flag] ?? []].flat().map(String)
    const unknown = given.find((value) => !known.includes(value))
    if (unknown === undefined) continue
    const near = suggestion(unknown, known)
    throw new ConfigError(`--${flag} must be one of ${known.join(', ')}${near}`)
  }
  const text = (flag: string): string | undefined => values[flag] as string | undefined
  const call: Call = {
    words,
    text,
    texts: (flag) => (values[flag] as string[] | undefined) ?? [],
    isSet: (flag) => values[flag] === true,
    api: Api.open(text('url'), text('token-file'), env),
    out: new Output(values.json === true),
  }
  return (await command.run(call)) ?? 0
}

export function groupHelp(name: string, group: Group, args: string[]): string {
  const command = args.find((arg) => Object.hasOwn(group.commands, arg))
  if (command !== undefined) return commandHelp(`${name} ${command}`, group.commands[command]!)
  const rows = Object.entries(group.commands).map(([sub, { usage, summary }]) => [
    `${sub} ${usage}`.trimEnd(),
    summary,
  ])
  return (
    `Usage: token-orchestrator ${name} COMMAND\n\n${group.summary}\n\n${columns(rows)}\n` +
    `\nAfter a command, --help shows its options.\n`
  )
}

export function commandHelp(name: string, command: Command): string {
  const { usage, summary, more } = command
  const about = more === undefined ? '' : `\n${more}\n`
  const head = `Usage: token-orchestrator ${name} ${usage}`.trimEnd()
  return `${head} [options]\n\n${summary}.\n${about}\n${flagsHelp(flagsOf(command))}\n`
}
