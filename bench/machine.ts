/** What a run is measured on, and how busy that is with other work. */
import { availableParallelism, cpus, loadavg, release } from 'node:os'
import { canPin } from './child.ts'

export interface Machine {
  cpu: string
  cores: number
  pinned: boolean
  /** Of the minute before. */
  load: number
  system: string
  node: string
  date: string
}

export function thisMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    pinned: canPin,
    load: loadavg()[0]!,
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    date: new Date().toISOString(),
  }
}

export function machineText({ cpu, cores, load, system, node, date }: Machine): string {
  return `${cpu}, ${cores} cores, load ${load.toFixed(1)}, ${system}\nNode ${node}, ${date}`
}
