/** `npm run simulate` as one runs it: what it prints of a seed is the same each time, and a fault is told. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

function simulate(...options: string[]): {
  status: number | null
  lines: string[]
  errors: string
} {
  const script = fileURLToPath(new URL('simulate.ts', import.meta.url))
  const run = spawnSync(process.execPath, [script, ...options], { encoding: 'utf8' })
  return { status: run.status, lines: run.stdout.trimEnd().split('\n'), errors: run.stderr }
}

test('a seed is the same in every process, looked at or not', () => {
  const first = simulate('--seed', '5')
  assert.equal(first.status, 0, first.errors)
  assert.match(first.lines.at(-1)!, /^hash [0-9a-f]{64}$/)
  const traced = simulate('--seed', '5', '--trace')
  assert.deepEqual(traced.lines.slice(-2), first.lines)
  assert(traced.lines.length > 1000, 'all that happened')
  assert.notEqual(simulate('--seed', '6').lines.at(-1), first.lines.at(-1))
})

test('many seeds say what they came across', () => {
  const { status, lines, errors } = simulate('--seeds', '6')
  assert.equal(status, 0, errors)
  assert.match(lines[0]!, /^6 seeds, .* virtual hours, \d+ crashes, \d+ calls: nothing is wrong$/)
  assert(lines.some((line) => /^ +\d+ {2}a crash during recovery$/.test(line)))
})

test('what is no number is refused', () => {
  for (const options of [
    ['--seeds', 'many'],
    ['--seed', '0'],
    ['--from', '1.5'],
  ]) {
    const { status, errors } = simulate(...options)
    assert.deepEqual([status, errors.startsWith('Usage:')], [2, true], options.join(' '))
  }
})
