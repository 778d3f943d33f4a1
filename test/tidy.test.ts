/** What holds of the sources and documents themselves: layers, purity, sizes, and tables that agree. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { suite, test } from 'node:test'
import ts from 'typescript'
import { settingsHelp } from '../src/cli/config.ts'
import { ERRORS } from '../src/engine/errors.ts'
import { ROOT } from './support/command.ts'

/** What each layer may import besides itself. A layer is a folder or a file right under src. */
const MAY_IMPORT: Record<string, string[]> = {
  engine: [],
  'clock.ts': [],
  'log.ts': [],
  'random.ts': ['engine'],
  'version.ts': [],
  store: ['engine', 'clock.ts'],
  service: ['store', 'engine', 'clock.ts'],
  http: ['service', 'engine', 'log.ts', 'version.ts'],
  client: [],
  cli: [
    ...['client', 'http', 'service', 'store', 'engine'],
    ...['clock.ts', 'log.ts', 'random.ts', 'version.ts'],
  ],
}

/** Layers that are handed time and chance, and leave files and the process alone. */
const PURE = ['engine', 'store', 'service']
/** Where files or the network are what it is about. */
const OUTSIDE = [
  'src/store/embedded/sqlite/',
  ...['connection', 'links', 'open', 'scripts'].map((file) => `src/store/redis/${file}.ts`),
]
const IMPURE_NAMES = [
  ...['Date', 'performance', 'process', 'crypto', 'console', 'fetch', 'Math.random'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'],
]
const IMPURE_MODULES = ['fs', 'fs/promises', 'timers', 'timers/promises', 'process', 'perf_hooks']

/** What the client knows of the server: types, which are gone when it runs. */
const CONTRACT = /^src\/(http\/contract\/|engine\/errors\.ts$)/

const MAX_SOURCE_LINES = 400
const MAX_README_LINES = 80

const SOURCES = globSync('src/**/*.ts', { cwd: ROOT })
const DOCUMENTS = globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT })

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

type Imports = ReadonlyMap<string, readonly string[]>

/**
 * The files that each file imports, or `..` where it leaves src; packages are not followed, nor does the client's
 * knowledge of the contract count.
 */
function importsOf(files: string[]): Imports {
  const codeOf = (file: string): string =>
    file.startsWith('src/client/') ? withoutTypes(read(file)) : read(file)
  const local = (file: string): string[] =>
    specifiersIn(codeOf(file))
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => normalize(join(dirname(file), specifier)))
  return new Map(files.map((file) => [file, local(file)]))
}

function specifiersIn(code: string): string[] {
  return ts.preProcessFile(code).importedFiles.map(({ fileName }) => fileName)
}

/** A way along the imports that comes back to where it began; null if there is none. */
function cycleIn(imports: Imports): string[] | null {
  const harmless = new Set<string>()
  const walk = (file: string, path: string[]): string[] | null => {
    const seenAt = path.indexOf(file)
    if (seenAt >= 0) return [...path.slice(seenAt), file]
    if (harmless.has(file)) return null
    for (const next of imports.get(file) ?? []) {
      const cycle = walk(next, [...path, file])
      if (cycle !== null) return cycle
    }
    harmless.add(file)
    return null
  }
  for (const file of imports.keys()) {
    const cycle = walk(file, [])
    if (cycle !== null) return cycle
  }
  return null
}

/** The code without what is for types only. */
function withoutTypes(code: string): string {
  return code.replace(/^(import|export) type [^;]*? from '.*'$/gm, '')
}

/** Imports that go up, or out of src. */
function trespassesIn(imports: Imports): string[] {
  const layerOf = (file: string): string => /^src\/([^/]+)/.exec(file)?.[1] ?? 'outside'
  return [...imports].flatMap(([file, imported]) => {
    const layer = layerOf(file)
    const allowed = [layer, ...(MAY_IMPORT[layer] ?? [])]
    return imported
      .filter((other) => !allowed.includes(layerOf(other)))
      .map((other) => `${file} -> ${other}`)
  })
}

/** Names and modules by which code would reach for time, chance, files or the process. */
function impuritiesIn(code: string): string[] {
  const found = specifiersIn(code).filter((specifier) =>
    IMPURE_MODULES.includes(specifier.replace(/^node:/, '')),
  )
  const visit = (node: ts.Node): void => {
    const named = ts.isIdentifier(node) || ts.isPropertyAccessExpression(node)
    if (named && IMPURE_NAMES.includes(node.getText())) found.push(node.getText())
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile('code.ts', code, ts.ScriptTarget.Latest, true))
  return found
}

