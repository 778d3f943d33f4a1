/** What `compare` found, as it is kept: the page and the plots are made of this and nothing else. */
import type { Load } from './cycles.ts'
import type { Machine } from './machine.ts'
import { type Figure, figure, keysText } from './report.ts'

/** One contender over one pool: a sample for each round. */
export type Cell = Record<keyof Load, number[]> & {
  contender: string
  durable: boolean
  keys: number
}

export interface Comparison {
  command: string
  machine: Machine
  versions: Record<string, string>
  /** Of one fsync of 4 KiB where the durable ones write, ms. */
  fsyncMs: Figure
  minutes: number
  rounds: number
  seconds: number
  /** Of the pools, smallest first. */
  sizes: number[]
  cells: Cell[]
}

export interface Aim {
  label: string
  /** The ratio that is aimed at, and whether it is the least or the most. */
  bound: number
  atLeast: boolean
  ratio: Figure
}

export function cellOf(
  { cells }: Comparison,
  contender: string,
  durable: boolean,
  keys: number,
): Cell {
  return cells.find(
    (cell) => cell.contender === contender && cell.durable === durable && cell.keys === keys,
  )!
}

/** Of each round: what was slow for one was slow for the other. */
export function ratioOf(a: readonly number[], b: readonly number[]): Figure {
  return figure(a.map((value, round) => value / b[round]!))
}

export function aimsOf(comparison: Comparison): Aim[] {
  const { sizes } = comparison
  const [smallest, largest] = [sizes[0]!, sizes.at(-1)!]
  const faster = (a: string, b: string, durable: boolean, bound: number): Aim => ({
    label: `${a}${durable ? ', durable' : ''}, ${keysText(largest)}: at least ${bound} × ${b}`,
    bound,
    atLeast: true,
    ratio: ratioOf(
      cellOf(comparison, a, durable, largest).perSecond,
      cellOf(comparison, b, durable, largest).perSecond,
    ),
  })
  const flat = (name: string, durable: boolean): Aim => ({
    label: `${name}${durable ? ', durable' : ''}: p99 with ${keysText(largest)} at most 1.3 × that with ${keysText(smallest)}`,
    bound: 1.3,
    atLeast: false,
    ratio: ratioOf(
      cellOf(comparison, name, durable, largest).p99,
      cellOf(comparison, name, durable, smallest).p99,
    ),
  })
  return [
    faster('classic', 'Redis Lua', false, 1),
    faster('v1', 'Redis Lua', false, 1),
    faster('batch', 'Redis Lua, pipelined', false, 6),
    faster('classic', 'PostgreSQL', true, 5),
    faster('v1', 'PostgreSQL', true, 5),
    ...[false, true].flatMap((durable) => [flat('classic', durable), flat('v1', durable)]),
  ]
}

export function isMet({ bound, atLeast, ratio: { median } }: Aim): boolean {
  return atLeast ? median >= bound : median <= bound
}
