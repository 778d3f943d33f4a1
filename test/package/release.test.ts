/** `npm run release`, in a repository of its own with these sources, beside a registry that knows of faults or of none. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, suite, test } from 'node:test'
import { parse } from 'yaml'
import { Command, type Ended, ROOT } from '../support/command.ts'
import { needTool } from '../support/tools.ts'

const AUDITS = '/-/npm/v1/security/advisories/bulk'
const ADVISORY = {
  ...{ id: 1, url: 'https://example.com/1', title: 'It is unsafe', severity: 'high' },
  vulnerable_versions: '*',
}
/** Neither the sources nor theirs. */
const LEFT_OUT = ['.git', 'node_modules', 'dist', 'release', 'data'].map((name) => join(ROOT, name))

interface Manifest {
  version: string
  scripts: Record<string, string>
}

interface Lock {
  packages: Record<string, { version: string; dev?: boolean; name?: string }>
}

interface Sbom {
  metadata: { component: { purl: string } }
  components: { purl: string }[]
}

interface Workflow {
  jobs: Record<string, { steps?: { run?: string }[] }>
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest
const { version } = manifest
const folder = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))

/** What the registry knows; null: it does not answer such questions. */
let advisories: object | null = {}
const registry: Server = createServer((request, response) => {
  request.resume()
  const isKnown = request.method === 'POST' && request.url === AUDITS && advisories !== null
  response.writeHead(isKnown ? 200 : 405, { 'content-type': 'application/json' })
  response.end(isKnown ? JSON.stringify(advisories) : '')
})

async function run(file: string, args: string[], env: Record<string, string> = {}): Promise<Ended> {
  const { port } = registry.address() as AddressInfo
  const address = { npm_config_registry: `http://127.0.0.1:${port}`, npm_config_fetch_retries: '0' }
  await using command = new Command(file, args, { cwd: folder, env: { ...address, ...env } })
  const code = await command.code
  return { code, stdout: command.stdout, stderr: command.stderr }
}

async function git(...args: string[]): Promise<void> {
  const who = ['-c', 'user.name=Who', '-c', 'user.email=who@example.com']
  const { code, stderr } = await run('git', [...who, ...args])
  assert.equal(code, 0, stderr)
}

function release(args: string[] = [], env: Record<string, string> = {}): Promise<Ended> {
  return run('npm', ['run', '--silent', 'release', '--', ...args], env)
}

function read(file: string): string {
  return readFileSync(join(folder, file), 'utf8')
}

