/** The package as it is published: what is in it, and that it works where nothing else is installed. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { TokenOrchestrator } from '../../src/client/client.ts'
import { Command, listeningPort, ROOT } from '../support/command.ts'
import { blocksIn } from '../support/shown-commands.ts'

const QUIET = ['--no-audit', '--no-fund', '--prefer-offline', '--no-package-lock']

interface Manifest {
  version: string
  engines: { node: string }
}

interface Packed {
  filename: string
  files: { path: string; mode: number }[]
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
const folder = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
const bin = join(folder, 'node_modules', '.bin', 'token-orchestrator')
after(() => {
  rmSync(folder, { recursive: true })
})

/** @returns what it wrote to stdout. */
async function run(file: string, args: string[], cwd = folder): Promise<string> {
  await using command = new Command(file, args, { cwd })
  assert.equal(await command.code, 0, command.stderr)
  return command.stdout
}

suite('the package', () => {
  let packed: Packed

  test('is packed', async () => {
    // The build that goes before it speaks too; the JSON comes last.
    const stdout = await run('npm', ['pack', '--json', '--pack-destination', folder], ROOT)
    const [only] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as Packed[]
    packed = only!
  })

  test('holds the built code, its documents and nothing else', () => {
    const paths = packed.files.map(({ path }) => path)
    const others = paths.filter((path) => !path.startsWith('dist/'))
    assert.deepEqual(others.sort(), ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'])
    for (const path of paths.filter((path) => path.startsWith('dist/'))) {
      assert.match(
        path,
        /\.(js|d\.ts)$|^dist\/http\/dashboard\/\w+\.(html|css|svg)$|^dist\/store\/redis\/lua\/[\w-]+\.lua$/,
      )
    }
    for (const path of ['dist/cli/main.js', 'dist/client/client.js', 'dist/client/client.d.ts']) {
      assert.ok(paths.includes(path))
    }
  })

  test('installs into an empty folder', async () => {
    await run('npm', ['install', '--omit=dev', ...QUIET, join(folder, packed.filename)])
  })

  test('knows its version, as do the lock, the changelog and who says how to install it', async () => {
    const { version } = manifest
    assert.equal(await run(bin, ['--version']), `${version}\n`)
    const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')
    assert.equal((JSON.parse(read('package-lock.json')) as Manifest).version, version)
    assert.equal(/^## (\S+)/m.exec(read('CHANGELOG.md'))![1], version)
    for (const file of ['README.md', 'docs/client.md', 'docs/operations.md']) {
      const shown = read(file).match(/token-orchestrator-[\w.-]+\.tgz/g)!
      assert.deepEqual(new Set(shown), new Set([packed.filename]), file)
    }
  })

  test('serves', async () => {
    await using command = new Command(bin, ['serve', '--memory', '--port', '0'], { cwd: folder })
    const origin = `http://127.0.0.1:${String(await listeningPort(command))}`
    const url = `${origin}/keys`
    const made = (await (await fetch(url, { method: 'POST' })).json()) as { keyId: string }
    const drawn = (await (await fetch(url)).json()) as { keyId: string }
    assert.equal(drawn.keyId, made.keyId)
    for (const path of ['/openapi.json', '/docs/swagger-ui-bundle.js', '/dashboard/main.js']) {
      assert.equal((await fetch(`${origin}${path}`)).status, 200)
    }
    command.kill('SIGTERM')
    assert.equal(await command.code, 0)
  })

  test('runs on the oldest Node that it says it does', async () => {
    const oldest = `${/^>=([\d.]+)$/.exec(manifest.engines.node)![1]}.0`
    const home = join(folder, 'oldest')
    const binaries = `node-${process.platform}-${process.arch}`
    await run('npm', ['install', ...QUIET, '--prefix', home, `${binaries}@${oldest}`])
    const node = join(home, 'node_modules', binaries, 'bin', 'node')
    assert.equal(await run(node, ['--version']), `v${oldest}\n`)
    const main = join(folder, 'node_modules/token-orchestrator/dist/cli/main.js')
    const args = [main, 'serve', '--data-dir', join(folder, 'data'), '--port', '0']
    await using command = new Command(node, args, { cwd: folder })
    const url = `http://127.0.0.1:${await listeningPort(command)}`
    assert.equal((await fetch(`${url}/keys`, { method: 'POST' })).status, 201)
    const code = `import { TokenOrchestrator } from 'token-orchestrator/client'
      const client = new TokenOrchestrator({ url: '${url}' })
      console.log(await client.withKey('default', (lease) => lease.keyId.length))`
    writeFileSync(join(folder, 'oldest.mjs'), code)
    assert.equal(await run(node, ['oldest.mjs']), '36\n')
    command.kill('SIGTERM')
    assert.equal(await command.code, 0)
  })

  test('has a client: the program of README.md, and the command beside it', async () => {
    await using command = new Command(bin, ['serve', '--memory', '--port', '0'], { cwd: folder })
    const url = `http://127.0.0.1:${await listeningPort(command)}`
    const made = await fetch(`${url}/keys`, { method: 'POST' })
    const { keyId } = (await made.json()) as { keyId: string }
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
    const [program] = blocksIn(readme, 'js')
    const file = join(folder, 'readme.mjs')
    writeFileSync(file, program!.replace('http://127.0.0.1:3000', url))
    assert.equal(await run(process.execPath, [file]), `${keyId}\n`)
    const [, shown] = /`npx token-orchestrator (exec [^`]+) COMMAND`/.exec(readme)!
    const exec = [...shown!.split(' '), 'sh', '-c', 'echo "$API_KEY"']
    exec.splice(1, 0, '--url', url)
    assert.equal(await run(bin, exec), `${keyId}\n`)
  })

  test('has a client: the examples of docs/client.md', async () => {
    await using command = new Command(bin, ['serve', '--memory', '--port', '0'], { cwd: folder })
    const url = `http://127.0.0.1:${await listeningPort(command)}`
    const { transport } = new TokenOrchestrator({ url })
    await transport.request('PUT', '/v1/pools/llm', { body: { keyLifetimeMs: null } })
    await transport.request('POST', '/v1/pools/llm/keys', {
      body: { count: 9 },
      repeatable: true,
    })
    const examples = blocksIn(readFileSync(join(ROOT, 'docs/client.md'), 'utf8'), 'js')
    const said: string[] = []
    for (const [place, example] of examples.entries()) {
      const file = join(folder, `example-${place}.mjs`)
      writeFileSync(file, example.replaceAll('http://127.0.0.1:3000', url))
      said.push(await run(process.execPath, [file]))
    }
    assert.match(said.join(''), /^asked with .{3}\.\.\.\ndone\ngiven back\nrevoked\n/)
    // What was given back as rate limited, and as invalid.
    const { body } = await transport.request('GET', '/v1/pools/llm')
    const { available, cooling, disabled } = (body as { counts: Record<string, number> }).counts
    assert.deepEqual({ available, cooling, disabled }, { available: 7, cooling: 1, disabled: 1 })
  })

  test('has types for it', async () => {
    const code = `import { TokenOrchestrator, type Lease } from 'token-orchestrator/client'
      const client = new TokenOrchestrator({ url: 'http://127.0.0.1' })
      export const work = (lease: Lease): number => lease.fencingToken
      export const done: Promise<number> = client.withKey('llm', work, { ttlMs: 1000 })
      // @ts-expect-error
      export const wrong: Promise<string> = client.withKey('llm', work)
      // @ts-expect-error
      void client.withKey('llm', (lease) => lease.release({ outcome: 'fine' }))`
    writeFileSync(join(folder, 'consumer.mts'), code)
    const target = { strict: true, noEmit: true, module: 'nodenext', target: 'esnext' }
    const browser = { lib: ['esnext', 'dom'], types: [], skipLibCheck: true }
    const tsconfig = { compilerOptions: { ...target, ...browser }, files: ['consumer.mts'] }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig))
    await using tsc = new Command(join(ROOT, 'node_modules/.bin/tsc'), ['-p', folder])
    assert.equal(await tsc.code, 0, tsc.stdout)
  })

  test('says what to install where traces are asked for, which nobody has to have', async () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }
    await using command = new Command(bin, ['serve', '--memory', '--port', '0'], {
      cwd: folder,
      env,
    })
    assert.equal(await command.code, 2)
    assert.match(command.stderr, /Install them .*: npm install( @opentelemetry\/[\w-]+){5}\n/)
  })
})
