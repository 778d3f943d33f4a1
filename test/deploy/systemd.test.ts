/** The unit in deploy/systemd, by systemd itself and by what a real server asks of the kernel. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { readConfig } from '../../src/cli/config.ts'
import { Command, listeningPort, MAIN, ROOT } from '../support/command.ts'
import { isRoot, needTool, run } from '../support/tools.ts'

const UNIT = readFileSync(join(ROOT, 'deploy/systemd/token-orchestrator.service'), 'utf8')
const PROGRAM = '/usr/bin/token-orchestrator'
/** systemd's own word for a unit that is shut off well, at most. */
const GOOD_EXPOSURE = 2

/** The values that the unit gives a name, in order. */
function valuesOf(name: string): string[] {
  return [...UNIT.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value!)
}

/** System calls in a set of systemd's, with those of the sets in it. */
function callsIn(set: string): Set<string> {
  const text = run(needTool('systemd-analyze'), 'syscall-filter', set)
  const lines = text.split('\n').map((line) => line.trim())
  const members = lines.filter((line) => /^@?\w[\w-]*$/.test(line) && line !== set)
  return new Set(members.flatMap((name) => (name.startsWith('@') ? [...callsIn(name)] : [name])))
}

suite('the unit', () => {
  const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
  after(() => {
    rmSync(directory, { recursive: true })
  })
  const file = join(directory, 'token-orchestrator.service')

  test('is one that systemd takes, and well shut off', () => {
    const program = join(directory, 'token-orchestrator')
    writeFileSync(program, '#!/bin/sh\n', { mode: 0o755 })
    assert(UNIT.includes(`ExecStart=${PROGRAM} serve\n`))
    writeFileSync(file, UNIT.replace(PROGRAM, program))
    const analyze = needTool('systemd-analyze')
    assert.equal(run(analyze, 'verify', '--man=no', file), '')
    const verdict = run(analyze, 'security', '--no-pager', '--offline=true', file)
    const [, exposure] = /Overall exposure level for \S+: ([\d.]+)/.exec(verdict)!
    assert(Number(exposure) <= GOOD_EXPOSURE, verdict)
  })

  test('gives settings that there are', () => {
    const env = Object.fromEntries(
      valuesOf('Environment').map((setting) => setting.split('=') as [string, string]),
    )
    const { dataDir, adminTokenFile } = readConfig([], env)
    const [credential] = valuesOf('LoadCredential')
    assert.equal(dataDir, `%S/${valuesOf('StateDirectory')[0]!}`)
    assert.equal(adminTokenFile, `%d/${credential!.split(':')[0]!}`)
    const names = Object.keys(env).filter((name) => name.startsWith('TOKEN_ORCHESTRATOR_'))
    assert.equal(names.length, 2)
  })

  test('lets the server ask the kernel for all that it needs', async () => {
    const [allowed, refused] = valuesOf('SystemCallFilter')
    const calls = callsIn(allowed!)
    for (const set of refused!.slice(1).split(' '))
      for (const call of callsIn(set)) calls.delete(call)
    assert(calls.has('openat') && !calls.has('mount') && !calls.has('setpriority'))
    const summary = join(directory, 'calls')
    const traced = ['-f', '-qq', '-c', '-o', summary, process.execPath, MAIN]
    const settings = ['serve', '--port', '0', '--data-dir', join(directory, 'data')]
    await using command = new Command(needTool('strace'), [...traced, ...settings])
    const origin = `http://127.0.0.1:${await listeningPort(command)}`
    await fetch(`${origin}/keys`, { method: 'POST' })
    for (const path of ['/keys', '/metrics', '/v1/backup', '/docs'])
      assert.equal((await fetch(origin + path)).status, 200, path)
    command.kill('SIGTERM')
    assert.equal(await command.code, 0)
    const rows = readFileSync(summary, 'utf8').matchAll(/^ *[\d.]+ .* (\w+)$/gm)
    const asked = [...rows].map(([, call]) => call!).filter((call) => call !== 'total')
    assert(asked.includes('fsync') || asked.includes('fdatasync'))
    if (isRoot()) calls.add('fchown') // SQLite wants that of root only
    assert.deepEqual(
      asked.filter((call) => !calls.has(call)),
      [],
    )
  })
})
