/**
 * Makes the files of a release from the commit that is checked out, if that may be released: `npm run release`.
 * With `--publish`, which is for CI, the package goes to the registry. docs/releasing.md says what comes before.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const FOLDER = 'release'
const BRANCH = 'main'
/** Where npm finds who builds, which it signs. */
const IDENTITY = 'ACTIONS_ID_TOKEN_REQUEST_URL'

interface Manifest {
  name: string
  version: string
  repository?: unknown
}

/** What `npm audit` says: how much it found, or why it did not look. */
interface Audit {
  metadata?: { vulnerabilities: { total: number } }
  message?: string
}

function git(...args: string[]): string[] {
  return execFileSync('git', args, { encoding: 'utf8' }).split('\n').filter(Boolean)
}

function* faultsOfCommit(version: string): Generator<string> {
  if (git('status', '--porcelain').length > 0) yield 'There are changes that are not committed.'
  const branches = git('branch', '--all', '--contains', 'HEAD', '--format=%(refname:lstrip=2)')
  if (!branches.some((branch) => branch === BRANCH || branch === `origin/${BRANCH}`))
    yield `The commit is not on ${BRANCH}.`
  const tag = `v${version}`
  if (!git('tag', '--points-at', 'HEAD').includes(tag)) yield `The commit has no tag ${tag}.`
  const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Manifest
  if (lock.version !== version)
    yield `package-lock.json is of ${lock.version}: npm install --package-lock-only`
  const [heading] = /^## .*$/m.exec(readFileSync('CHANGELOG.md', 'utf8'))!
  if (!new RegExp(`^## ${RegExp.escape(version)} \\(\\d{4}-\\d\\d-\\d\\d\\)$`).test(heading))
    yield `CHANGELOG.md begins with "${heading}", not with "## ${version} (its date)".`
}

function* whyNotPublished({ repository }: Manifest): Generator<string> {
  if (process.env[IDENTITY] === undefined)
    yield '--publish is for CI, which vouches for what was built from which commit.'
  if (repository === undefined) yield 'package.json names no repository for npm to hold against it.'
}

/** @returns what is wrong; null: nothing is known to be. */
function faultOfPackages(mustKnow: boolean): string | null {
  const { stdout } = spawnSync('npm', ['audit', '--json'], { encoding: 'utf8' })
  const { metadata, message } = JSON.parse(stdout) as Audit
  if (metadata !== undefined) {
    const { total } = metadata.vulnerabilities
    console.log(`audit: ${total} vulnerabilities`)
    return total === 0 ? null : 'Packages have known vulnerabilities: npm audit'
  }
  console.log(`audit: not known. The registry said: ${message}`)
  return mustKnow ? 'It is not known whether packages have vulnerabilities.' : null
}

/** @returns the paths of the package and of what belongs to it. */
function make({ name, version }: Manifest): [string, ...string[]] {
  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(FOLDER)
  execFileSync('npm', ['pack', '--pack-destination', FOLDER], { stdio: 'inherit' })
  const files = [`${name}-${version}.tgz`, `${name}-${version}.cdx.json`] as const
  writeFileSync(join(FOLDER, files[1]), execFileSync(process.execPath, ['scripts/sbom.ts']))
  const sums = files.map((file) => {
    const content = readFileSync(join(FOLDER, file))
    return `${createHash('sha256').update(content).digest('hex')}  ${file}\n`
  })
  writeFileSync(join(FOLDER, 'SHA256SUMS'), sums.join(''))
  return [join(FOLDER, files[0]), join(FOLDER, files[1]), join(FOLDER, 'SHA256SUMS')]
}

const { publish } = parseArgs({ options: { publish: { type: 'boolean', default: false } } }).values
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
const faults = [...faultsOfCommit(manifest.version), ...(publish ? whyNotPublished(manifest) : [])]
if (faults.length === 0) {
  const fault = faultOfPackages(publish)
  if (fault !== null) faults.push(fault)
}
if (faults.length > 0) {
  for (const fault of faults) console.error(fault)
  process.exitCode = 1
} else {
  const [tarball, ...others] = make(manifest)
  console.log([tarball, ...others].join('\n'))
  // A version that is not final is had by who asks for it only.
  const tag = manifest.version.includes('-') ? 'next' : 'latest'
  const command = ['publish', `./${tarball}`, '--provenance', '--access=public', `--tag=${tag}`]
  if (publish) execFileSync('npm', command, { stdio: 'inherit' })
  else console.log(`Not published, which CI does: npm ${command.join(' ')}`)
}
