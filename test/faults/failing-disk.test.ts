/** A disk that fails while the server uses it: what it has acknowledged is there, and it does not go on. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { needTool } from '../support/tools.ts'
import { Load, UNHURRIED } from './load.ts'
import { refusalOf, Scratch, Served } from './served.ts'

/** Runs a command in which calls to the system fail: of each thread those that `when` says (strace(1)). */
function failing(calls: string, when: string, file?: string): string[] {
  const strace = [needTool('strace'), '-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`]
  const which = file === undefined ? ['--seccomp-bpf'] : ['-P', file]
  return [...strace, ...which, '-e', `inject=${calls}:error=EIO:when=${when}`]
}

suite('while it serves', { concurrency: 2 }, () => {
  for (const [name, calls, when] of [
    ['every sync', 'fsync,fdatasync', '150+'],
    ['one sync', 'fsync,fdatasync', '150'],
    ['every write', 'pwrite64', '300+'],
    ['one write', 'pwrite64', '301'],
  ] as const) {
    test(`${name} fails: it ends by itself, and nothing acknowledged is lost`, async () => {
      using scratch = new Scratch()
      const load = new Load(1)
      {
        const under = failing(calls, when)
        await using served = await Served.start(scratch.data, { args: UNHURRIED, under })
        load.begin(served)
        assert.equal(await served.command.code, 1, served.command.stdout)
        await load.end()
        assert.match(served.command.stdout, /"level":"error","message":"the store failed/)
        assert.equal(served.command.stderr, '')
      }
      assert.ok(load.acknowledged > 50, `${load.acknowledged} were acknowledged`)
      assert.equal(load.count(/ 500/), 0)
      assert.equal(load.count(/ 503(?! storage_failed)/), 0)
      assert.ok(load.count(/broke|storage_failed/) > 0)
      await using served = await Served.start(scratch.data)
      await load.audit(served)
    })
  }
})

suite('at the start', { concurrency: 2 }, () => {
  for (const [name, calls] of [
    ['every sync', 'fsync,fdatasync'],
    ['every write', 'pwrite64'],
  ] as const) {
    test(`${name} fails: it says so`, async () => {
      using scratch = new Scratch()
      const said = await refusalOf(scratch.data, { under: failing(calls, '1+') })
      assert.match(said, /disk I\/O error|EIO/)
      assert.ok(said.includes(scratch.data), said)
    })
  }

  test('every write fails while new settings are saved: it says so', async () => {
    using scratch = new Scratch()
    {
      await using served = await Served.start(scratch.data)
      await served.create()
      await served.kill()
    }
    const under = failing('pwrite64', '1+')
    const said = await refusalOf(scratch.data, { under, args: ['--lease-ttl', '7s'] })
    assert.match(said, /disk I\/O error/)
  })

  test('every read fails: it says so', async () => {
    using scratch = new Scratch()
    {
      await using served = await Served.start(scratch.data)
      await served.create()
      served.command.kill('SIGTERM')
      assert.equal(await served.command.code, 0)
    }
    const file = join(scratch.data, 'state.db')
    const said = await refusalOf(scratch.data, { under: failing('pread64', '1+', file) })
    assert.match(said, /disk I\/O error/)
    assert.ok(said.includes(scratch.data), said)
  })
})
