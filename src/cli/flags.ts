/** The flags of a command: how they are described, read from a command line and shown in the help. */
import { parseArgs } from 'node:util'
import { ConfigError } from './config-error.ts'
import { suggestion } from './suggest.ts'

export interface Flag {
  /** What stands for the value in the help; none: the flag is a switch. */
  placeholder?: string
  short?: string
  /** It may be given more than once. */
  multiple?: true
  /** What it may be, where that is a few words. */
  words?: readonly string[]
  help: string
}

/**
 * @param usage what it takes besides, such as `POOL [FILE]`; empty: nothing. The last may be repeated where it ends in dots.
 * @throws ConfigError where a flag is unknown or lacks its value, or a word is missing or one too many.
 */
export function readFlags(
  args: string[],
  flags: Record<string, Flag>,
  usage = '',
): { values: ReturnType<typeof parseArgs>['values']; words: string[] } {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { placeholder, short, multiple = false }]) => [
      name,
      {
        type: placeholder === undefined ? ('boolean' as const) : ('string' as const),
        multiple,
        ...(short === undefined ? {} : { short }),
      },
    ]),
  )
  try {
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
    checkWords(usage, positionals)
    return { values, words: positionals }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    const [, unknown] = /^Unknown option '--([^']*)'/.exec(message) ?? []
    if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION' || unknown === undefined)
      throw new ConfigError(message.split('. ')[0])
    const isWord = usage.split(/\W+/).includes(unknown.toUpperCase())
    const near = isWord
      ? `: it takes ${usage}, without "--${unknown}"`
      : suggestion(unknown, Object.keys(flags), '--')
    throw new ConfigError(`unknown option "--${unknown}"${near}`)
  }
}

function checkWords(usage: string, words: string[]): void {
  const wanted = usage === '' ? [] : usage.split(' ')
  const missing = wanted[words.length]
  if (missing !== undefined && !missing.startsWith('[')) {
    throw new ConfigError(`${missing.replace('...', '')} is missing: it takes ${usage}`)
  }
  if (words.length <= wanted.length || wanted.at(-1)?.includes('...') === true) return
  const extra = words[wanted.length]!
  throw new ConfigError(`unexpected "${extra}": it takes ${usage === '' ? 'no arguments' : usage}`)
}

export function flagsHelp(flags: Record<string, Flag>): string {
  const rows = Object.entries(flags).map(([flag, { placeholder, short, words, help }]) => [
    `${short === undefined ? '' : `-${short}, `}--${flag} ${placeholder ?? ''}`.trimEnd(),
    words === undefined ? help : `${help}: ${words.join(', ')}`,
  ])
  return columns(rows)
}

export function columns(rows: string[][]): string {
  const width = Math.max(...rows.map(([left]) => left!.length))
  return rows.map(([left, right]) => `  ${left!.padEnd(width)}  ${right!}`).join('\n')
}
