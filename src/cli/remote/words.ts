/** Arguments and flags that many commands have. */
import { text as textOf } from 'node:stream/consumers'
import { ConfigError } from '../config-error.ts'
import { durationMs } from '../config.ts'
import type { Call } from './command.ts'
import type { Flag } from '../flags.ts'

const DEFAULT_LIMIT = 100

export const LIMIT_FLAGS: Record<string, Flag> = {
  limit: { placeholder: 'NUMBER', help: `at most so many (${DEFAULT_LIMIT})` },
  all: { help: 'all that there are' },
}

export function limitOf({ text, isSet, out }: Call): number {
  const given = text('limit')
  if (isSet('all')) {
    if (given !== undefined) throw new ConfigError('say --limit or --all, not both')
    return Infinity
  }
  if (given === undefined) return out.json ? Infinity : DEFAULT_LIMIT
  if (/^[1-9]\d{0,8}$/.test(given)) return Number(given)
  throw new ConfigError(`--limit must be a whole number from 1, not "${given}"`)
}

/** The words, with the lines of stdin in place of a `-`: what is secret need not be an argument. */
export async function secretWords(words: string[]): Promise<string[]> {
  if (!words.includes('-')) return words
  const lines = (await textOf(process.stdin)).split('\n').map((line) => line.trim())
  const given = lines.filter((line) => line !== '')
  if (given.length === 0) throw new ConfigError('there is nothing on stdin, which "-" stands for')
  return words.flatMap((word) => (word === '-' ? given : [word]))
}

/** A duration in ms; undefined: it is not given. */
export function durationOf({ text }: Call, flag: string): number | undefined {
  const given = text(flag)
  if (given === undefined) return undefined
  const ms = given === '0' ? 0 : durationMs(given)
  if (ms !== undefined) return ms
  throw new ConfigError(`--${flag} must be a duration like 500ms, 60s, 5m or 1h, not "${given}"`)
}
