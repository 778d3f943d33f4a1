import { readFileSync } from 'node:fs'

interface Manifest {
  version: string
  engines: { node: string }
}

/** Of this package. */
export function version(): string {
  return manifest().version
}

/** The oldest Node that this one may be where it is too old; else null. */
export function newerNode(running = process.versions.node): string | null {
  const oldest = manifest().engines.node.replace('>=', '')
  const [major, minor] = oldest.split('.').map(Number) as [number, number]
  const [ownMajor, ownMinor] = running.split('.').map(Number) as [number, number]
  const isOld = ownMajor < major || (ownMajor === major && ownMinor < minor)
  return isOld ? oldest : null
}

function manifest(): Manifest {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return JSON.parse(text) as Manifest
}
