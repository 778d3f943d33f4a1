/** What a shell has to know of a command to complete it. */
import type { Flag } from '../flags.ts'

export interface Shape {
  /** As `pools create`. */
  name: string
  /** Its arguments, as in its help. */
  usage: string
  summary: string
  flags: Record<string, Flag>
}

/** What may stand in a place: one of some words, or what the shell knows itself; null: it cannot be known. */
export type Kind = readonly string[] | 'files' | 'directories' | 'commands' | null

const KINDS: Record<string, Kind> = {
  FILE: 'files',
  DIRECTORY: 'directories',
  COMMAND: 'commands',
  ARGUMENT: 'files',
}

/** What stands for it in the help tells. */
export function kindOf(placeholder: string): Kind {
  const name = placeholder.replace(/[[\].]/g, '')
  return name.includes('|') ? name.split('|') : (KINDS[name] ?? null)
}

/** Of a flag that takes a value. */
export function kindOfFlag({ placeholder, words }: Flag): Kind {
  return words ?? kindOf(placeholder!)
}

export function argumentsOf({ usage }: Shape): string[] {
  return usage === '' ? [] : usage.split(' ')
}

/** What may follow the first word, or the words so far: a word and its summary. */
export interface Step {
  after: string
  words: { word: string; summary: string }[]
}

export function stepsOf(shapes: readonly Shape[], summaries: Record<string, string>): Step[] {
  const first = Object.entries(summaries).map(([word, summary]) => ({ word, summary }))
  const groups = Object.keys(summaries).map((after) => ({
    after,
    words: shapes
      .filter(({ name }) => name.startsWith(`${after} `))
      .map(({ name, summary }) => ({ word: name.slice(after.length + 1), summary })),
  }))
  return [{ after: '', words: first }, ...groups.filter(({ words }) => words.length > 0)]
}

/** As one word of bash and zsh. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
