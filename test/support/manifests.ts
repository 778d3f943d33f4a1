/** The files by which others run a server: as they are, and as programs that replay them need them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './command.ts'

export interface Stage {
  name: string | null
  image: string
  instructions: { name: string; text: string }[]
}

/** The stages of the Dockerfile. */
export function readDockerfile(): Stage[] {
  const stages: Stage[] = []
  const text = readFileSync(join(ROOT, 'Dockerfile'), 'utf8').replace(/\\\n\s*/g, '')
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, name, rest] = /^([A-Z]+) (.+)$/.exec(line)!
    const stage = name === 'FROM' ? /^(\S+)(?: AS (\w+))?$/.exec(rest!) : null
    if (stage === null) stages.at(-1)!.instructions.push({ name: name!, text: rest! })
    else stages.push({ name: stage[2] ?? null, image: stage[1]!, instructions: [] })
  }
  return stages
}

/** What those instructions of a stage say. */
export function saidBy(stage: Stage, name: string): string[] {
  return stage.instructions
    .filter((instruction) => instruction.name === name)
    .map(({ text }) => text)
}

/** The one that must be there. */
export function onlyOne<T>(found: readonly T[]): T {
  assert.equal(found.length, 1)
  return found[0]!
}

/** The environment of the image. */
export function imageEnvironment(stage: Stage): Record<string, string> {
  const settings = saidBy(stage, 'ENV').join(' ').split(/\s+/)
  return Object.fromEntries(settings.map((setting) => setting.split('=') as [string, string]))
}
