/** Plots as SVG, with logarithmic axes: what is compared lies a thousandfold apart. */
import { type Figure, short } from './report.ts'

const WIDTH = 860
const TOP = 44
const INK = '#24292f'
const GRID = '#d8dee4'
const OWN = '#0969da'
const OTHER = '#8c959f'
const COLOURS = ['#0969da', '#8250df', '#1a7f37', '#bc4c00', '#cf222e', '#57606a', '#9a6700']

export interface Bar {
  label: string
  figure: Figure
  /** Whether it is this server, or what it is held against. */
  own: boolean
}

export interface Line {
  label: string
  /** Of each x. */
  figures: Figure[]
}

/** A bar for each median, with a line from the lowest to the highest sample. */
export function barPlot(title: string, bars: readonly Bar[]): string {
  const [left, right, step] = [250, 80, 30]
  const height = TOP + bars.length * step + 30
  const values = bars.flatMap(({ figure: { low, high } }) => [low, high])
  const axis = new Axis(values, left, WIDTH - right)
  const grid = axis.ticks.map(
    (tick) =>
      line(axis.at(tick), TOP, axis.at(tick), height - 26, GRID) +
      text(axis.at(tick), height - 10, short(tick), 'middle'),
  )
  const shapes = bars.map(({ label, figure: { median, low, high }, own }, index) => {
    const y = TOP + index * step
    const middle = y + step / 2
    return (
      text(left - 8, middle + 4, label, 'end') +
      `<rect x="${left}" y="${y + 5}" width="${round(axis.at(median) - left)}" height="${step - 10}" fill="${own ? OWN : OTHER}"/>` +
      line(axis.at(low), middle, axis.at(high), middle, INK, 2) +
      text(axis.at(high) + 6, middle + 4, short(median), 'start')
    )
  })
  return svg(height, title, [...grid, ...shapes])
}

/** A line through the medians of each, over the same logarithmic x. */
export function linePlot(
  title: string,
  xs: readonly { value: number; label: string }[],
  lines: readonly Line[],
): string {
  const [left, right, height] = [60, 190, 420]
  const x = new Axis(
    xs.map(({ value }) => value),
    left,
    WIDTH - right,
  )
  const values = lines.flatMap(({ figures }) => figures.flatMap(({ low, high }) => [low, high]))
  const y = new Axis(values, height - 34, TOP)
  const grid = [
    ...y.ticks.map(
      (tick) =>
        line(left, y.at(tick), WIDTH - right, y.at(tick), GRID) +
        text(left - 8, y.at(tick) + 4, short(tick), 'end'),
    ),
    ...xs.map(({ value, label }) => text(x.at(value), height - 12, label, 'middle')),
  ]
  const ends = apart(lines.map(({ figures }) => y.at(figures.at(-1)!.median)))
  const shapes = lines.map(({ label, figures }, index) => {
    const colour = COLOURS[index % COLOURS.length]!
    const points = figures.map(({ median }, at) => `${x.at(xs[at]!.value)},${y.at(median)}`)
    const spreads = figures.map(({ low, high }, at) => {
      const there = x.at(xs[at]!.value) + (index - lines.length / 2) * 3 // beside each other
      return line(there, y.at(low), there, y.at(high), colour)
    })
    return (
      `<polyline points="${points.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>` +
      spreads.join('') +
      text(WIDTH - right + 16, ends[index]! + 4, label, 'start', colour)
    )
  })
  return svg(height, title, [...grid, ...shapes])
}

/** From the power of ten below all values to that above them. */
class Axis {
  readonly ticks: number[]
  readonly #from: number
  readonly #begin: number
  readonly #perDecade: number

  constructor(values: readonly number[], begin: number, end: number) {
    this.#from = Math.floor(Math.log10(Math.min(...values)))
    const to = Math.max(Math.ceil(Math.log10(Math.max(...values))), this.#from + 1)
    this.#begin = begin
    this.#perDecade = (end - begin) / (to - this.#from)
    this.ticks = Array.from({ length: to - this.#from + 1 }, (_, at) => 10 ** (this.#from + at))
  }

  at(value: number): number {
    return round(this.#begin + (Math.log10(value) - this.#from) * this.#perDecade)
  }
}

/** Moved down where one would lie upon another. */
function apart(ys: readonly number[]): number[] {
  const moved = [...ys]
  let last = -Infinity
  for (const index of ys.map((_, at) => at).sort((a, b) => ys[a]! - ys[b]!)) {
    last = moved[index] = Math.max(ys[index]!, last + 16)
  }
  return moved
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string, width = 1): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${colour}" stroke-width="${width}"/>`
}

function text(x: number, y: number, content: string, anchor: string, colour = INK): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${colour}">${content}</text>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function svg(height: number, title: string, shapes: readonly string[]): string {
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`
  const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" font-family="sans-serif" font-size="13">`
  const background = `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`
  const caption = `<text x="16" y="26" font-size="15" font-weight="bold" fill="${INK}">${title}</text>`
  return `${[head, `<title>${title}</title>`, background, caption, ...shapes, '</svg>'].join('\n')}\n`
}
