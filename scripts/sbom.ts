/**
 * Prints what is installed with the package, as locked here, as a bill of materials (CycloneDX): `npm run --silent sbom`.
 * `npm sbom --omit dev` would leave out what our tools need too. So it is shown a package that has none.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Manifest {
  name: string
  devDependencies?: Record<string, string>
}

interface Lock {
  packages: Record<string, { dev?: boolean; devDependencies?: Record<string, string> }>
}

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lock
delete manifest.devDependencies
delete lock.packages['']!.devDependencies
lock.packages = Object.fromEntries(Object.entries(lock.packages).filter(([, { dev }]) => !dev))

const scratch = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
try {
  const folder = join(scratch, manifest.name) // by which npm calls the package
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
  const format = ['--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application']
  execFileSync('npm', ['sbom', ...format], { cwd: folder, stdio: 'inherit' })
} finally {
  rmSync(scratch, { recursive: true })
}
