/** What a benchmark finds, in one shape for the terminal and for the JSON file. */

/** One measured quantity: the median of its samples, and how far they lie apart. */
export interface Figure {
  median: number
  low: number
  high: number
  samples: number
}

export interface Table {
  title: string
  columns: string[]
  rows: { label: string; cells: (Figure | null)[] }[]
  notes: string[]
}

export function figure(samples: readonly number[]): Figure {
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]!
  return {
    median: sorted.length % 2 === 1 ? upper : (sorted[middle - 1]! + upper) / 2,
    low: sorted[0]!,
    high: sorted.at(-1)!,
    samples: sorted.length,
  }
}

/** The figure of one property over repeated measurements. */
export function figureOf<K extends string>(runs: readonly Record<K, number>[], key: K): Figure {
  return figure(runs.map((run) => run[key]))
}

export function print(table: Table): void {
  const rows = table.rows.map(({ label, cells }) => [label, ...cells.map(figureText)])
  const lines = [['', ...table.columns], ...rows]
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((line) => line[column]!.length)),
  )
  const [head, ...body] = lines.map((line) =>
    line
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!)))
      .join('   ')
      .trimEnd(),
  )
  const notes = table.notes.map((note) => `  ${note}`)
  console.log([`\n${table.title}`, head, ...body, ...notes].join('\n'))
}

/** The median, and the lowest and highest sample if there was more than one. */
export function figureText(cell: Figure | null): string {
  if (cell === null || Number.isNaN(cell.median)) return '-'
  const { median, low, high, samples } = cell
  return samples === 1 ? short(median) : `${short(median)} (${short(low)} to ${short(high)})`
}

/** Three significant digits. */
export function short(value: number): string {
  if (value >= 999_500) return `${digits(value / 1e6)} M`
  if (value >= 9_995) return `${digits(value / 1e3)} k`
  return digits(value)
}

function digits(value: number): string {
  if (value >= 999.5) return value.toFixed(0)
  return value === 0 ? '0' : Number(value.toPrecision(3)).toString()
}

export function keysText(keys: number): string {
  if (keys >= 1_000_000) return `${keys / 1_000_000} M keys`
  return keys >= 1000 ? `${keys / 1000} k keys` : `${keys} keys`
}
