/** Where a server may keep its data: in a directory of its own, which it can read and write. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { isRoot, needTool } from '../support/tools.ts'
import { LASTING, LocalStore } from './data.ts'
import { cannotMount, Mounted } from './disks.ts'
import { pidIn, refusalOf, Scratch, Served } from './served.ts'

/** Makes root as powerless over files as everybody else. */
function withoutPrivileges(): string[] {
  if (!isRoot()) return []
  const overrides = '-dac_override,-dac_read_search'
  return [needTool('setpriv'), `--bounding-set=${overrides}`, `--inh-caps=${overrides}`]
}

async function makeData(directory: string): Promise<void> {
  await using local = await LocalStore.open(directory)
  await local.store.putPool('default', LASTING)
  await local.do('default', { op: 'create', count: 3 })
}

async function assertData(directory: string): Promise<void> {
  await using local = await LocalStore.open(directory)
  const { keys } = await local.do('default', { op: 'list', limit: 10 })
  assert.equal(keys.length, 3)
}

suite('one process a directory', { concurrency: 2 }, () => {
  test('a second server is refused, whatever happens to the first it is free again', async () => {
    using scratch = new Scratch()
    let count = 0
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await using first = await Served.start(scratch.data)
      await first.create(++count)
      const pid = pidIn(scratch.data)
      assert.equal(
        await refusalOf(scratch.data),
        `token-orchestrator: the data directory ${scratch.data} is in use by process ${pid}\n`,
      )
      process.kill(pid, 0) // it is a process, and alive
      await first.create()
      first.command.kill(signal)
      await first.command.code
    }
    await using served = await Served.start(scratch.data)
    assert.equal(await served.keyCount(), 1 + 1 + 2 + 1)
  })

  test('of two that start at once one is refused', async () => {
    using scratch = new Scratch()
    await makeData(scratch.data)
    const started = await Promise.allSettled([
      Served.start(scratch.data),
      Served.start(scratch.data),
    ])
    const up = started.filter((start) => start.status === 'fulfilled')
    for (const { value } of up) await value[Symbol.asyncDispose]()
    assert.equal(up.length, 1)
    const refused = started.find((start) => start.status === 'rejected')
    assert.match(String(refused!.reason), /is in use by process (\d+|unknown)/)
  })
})

suite('a place that will not do', { concurrency: 2 }, () => {
  test('missing directories are made, for nobody else to read', async () => {
    using scratch = new Scratch()
    const directory = join(scratch.data, 'a/b')
    await using served = await Served.start(directory)
    await served.create()
    assert.equal(statSync(directory).mode & 0o777, 0o700)
    assert.equal(statSync(join(directory, 'state.db')).mode & 0o077, 0)
  })

  test('a file, and what would be below one', async () => {
    using scratch = new Scratch()
    writeFileSync(scratch.data, '')
    for (const place of [scratch.data, join(scratch.data, 'below')]) {
      const said = await refusalOf(place)
      assert.match(said, /the data directory \S+ cannot be read and written: .*ENOTDIR/)
    }
  })

  test('a database that is a directory', async () => {
    using scratch = new Scratch()
    mkdirSync(join(scratch.data, 'state.db'), { recursive: true })
    assert.match(await refusalOf(scratch.data), /cannot be read and written: /)
  })

  for (const [name, modes] of [
    ['a directory that others may only read', { directory: 0o500, file: 0o600 }],
    ['a directory that others may not enter', { directory: 0o000, file: 0o600 }],
    ['a database that others may only read', { directory: 0o700, file: 0o400 }],
    ['a database that others may not read', { directory: 0o700, file: 0o000 }],
  ] as const) {
    test(name, async () => {
      using scratch = new Scratch()
      await makeData(scratch.data)
      const file = join(scratch.data, 'state.db')
      chmodSync(file, modes.file)
      chmodSync(scratch.data, modes.directory)
      const said = await refusalOf(scratch.data, { under: withoutPrivileges() })
      assert.ok(
        said.includes(`the data directory ${scratch.data} cannot be read and written: `),
        said,
      )
      chmodSync(scratch.data, 0o700)
      chmodSync(file, 0o600)
      await assertData(scratch.data)
    })
  }

  test('a new directory where nobody may make one', async () => {
    using scratch = new Scratch()
    chmodSync(scratch.path, 0o500)
    const said = await refusalOf(scratch.data, { under: withoutPrivileges() })
    assert.match(said, /the data directory \S+ cannot be read and written: EACCES/)
  })

  test('a file system that is read-only', { skip: cannotMount }, async () => {
    using scratch = new Scratch()
    await makeData(scratch.data)
    {
      using mounted = Mounted.readOnly(scratch.data)
      const said = await refusalOf(mounted.path)
      assert.match(said, /the data directory \S+ cannot be read and written: /)
      assert.match(await refusalOf(join(mounted.path, 'new')), /cannot be read and written: /)
    }
    await assertData(scratch.data)
  })
})