suite('layers', () => {
  test('only downwards', () => {
    assert.deepEqual(trespassesIn(importsOf(SOURCES)), [])
  })

  test('no cycles', () => {
    assert.equal(cycleIn(importsOf(SOURCES)), null)
  })

  test('each has its rule', () => {
    const layers = new Set(SOURCES.map((file) => file.split('/')[1]!))
    assert.deepEqual([...layers].sort(), Object.keys(MAY_IMPORT).sort())
  })

  test('engine needs no package, and neither it nor store and service reach for the outside', () => {
    for (const file of SOURCES) {
      const code = read(file)
      if (file.startsWith('src/engine/')) {
        const foreign = specifiersIn(code).filter((specifier) => !specifier.startsWith('.'))
        assert.deepEqual(foreign, [], file)
      }
      const isPure = PURE.some((layer) => file.startsWith(`src/${layer}/`))
      if (isPure && !OUTSIDE.some((outside) => file.startsWith(outside))) {
        assert.deepEqual(impuritiesIn(code), [], file)
      }
    }
  })

  test('the client stands alone: no package, no module of Node, of the contract types only', () => {
    for (const file of SOURCES.filter((file) => file.startsWith('src/client/'))) {
      const code = read(file)
      const foreign = specifiersIn(code).filter((specifier) => !specifier.startsWith('./'))
      const known = foreign.map((specifier) => normalize(join(dirname(file), specifier)))
      assert.deepEqual(
        known.filter((path) => !CONTRACT.test(path)),
        [],
        file,
      )
      const atRunTime = specifiersIn(withoutTypes(code)).filter(
        (specifier) => !specifier.startsWith('./'),
      )
      assert.deepEqual(atRunTime, [], file)
    }
  })

  test('these checks can fail', () => {
    const typed = "import type { A } from '../a.ts'\nimport { b } from '../b.ts'\nb()"
    assert.deepEqual(specifiersIn(withoutTypes(typed)), ['../b.ts'])
    assert.deepEqual(
      cycleIn(
        new Map([
          ['a', ['b']],
          ['b', ['c', 'd']],
          ['d', ['b']],
        ]),
      ),
      ['b', 'd', 'b'],
    )
    assert.deepEqual(
      trespassesIn(
        new Map([
          ['src/engine/a.ts', ['src/engine/b.ts', 'src/store/c.ts', 'test/d.ts']],
          ['src/http/e.ts', ['src/engine/a.ts', 'src/store/c.ts']],
        ]),
      ),
      [
        'src/engine/a.ts -> src/store/c.ts',
        'src/engine/a.ts -> test/d.ts',
        'src/http/e.ts -> src/store/c.ts',
      ],
    )
    const impure = `// Date\nimport fs from 'node:fs'\nexport const a = 'Date' + Date.now() + Math.random()`
    assert.deepEqual(impuritiesIn(impure), ['node:fs', 'Date', 'Math.random'])
  })
})

suite('sizes', () => {
  test('a source file is one reading', () => {
    for (const file of SOURCES) {
      const lines = read(file).split('\n').length
      assert.ok(lines <= MAX_SOURCE_LINES, `${file} has ${String(lines)} lines`)
    }
  })

  test('the README is one reading', () => {
    assert.ok(read('README.md').trimEnd().split('\n').length <= MAX_README_LINES)
  })
})

test('nothing is left for later', () => {
  const later = new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'X'.repeat(3)].join('|'))
  for (const file of [...DOCUMENTS, ...globSync('{src,test,bench}/**/*.ts', { cwd: ROOT })]) {
    assert.doesNotMatch(read(file), later, file)
  }
})

suite('errors', () => {
  test('docs/errors.md says what the table says', () => {
    const rows = read('docs/errors.md').matchAll(/^\| *`(\w+)` *\| *(\d{3}) *\|(.*)\|(.*)\|$/gm)
    const documented = [...rows].map(([, code, status, title, advice]) => {
      // It may lead on to another document.
      const words = advice!.replace(/ \(\[[^\]]*\]\([^)]*\)\)/, '').replaceAll('`', '')
      return [code, { status: Number(status), title: title!.trim(), advice: words.trim() }]
    })
    assert.deepEqual(Object.fromEntries(documented), ERRORS)
  })

  test('each code is in use', () => {
    const users = SOURCES.filter((file) => file !== 'src/engine/errors.ts')
      .map(read)
      .join()
    const unused = Object.keys(ERRORS).filter((code) => !new RegExp(`\\b${code}\\b`).test(users))
    assert.deepEqual(unused, [])
  })
})

suite('documents', () => {
  test('docs/configuration.md names each flag, its variable and its default', () => {
    const settings = [...settingsHelp().matchAll(/--(?!help)([\w-]+).*?(?: \(([^()]*)\))?$/gm)]
    const rows = settings.map(([, flag, fallback]) => ({
      flag: flag!,
      fallback: fallback ?? 'false',
    }))
    const text = read('docs/configuration.md')
    const documented = [...text.matchAll(/^\| `--([\w-]+)` *\| `(\w+)` *\| `(.*?)` *\|/gm)].map(
      ([, flag, variable, fallback]) => ({ flag, variable, fallback }),
    )
    assert.deepEqual(
      documented,
      rows.map(({ flag, fallback }) => {
        const variable = `TOKEN_ORCHESTRATOR_${flag.toUpperCase().replaceAll('-', '_')}`
        return { flag, variable, fallback }
      }),
    )
  })

  test('links lead somewhere', () => {
    for (const file of DOCUMENTS) {
      for (const [, target] of read(file).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)) {
        assert.ok(existsSync(join(ROOT, dirname(file), target!)), `${file} links to ${target!}`)
      }
    }
  })
})
