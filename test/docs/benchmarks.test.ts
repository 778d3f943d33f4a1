/** docs/benchmarks.md says what was measured, and says so where an aim was missed. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { type Comparison, cellOf } from '../../bench/comparison.ts'
import { filesOf } from '../../bench/comparison-page.ts'
import { ROOT } from '../support/command.ts'

function read(name: string): string {
  return readFileSync(join(ROOT, 'docs', name), 'utf8')
}

function kept(): Comparison {
  return JSON.parse(read('benchmarks.json')) as Comparison
}

/** The line of the page about an aim, if v1 did so many times what Redis does. */
async function lineOfAim(times: number): Promise<string> {
  const comparison = kept()
  const keys = comparison.sizes.at(-1)!
  const { perSecond } = cellOf(comparison, 'Redis Lua', false, keys)
  cellOf(comparison, 'v1', false, keys).perSecond = perSecond.map((value) => times * value)
  const page = (await filesOf(comparison)).get('benchmarks.md')!
  return page.split('\n').find((line) => /^\| v1, .*Redis Lua/.test(line))!
}

suite('docs/benchmarks.md', () => {
  test('page and plots are made of benchmarks.json', async () => {
    const again = 'npm run bench:compare -- --from docs/benchmarks.json'
    for (const [name, content] of await filesOf(kept())) {
      assert.equal(read(name), content, `${name} is another: ${again}`)
    }
  })

  test('an aim is met from its bound on, and missed below', async () => {
    assert.match(await lineOfAim(1), /\| 1 \(1 to 1\) +\| met +\|$/)
    assert.match(await lineOfAim(0.99), /\| 0.99 \(0.99 to 0.99\) +\| \*\*missed\*\* +\|$/)
  })

  test('no plot has a place that is no number', async () => {
    const files = [...(await filesOf(kept()))].filter(([name]) => name.endsWith('.svg'))
    assert.equal(files.length, 4)
    for (const [name, content] of files)
      assert.doesNotMatch(content, /NaN|Infinity|undefined/, name)
  })
})