suite('a release', () => {
  before(async () => {
    needTool('git')
    registry.listen(0, '127.0.0.1')
    await once(registry, 'listening')
    cpSync(ROOT, folder, { recursive: true, filter: (path) => !LEFT_OUT.includes(path) })
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    await git('init', '--quiet', '--initial-branch=main')
    writeFileSync(join(folder, '.git/info/exclude'), 'node_modules\n')
    const [heading] = /^## .*$/m.exec(read('CHANGELOG.md'))!
    const dated = read('CHANGELOG.md').replace(heading, `## ${version} (2026-11-25)`)
    writeFileSync(join(folder, 'CHANGELOG.md'), dated)
    await git('add', '.')
    await git('commit', '--quiet', '--message', 'As it is to be released')
    await git('tag', `v${version}`)
  })
  beforeEach(() => {
    advisories = {}
  })
  after(() => {
    registry.close()
    rmSync(folder, { recursive: true })
  })

  test('is the package, what is in it, and their sums; nothing is published', async () => {
    const { code, stdout, stderr } = await release()
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^audit: 0 vulnerabilities$/m)
    assert.match(stdout, /^Not published, .* npm publish .* --provenance .*--tag=(next|latest)$/m)
    const names = [`token-orchestrator-${version}.tgz`, `token-orchestrator-${version}.cdx.json`]
    const sums = names.map((name) => {
      const content = readFileSync(join(folder, 'release', name))
      return `${createHash('sha256').update(content).digest('hex')}  ${name}\n`
    })
    assert.equal(read('release/SHA256SUMS'), sums.join(''))
    const sbom = JSON.parse(read(`release/${names[1]!}`)) as Sbom
    assert.equal(sbom.metadata.component.purl, `pkg:npm/token-orchestrator@${version}`)
    const { packages } = JSON.parse(read('package-lock.json')) as Lock
    const installed = Object.entries(packages).filter(([path, { dev }]) => path !== '' && !dev)
    const purls = installed.map(([path, { version }]) => {
      const name = path.replace(/^.*node_modules\//, '').replace('@', '%40')
      return `pkg:npm/${name}@${version}`
    })
    assert.deepEqual(sbom.components.map(({ purl }) => purl).sort(), [...new Set(purls)].sort())
    assert.equal((await run('git', ['status', '--porcelain'])).stdout, '')
  })

  test('is not made of packages that are known to be unsafe', async () => {
    advisories = { fastify: [ADVISORY] }
    const { code, stdout, stderr } = await release()
    assert.match(stdout, /^audit: [1-9]\d* vulnerabilities$/m)
    assert.match(stderr, /known vulnerabilities/)
    assert.equal(code, 1)
  })

  test('is not published where nobody knows whether they are', async () => {
    advisories = null
    const text = read('package.json')
    const named = { ...manifest, repository: 'github:example/token-orchestrator' }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(named))
    await git('commit', '--quiet', '--all', '--message', 'A repository')
    await git('tag', '--force', `v${version}`)
    const ci = { ACTIONS_ID_TOKEN_REQUEST_URL: 'http://127.0.0.1:1' }
    const { code, stdout, stderr } = await release(['--publish'], ci)
    assert.match(stdout, /^audit: not known\. The registry said: 405 /m)
    assert.equal(stderr, 'It is not known whether packages have vulnerabilities.\n')
    assert.equal(code, 1)
    writeFileSync(join(folder, 'package.json'), text)
    await git('commit', '--quiet', '--all', '--message', 'And back')
    await git('tag', '--force', `v${version}`)
  })

  test('is published by CI only, where provenance can be told', async () => {
    const { code, stderr } = await release(['--publish'])
    assert.equal(code, 1)
    assert.match(stderr, /^--publish is for CI/m)
    assert.match(stderr, /^package\.json names no repository/m)
  })

  test('is of what is committed, on main, under its tag, and as the changelog says', async () => {
    await git('checkout', '--quiet', '-b', 'aside')
    const dated = read('CHANGELOG.md')
    writeFileSync(join(folder, 'CHANGELOG.md'), dated.replace(/ \(2026-11-25\)$/m, ' (unreleased)'))
    await git('commit', '--quiet', '--all', '--message', 'Aside')
    writeFileSync(
      join(folder, 'package-lock.json'),
      read('package-lock.json').replace(version, '0.0.1'),
    )
    const { code, stderr } = await release()
    assert.equal(code, 1)
    assert.deepEqual(stderr.trimEnd().split('\n'), [
      'There are changes that are not committed.',
      'The commit is not on main.',
      `The commit has no tag v${version}.`,
      'package-lock.json is of 0.0.1: npm install --package-lock-only',
      `CHANGELOG.md begins with "## ${version} (unreleased)", not with "## ${version} (its date)".`,
    ])
  })
})

test('workflows run scripts that there are', () => {
  for (const name of ['check', 'release']) {
    const { jobs } = parse(
      readFileSync(join(ROOT, `.github/workflows/${name}.yml`), 'utf8'),
    ) as Workflow
    const commands = Object.values(jobs).flatMap(({ steps = [] }) => steps.map(({ run }) => run))
    const scripts = commands.flatMap((run) => /^npm (?:run )?(\w+)/.exec(run ?? '')?.[1] ?? [])
    assert(scripts.length > 1)
    for (const script of scripts) assert(script === 'ci' || script in manifest.scripts, script)
  }
})
