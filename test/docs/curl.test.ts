/** Each curl command in the documents is tried against a real server, in the order in which it is read. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TestServer } from '../support/server.ts'

const ROOT = join(import.meta.dirname, '../..')
const BASE = 'http://127.0.0.1:3000'

interface Command {
  method: string
  path: string
  headers: Record<string, string>
  body?: string
}

/** The few options of curl that the documents use; any other is a fault here. */
function parse(line: string): Command {
  const words = line.match(/"[^"]*"|'[^']*'|\S+/g)!.map((word) => word.replace(/^["']|["']$/g, ''))
  const command: Command = { method: 'GET', path: '', headers: {} }
  for (let at = 1; at < words.length; at++) {
    const word = words[at]!
    if (word === '-N') continue
    if (word === '-X') command.method = words[++at]!
    else if (word === '-d') {
      command.body = words[++at]!
      command.headers['content-type'] ??= 'application/x-www-form-urlencoded'
    } else if (word === '-H') {
      const [name, value] = words[++at]!.split(': ')
      command.headers[name!.toLowerCase()] = value!
    } else {
      assert(word.startsWith(BASE), `what is ${word}?`)
      command.path = word.slice(BASE.length)
    }
  }
  return command
}

const FILES = [
  'README.md',
  'docs/api.md',
  'docs/classic-api.md',
  'docs/access.md',
  'docs/gateways.md',
  'docs/events.md',
  'docs/dashboard.md',
  'docs/history.md',
]

for (const file of FILES) {
  test(`the curl commands of ${file} do what it says`, async () => {
    await using server = await TestServer.start({ history: { keptMs: 60_000, records: 1000 } })
    const lines = readFileSync(join(ROOT, file), 'utf8').match(/^curl .*$/gm)!
    assert(lines.length >= 2)
    const known: Record<string, string> = {}
    for (const line of lines) {
      const filled = line.replace(/\$(KEY|LEASE|TOKEN|ID)/g, (_, name: string) => known[name]!)
      const { method, path, ...asking } = parse(filled)
      const { status, body } = await server.ask(method, path, asking)
      assert(status >= 200 && status < 300, `${line} is answered ${status}`)
      const { keyId, leaseId, id, token } = (body ?? {}) as Record<string, string | undefined>
      if (leaseId !== undefined) Object.assign(known, { KEY: keyId, LEASE: leaseId })
      if (token !== undefined) Object.assign(known, { ID: id, TOKEN: known.TOKEN ?? token })
      if ((asking.body ?? '').includes('"count": 3'))
        assert.equal((body as { keyIds: [] }).keyIds.length, 3)
    }
  })
}
