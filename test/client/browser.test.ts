/** The client in a page of a real browser, as it is shipped. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import ts from 'typescript'
import type * as Client from '../../src/client/client.ts'
import { launchBrowser, type OpenPage, openPage } from '../support/browser.ts'
import { ROOT } from '../support/command.ts'
import { TestServer } from '../support/server.ts'
import { Holder } from '../support/tokens.ts'
import { assertStatus, PoolClient } from '../support/v1.ts'

/** A name that is not loopback's, so that a page of it by plain HTTP is trusted with less. */
const PLAIN_HOST = 'keys.test'
const KEYS = 5
const TTL_MS = 3000
/** What it sends has a policy that forbids all but scripts and answers of its own origin. */
const STRICT = '/dashboard/icon.svg'
/** What it sends forbids nothing. */
const LAX = '/healthz'

/** What `npm run build` makes of the client. */
function builtClient(): Map<string, string> {
  const { options } = ts.getParsedCommandLineOfConfigFile(
    join(ROOT, 'tsconfig.build.json'),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  )!
  // A file by itself does not know that its package is made of modules.
  const compilerOptions = { ...options, module: ts.ModuleKind.ESNext }
  return new Map(
    globSync(join(ROOT, 'src/client/*.ts')).map((file) => [
      basename(file).replace(/ts$/, 'js'),
      ts.transpileModule(readFileSync(file, 'utf8'), { compilerOptions }).outputText,
    ]),
  )
}

const built = builtClient()
let browser: Browser
before(async () => {
  browser = await launchBrowser(`--host-resolver-rules=MAP ${PLAIN_HOST} 127.0.0.1`)
})
after(() => browser.close())

/** A page of the server, of which only its origin matters, and beside it the built client as if the server had sent it. */
async function visit(origin: string, path: string): Promise<OpenPage> {
  const opened = await openPage(browser)
  await opened.page.route(`${origin}/app/*`, (route) => {
    const body = built.get(basename(route.request().url()))!
    return route.fulfill({ headers: { 'content-type': 'text/javascript' }, body })
  })
  await opened.page.goto(origin + path)
  return opened
}

/** What of the options of a client can be handed to a page. */
interface Options {
  url: string
  token?: string
  retryForMs?: number
}

/** The client, which the page then has as `client`. */
async function load(page: Page, options: Options): Promise<void> {
  await page.evaluate(async (options) => {
    const module = '/app/client.js'
    const { TokenOrchestrator } = (await import(module)) as typeof Client
    Object.assign(globalThis, { client: new TokenOrchestrator(options) })
  }, options)
}

/** What the pages have as global names. */
declare const client: Client.TokenOrchestrator
declare const held: Client.Lease

async function makePool(server: TestServer): Promise<PoolClient> {
  const pool = await PoolClient.make(server, { keyLifetimeMs: null })
  await pool.create(KEYS)
  return pool
}

suite('in a page of the origin of the server', () => {
  test('what comes of the work is said of the key', async () => {
    await using server = await TestServer.start()
    const pool = await makePool(server)
    const url = `http://localhost:${server.port}`
    const { page } = await visit(url, STRICT)
    await load(page, { url })
    const seen = await page.evaluate(async () => {
      const three = [1, 2, 3].map(() => client.withKey('pool', ({ keyId }) => keyId))
      const tooMany = new Response(null, { status: 429, headers: { 'retry-after': '3600' } })
      const thrown = await client
        .withKey('pool', () => {
          // eslint-disable-next-line @typescript-eslint/only-throw-error -- as docs/client.md does
          throw tooMany
        })
        .catch((error: unknown) => error)
      const refused = await client.lease('elsewhere').catch((error: unknown) => error)
      return {
        different: new Set(await Promise.all(three)).size,
        isThrown: thrown === tooMany,
        code: (refused as Client.ProblemError).code,
      }
    })
    assert.deepEqual(seen, { different: 3, isThrown: true, code: 'pool_not_found' })
    const { available, cooling } = (await pool.show()).counts
    assert.deepEqual({ available, cooling }, { available: KEYS - 1, cooling: 1 })
    await page.close()
  })

  test('a lease renews itself, and its signal tells of a revocation', async () => {
    await using server = await TestServer.start()
    const pool = await makePool(server)
    const url = `http://localhost:${server.port}`
    const { page } = await visit(url, STRICT)
    await load(page, { url })
    const { leaseId, keyId } = await page.evaluate(async (ttlMs) => {
      const held = await client.lease('pool', { ttlMs })
      Object.assign(globalThis, { held })
      return { leaseId: held.leaseId, keyId: held.keyId }
    }, TTL_MS)
    for (let renewals = 0; renewals < 3;) {
      const { grantedAt, expiresAt } = await pool.lease(leaseId)
      renewals = (Date.parse(expiresAt) - Date.parse(grantedAt) - TTL_MS) / (TTL_MS / 3)
    }
    const told = page.evaluate(async () => {
      if (!held.signal.aborted) {
        await new Promise((resolve) => {
          held.signal.addEventListener('abort', resolve)
        })
      }
      const { name, reason } = held.signal.reason as Client.LeaseLostError
      return { name, reason, released: await held.release() }
    })
    assertStatus(await pool.ask('DELETE', `/keys/${keyId}/lease`), 204)
    assert.deepEqual(await told, { name: 'LeaseLostError', reason: 'revoked', released: false })
    await page.close()
  })

  test('that came by plain HTTP from another machine', async () => {
    await using server = await TestServer.start()
    await makePool(server)
    const { token } = await new Holder(server, {}).make({ scopes: ['admin'] })
    const url = `http://${PLAIN_HOST}:${server.port}`
    const { page } = await visit(url, STRICT)
    await load(page, { url, token })
    const alone = await page.evaluate(async () => client.withKey('pool', ({ key }) => key.length))
    const together = await page.evaluate(async () =>
      Promise.all([1, 2].map(() => client.withKey('pool', ({ key }) => key.length))),
    )
    assert.deepEqual([alone, ...together], [36, 36, 36])
    await page.close()
  })
})

test('a page of another origin reaches no server, whatever its access token', async () => {
  await using server = await TestServer.start()
  await makePool(server)
  const { token } = await new Holder(server, {}).make({ scopes: ['admin'] })
  const url = `http://localhost:${server.port}`
  const { page, complaints } = await visit(`http://${PLAIN_HOST}:${server.port}`, LAX)
  await load(page, { url, token, retryForMs: 0 })
  const refused = await page.evaluate(() =>
    client.lease('pool', { waitMs: 0 }).catch((error: unknown) => String(error)),
  )
  assert.equal(refused, `UnreachableError: ${url} cannot be reached.`)
  assert.match(complaints.join(), /blocked by CORS policy/)
  await page.close()
})
