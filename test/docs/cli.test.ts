/** The commands of docs/cli.md do what it says, against a real server. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { COMMANDS } from '../../src/cli/commands.ts'
import { ROOT } from '../support/command.ts'
import { TestServer } from '../support/server.ts'
import { blocksIn, Reader } from '../support/shown-commands.ts'
import { needTool } from '../support/tools.ts'

const TEXT = readFileSync(join(ROOT, 'docs/cli.md'), 'utf8')
const KEYS = 'value,name,metadata\nsk-live-1,billing,"{""region"": ""eu""}"\nsk-live-2,,\n'

test('the commands of docs/cli.md do what it says', async () => {
  needTool('jq')
  await using server = await TestServer.start()
  using reader = new Reader()
  reader.has('keys.csv', KEYS)
  reader.has('pools.yaml', blocksIn(TEXT, 'yaml')[0]!)
  const home = { HOME: reader.directory }
  const said = await reader.follow(blocksIn(TEXT, 'sh'), { 3000: server.port }, home)
  assert.match(said, /imported 2 keys; 0 were there already/)
  assert.match(said, /disabled [0-9a-f-]{36}\n/)
  assert.match(said, /^[0-9a-f-]{36} +billing +disabled/m)
  assert.match(said, /deleted [0-9a-f-]{36}\n/)
  assert.match(said, /1 pools would be made, 1 would be changed, 0 as they are\n/)
  assert.match(said, /renewed until 20.*\n[^]*worker-7 +20[^]*\nreleased\nrevoked 0 leases\n/)
  assert.match(said, /worker 7 +leases +llm +20/)
})

test('docs/cli.md shows each command that asks a server', async () => {
  for (const [name, { usage }] of Object.entries(COMMANDS))
    if (usage === 'COMMAND') assert.match(TEXT, new RegExp(`^token-orchestrator ${name} `, 'm'))
})
