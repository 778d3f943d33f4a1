/** The commands of docs/operations.md, against a real server with a disk. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { listeningPort, ROOT, startCli } from '../support/command.ts'
import { blocksIn, Reader } from '../support/shown-commands.ts'
import { needTool } from '../support/tools.ts'

const SECRET = 'a-secret-that-an-operator-drew-at-random'

test('the commands of docs/operations.md do what it says', async () => {
  needTool('curl')
  needTool('jq')
  using reader = new Reader()
  reader.has('admin.secret', `${SECRET}\n`)
  const { directory } = reader
  const settings = ['--data-dir', join(directory, 'data'), '--admin-token-file', 'admin.secret']
  await using server = startCli(['serve', '--port', '0', ...settings], { cwd: directory })
  const port = await listeningPort(server)
  const headers = { authorization: `Bearer ${SECRET}` }
  const keys = { method: 'POST', headers, body: '{"count": 7}' }
  await fetch(`http://127.0.0.1:${port}/keys`, {
    ...keys,
    headers: { ...headers, 'content-type': 'application/json' },
  })
  reader.has('encryption.key', readFileSync(join(directory, 'data/encryption.key'), 'utf8'))
  const blocks = blocksIn(readFileSync(join(ROOT, 'docs/operations.md'), 'utf8'), 'sh')
  assert(blocks.length >= 6)
  const said = await reader.follow(blocks, { 3000: port })
  assert.match(said, /token_orchestrator_keys\{pool="default",state="available"\} 7/)
  assert.match(said, /restored: no faults\. 7 keys in 1 pools/)
  assert.match(readFileSync(join(directory, 'prometheus.token'), 'utf8'), /^tok_[\w-]+\n$/)
})
