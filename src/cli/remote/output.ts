/** What commands write: tables and records for people, JSON for programs. */
import { styleText } from 'node:util'

export type Style = Parameters<typeof styleText>[0]
/** Written in that style where the terminal has colours. */
export interface Styled {
  text: string
  style: Style
}
export type Cell = string | number | null | undefined | Styled

/** States of keys and servers, by what they ask of whoever looks. */
const STYLES: Record<string, Style> = {
  available: 'green',
  ready: 'green',
  leased: 'yellow',
  cooling: 'cyan',
  disabled: 'red',
  draining: 'yellow',
  storage_full: 'red',
}
const GAP = '  '

export class Output {
  readonly json: boolean

  constructor(json: boolean) {
    this.json = json
    // Whoever reads may have had enough, as `head` has.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(0)
      throw error
    })
  }

  /** Resolves when there is room for more. */
  async write(text: string): Promise<void> {
    if (!process.stdout.write(text)) {
      await new Promise((resolve) => process.stdout.once('drain', resolve))
    }
  }

  /** For the person at the terminal; programs do not read it. */
  note(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  line(value: object): Promise<void> {
    return this.write(`${JSON.stringify(value)}\n`)
  }

  /** What was done: a sentence, or the object that it is about. */
  async done(sentence: string, value: object): Promise<void> {
    await (this.json ? this.line(value) : this.write(`${sentence}\n`))
  }

  /** An object, a field a line. */
  async record(value: object): Promise<void> {
    if (this.json) return this.line(value)
    const rows = flat(value)
    const width = Math.max(...rows.map(([name]) => name.length))
    for (const [name, cell] of rows)
      await this.write(`${bold(name.padEnd(width))}${GAP}${shown(cell)}\n`)
  }

  /** Objects, a row each or a line of JSON each. */
  async list<T extends object>(
    values: T[],
    head: string[],
    cells: (value: T) => Cell[],
  ): Promise<void> {
    if (this.json) for (const value of values) await this.line(value)
    else await this.write(tableOf(head, values.map(cells)))
  }
}

/** A table with its head, a row a line. */
export function tableOf(head: string[], rows: Cell[][]): string {
  const texts = rows.map((row) => row.map(textOf))
  const widths = head.map((name, at) =>
    Math.max(name.length, ...texts.map((row) => row[at]!.length)),
  )
  const isNumber = head.map(
    (_, at) => rows.length > 0 && rows.every((row) => typeof row[at] === 'number'),
  )
  const padded = (text: string, at: number): string =>
    isNumber[at] === true ? text.padStart(widths[at]!) : text.padEnd(widths[at]!)
  const lines = rows.map((row, y) =>
    row.map((cell, at) => styled(cell, padded(texts[y]![at]!, at))).join(GAP),
  )
  return [bold(head.map(padded).join(GAP)), ...lines].map((line) => `${line.trimEnd()}\n`).join('')
}

/** The state in its colour. */
export function stateCell(state: string): Cell {
  return Object.hasOwn(STYLES, state) ? { text: state, style: STYLES[state]! } : state
}

/** Nothing in it can move the cursor or change colours: names are others' texts. */
export function harmless(text: string): string {
  return text.replace(/\p{C}/gu, '\ufffd')
}

export function bold(text: string): string {
  return styleText('bold', text, { stream: process.stdout })
}

function styled(cell: Cell, text: string): string {
  if (typeof cell !== 'object' || cell === null) return text
  return styleText(cell.style, text, { stream: process.stdout })
}

function shown(cell: Cell): string {
  return styled(cell, textOf(cell))
}

function textOf(cell: Cell): string {
  if (cell === null || cell === undefined) return '-'
  return harmless(String(typeof cell === 'object' ? cell.text : cell))
}

/** Fields by their names, those of objects in it as `policy.maxKeys`; metadata stays as it is. */
function flat(value: object, before = ''): [string, Cell][] {
  return Object.entries(value as Record<string, unknown>).flatMap(([name, field]) => {
    const full = before + name
    if (name === 'state' && typeof field === 'string') return [[full, stateCell(field)]]
    if (field === null || field === undefined) return [[full, null]]
    if (typeof field === 'string') return [[full, field]]
    const isWhole = typeof field !== 'object' || name === 'metadata' || Array.isArray(field)
    return isWhole ? [[full, JSON.stringify(field)]] : flat(field, `${full}.`)
  })
}
