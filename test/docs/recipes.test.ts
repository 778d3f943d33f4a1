/** The recipes, done as they are written, with a real server, a real nginx and a provider that refuses. */
import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Key } from '../../src/http/contract/keys.ts'
import { Gateway, NGINX, Upstream } from '../support/gateway.ts'
import { TestServer } from '../support/server.ts'
import { blocksIn, Reader, sectionsOf } from '../support/shown-commands.ts'
import { Holder } from '../support/tokens.ts'
import { needTool } from '../support/tools.ts'
import { assertStatus } from '../support/v1.ts'

const SECTIONS = sectionsOf('docs/recipes.md')

/** A reader of one recipe, who has an admin's token. */
class Cook implements AsyncDisposable {
  readonly server: TestServer
  readonly admin: Holder
  readonly reader = new Reader()

  private constructor(server: TestServer, admin: Holder) {
    this.server = server
    this.admin = admin
  }

  static async start(): Promise<Cook> {
    needTool('curl')
    needTool('jq')
    const server = await TestServer.start()
    return new Cook(server, await Holder.first(server))
  }

  async follow(
    recipe: string,
    ports: Record<number, number> = {},
    variables: Record<string, string> = {},
  ): Promise<string> {
    const { token } = await this.admin.make({ name: 'cook', scopes: ['admin'] })
    const blocks = ['', recipe].flatMap((name) => blocksIn(SECTIONS.get(name)!, 'sh'))
    return this.reader.follow(
      blocks,
      { 3000: this.server.port, ...ports },
      { TOKEN_ORCHESTRATOR_TOKEN: token, ...variables },
    )
  }

  async keys(pool: string): Promise<Key[]> {
    const answer = assertStatus(await this.admin.ask('GET', `/v1/pools/${pool}/keys`), 200)
    return (answer.body as { keys: Key[] }).keys
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.reader[Symbol.dispose]()
    await this.server[Symbol.asyncDispose]()
  }
}

suite('recipes', () => {
  test('rate-limited keys of a provider', async () => {
    await using cook = await Cook.start()
    const values = ['sk-1', 'sk-2', 'sk-3']
    cook.reader.has('keys.txt', `${values.join('\n')}\n`)
    const used: (string | undefined)[] = []
    using provider = await Upstream.start((request, response) => {
      used.push(request.headers.authorization)
      if (used.length === 1) response.writeHead(429, { 'Retry-After': '90' })
      else if (used.length === 2) response.writeHead(401)
      else if (used.length === 3) response.writeHead(502)
      response.end('{"answer": "hello to you"}')
    })
    const said = cook.follow('Rate-limited keys of a provider', { 9000: provider.port })
    // The third key fails and rests for 10 s, so there is none to give until somebody brings one.
    const fourth = async (): Promise<void> => {
      while (used.length < 3 || cook.server.orchestrator.waiters('llm') === 0)
        await new Promise((resolve) => setImmediate(resolve))
      const body = JSON.stringify({ keys: [{ value: 'sk-4' }] })
      const headers = { 'content-type': 'application/json' }
      assertStatus(await cook.admin.ask('POST', '/v1/pools/llm/keys', { headers, body }), 201)
    }
    const [text] = await Promise.all([said, fourth()])
    assert.equal(text.match(/trying another key/g)!.length, 3)
    assert.match(text, /"answer": "hello to you"/)
    assert.deepEqual(
      used.slice(0, 3).toSorted(),
      values.map((value) => `Bearer ${value}`),
    )
    assert.equal(used[3], 'Bearer sk-4')
    const keys = await cook.keys('llm')
    const failures = keys.map(({ disabled, failures }) => (disabled ? 'invalid' : failures))
    assert.deepEqual(failures.toSorted(), [0, 1, 1, 'invalid'])
    const rests = keys.filter(
      ({ coolingUntil }) => Date.parse(coolingUntil ?? '') > Date.now() + 30_000,
    )
    assert.equal(rests.length, 1, 'as long as the provider said')
  })

  test('licence seats', async () => {
    await using cook = await Cook.start()
    const said = await cook.follow('Licence seats')
    assert.match(said, /^machine-7 since 20\d\d-/m)
    assert.match(said, /\{"released":true\}/)
    assert.match(said, /\{"revoked":1\}/)
    const states = (await cook.keys('seats')).map(({ state }) => state)
    assert.deepEqual(states, Array<string>(5).fill('available'))
  })

  test('short-lived keys behind nginx', async () => {
    await using cook = await Cook.start()
    using guarded = await Upstream.start((request, response) => {
      response.end(`hello, ${String(request.headers['x-key-id'])}\n`)
    })
    const { token } = await cook.admin.make({ name: 'nginx', scopes: ['introspect'] })
    const ports = { server: cook.server.port, upstream: guarded.port }
    await using nginx = await Gateway.start(NGINX, ports, token)
    const said = await cook.follow('Short-lived keys behind nginx', { 8080: nginx.port })
    assert.match(said, /^hello, [0-9a-f-]{36}$/m)
    assert.match(said, /401\n$/)
    assert.deepEqual(await cook.keys('visitors'), [])
  })

  test('test accounts in CI', async () => {
    await using cook = await Cook.start()
    const job =
      '#!/bin/sh\necho "tests as $TEST_USER with $TEST_PASSWORD"\n[ -z "$TEST_USER" ] || exit 3\n'
    cook.reader.has('run-tests', job)
    chmodSync(join(cook.reader.directory, 'run-tests'), 0o700)
    // The job fails, and gives its account back all the same.
    await assert.rejects(
      cook.follow('Test accounts in CI', {}, { JOB_ID: '42' }),
      (error: Error) => {
        assert.match(
          error.message,
          /tests as (alice|bob)@example\.com with (correct horse|battery staple)/,
        )
        assert.match(error.message, /tests as {2}with (correct horse|battery staple)/)
        assert.match(error.message, /\{"released":true\}/)
        return true
      },
    )
    const states = (await cook.keys('accounts')).map(({ state }) => state)
    assert.deepEqual(states, ['available', 'available'])
  })

  test('there are no others', () => {
    assert.deepEqual([...SECTIONS.keys()].slice(1), [
      'Rate-limited keys of a provider',
      'Licence seats',
      'Short-lived keys behind nginx',
      'Test accounts in CI',
    ])
  })
})
