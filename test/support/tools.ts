/** Programs that tests need beside Node. Nothing is skipped for want of one. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Debian's packages, where they are not called as the program is. */
const PACKAGES: Record<string, string> = {
  ip: 'iproute2',
  kubectl: 'kubernetes-client',
  'mkfs.xfs': 'xfsprogs',
  mount: 'mount',
  nsenter: 'util-linux',
  promtool: 'prometheus',
  script: 'bsdutils',
  setpriv: 'util-linux',
  'systemd-analyze': 'systemd',
  unshare: 'util-linux',
}
const INSTALL_MS = 120_000

/**
 * The path of a program, which is installed where this user may and the system is Debian's.
 * @throws Error that names the command which installs it.
 */
export function needTool(name: string): string {
  const found = findTool(name)
  if (found !== null) return found
  const install = `apt-get install -y ${PACKAGES[name] ?? name}`
  if (isRoot() && findTool('apt-get') !== null) {
    run('apt-get', 'update')
    run(...(install.split(' ') as [string, ...string[]]))
  }
  const installed = findTool(name)
  if (installed === null) throw new Error(`These tests need ${name}. Install it: ${install}`)
  return installed
}

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Runs a program to its end. @throws Error with what it said, if that is a bad one. */
export function run(name: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(name, args, {
    encoding: 'utf8',
    timeout: INSTALL_MS,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  if (status === 0) return stdout
  throw new Error(`${[name, ...args].join(' ')}: ${error?.message ?? stderr}`)
}

function findTool(name: string): string | null {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const file = join(directory, name)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {
      continue
    }
  }
  return null
}
