/** /dashboard, in a real browser: everything that it shows and does, to whom, and at what cost. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test, type TestContext } from 'node:test'
import axe from 'axe-core'
import type { Browser, Page } from 'playwright-core'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { launchBrowser, openPage } from '../support/browser.ts'
import { ROOT, startServe } from '../support/command.ts'
import { json, TestServer } from '../support/server.ts'
import { Holder } from '../support/tokens.ts'
import { assertStatus, type Lease, PoolClient } from '../support/v1.ts'

const MAX_BYTES = 100_000
const SECRET = 'sk-never-shown'

let browser: Browser
before(async () => {
  browser = await launchBrowser()
})
after(() => browser.close())

async function visit(server: TestServer, hash = ''): Promise<Page> {
  const { page, complaints } = await openPage(browser)
  page.on('close', () => {
    // A refused request is no fault of the page.
    const faults = complaints.filter((text) => !text.startsWith('Failed to load resource'))
    assert.deepEqual(faults, [])
  })
  await page.goto(`http://localhost:${server.port}/dashboard${hash}`)
  return page
}

async function assertAccessible(page: Page, what: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    await page.evaluate(axe.source)
    const { violations } = await page.evaluate<axe.AxeResults>('axe.run()')
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes[0]!.html}`)
    assert.deepEqual(found, [], `${what}, ${colorScheme}`)
  }
}

/** The row of a key or a pool. */
function row(page: Page, title: string): ReturnType<Page['locator']> {
  return page.locator('tbody tr').filter({ has: page.getByRole('rowheader', { name: title }) })
}

/** Fills in the dialog that is open, and goes on. */
async function answer(
  page: Page,
  action: string,
  fields: Record<string, string> = {},
): Promise<void> {
  const dialog = page.getByRole('dialog')
  for (const [label, text] of Object.entries(fields)) await dialog.getByLabel(label).fill(text)
  await dialog.getByRole('button', { name: action, exact: true }).click()
}

/** The label of what has the focus. */
function focused(page: Page): Promise<unknown> {
  return page.evaluate('document.activeElement.ariaLabel')
}

const short = (keyId: string): string => keyId.slice(0, 8)

suite('every action', () => {
  test('on pools and keys', async () => {
    await using server = await TestServer.start()
    const page = await visit(server)
    await page.getByRole('button', { name: 'New pool' }).click()
    await answer(page, 'Make the pool', {
      Name: 'fresh',
      'Life of a key that nobody keeps alive': '',
      'Rest of a key after a lease': '2m',
    })
    await page.getByRole('heading', { name: 'fresh' }).waitFor()
    const pool = new PoolClient(server, 'fresh')
    const { policy } = assertStatus(await pool.ask('GET', ''), 200).body as {
      policy: Record<string, unknown>
    }
    assert.deepEqual(policy, { ...DEFAULT_POLICY, keyLifetimeMs: null, cooldownMs: 120_000 })

    await page.getByRole('button', { name: 'Make keys' }).click()
    await answer(page, 'Make them', { 'How many': '2' })
    await page.getByText('2 keys are made.').waitFor()
    await page.getByRole('button', { name: 'Import keys' }).click()
    await answer(page, 'Import them', { 'Values, one on each line': `${SECRET}\n\n ${SECRET}-2` })
    await page.getByText('2 keys are imported.').waitFor()
    await page.locator('tbody tr').nth(3).waitFor()

    const { keyId } = await pool.acquire({ holder: 'worker-1' })
    const held = row(page, short(keyId))
    await held.getByText('worker-1').waitFor()
    assert.equal(await held.getByRole('progressbar').count(), 1)
    await page.getByRole('button', { name: `Disable key ${short(keyId)}` }).click()
    await answer(page, 'Disable', { Why: 'it has leaked' })
    await held.getByText('it has leaked').waitFor()
    await page.getByRole('button', { name: `Revoke key ${short(keyId)}` }).click()
    await answer(page, 'Revoke')
    await held.locator('.badge.disabled').waitFor()
    await page.getByRole('button', { name: `Enable key ${short(keyId)}` }).click()
    await answer(page, 'Enable')
    await held.locator('.badge.available').waitFor()

    await page.getByRole('button', { name: `Delete key ${short(keyId)}` }).click()
    await answer(page, 'Delete')
    await held.waitFor({ state: 'detached' })
    assert.equal((await pool.ask('GET', `/keys/${keyId}`)).status, 404)
    assert.ok(!(await page.content()).includes(SECRET))

    await page.getByRole('button', { name: 'Delete pool' }).click()
    await answer(page, 'Delete it', { 'Type fresh to go on': 'other' })
    await page.getByRole('alert').getByText('That is not fresh.').waitFor()
    await answer(page, 'Delete it', { 'Type fresh to go on': 'fresh' })
    await page.getByRole('heading', { name: 'Pools', exact: true }).waitFor()
    assert.equal((await pool.ask('GET', '')).status, 404)
    await page.close()
  })

  test('that is not confirmed is not done, and what is refused is explained', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { maxKeys: 1 })
    const [keyId] = await pool.create()
    const page = await visit(server, '#/pools/pool')
    const remove = page.getByRole('button', { name: `Delete key ${short(keyId!)}` })
    await remove.click()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    assert.equal(await focused(page), `Delete key ${short(keyId!)}`)
    await page.getByRole('button', { name: 'Make keys' }).click()
    await answer(page, 'Make them')
    await page.getByRole('alert').getByText('more keys than its maxKeys').waitFor()
    assertStatus(await pool.ask('GET', `/keys/${keyId!}`), 200)
    await page.close()
  })
})

suite('what is shown', () => {
  test('is how things are, without anybody asking', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { failureCooldownMs: 60_000, cooldownMs: 1500 })
    const page = await visit(server)
    const numbers = row(page, 'pool').locator('.number')
    await page.getByText('Live').waitFor()
    await pool.create(3)
    const first = await pool.acquire()
    await numbers.filter({ hasText: '2' }).first().waitFor()
    assert.deepEqual((await numbers.allTextContents()).slice(0, 5), ['2', '1', '0', '0', '0'])

    await page.getByRole('link', { name: 'pool', exact: true }).click()
    await page.getByText('Whoever asks gets one of 2 keys.').waitFor()
    await page.getByText('Live').waitFor()
    const others = [await pool.acquire({ holder: 'b' }), await pool.acquire({ holder: 'c' })]
    const button = page.getByRole('button', { name: `Revoke key ${short(others[0]!.keyId)}` })
    await row(page, short(others[1]!.keyId)).getByText('c', { exact: true }).waitFor()
    await button.focus()
    const waiting = pool.ask('POST', '/leases', { waitMs: 50_000 })
    await page.getByText(/^Nothing is available: 3 leased and 0 cooling\. The next/).waitFor()
    await page.locator('.tile').filter({ hasText: 'Waiting' }).getByText('1').waitFor()
    await pool.ask('POST', `/leases/${first.leaseId}/release`, { outcome: 'error' })
    const cooling = row(page, short(first.keyId))
    await cooling.locator('.badge.cooling').waitFor()
    assert.equal((await cooling.locator('.number').textContent())?.trim(), '1')
    assert.equal(await focused(page), `Revoke key ${short(others[0]!.keyId)}`)
    await pool.ask('PATCH', `/keys/${first.keyId}`, { coolingUntil: null })
    await row(page, short(first.keyId)).locator('.badge.leased').waitFor()
    assertStatus(await waiting, 201)
    // A rest that is over by itself is seen too.
    const { leaseId, keyId } = others[1]!
    await pool.ask('POST', `/leases/${leaseId}/release`)
    await row(page, short(keyId)).locator('.badge.available').waitFor()
    await pool.ask('DELETE', '?force=true')
    await page.getByRole('alert').getByText('Pool pool was deleted.').waitFor()
    await page.close()
  })

  test('is taken up again when the server is back', async () => {
    const first = await startServe()
    const { port } = first
    const { page } = await openPage(browser)
    const origin = `http://localhost:${port}`
    await page.goto(`${origin}/dashboard#/pools/default`)
    await page.getByText('Live').waitFor()
    first.command.kill('SIGKILL')
    await first[Symbol.asyncDispose]()
    await page.getByText('Reconnecting…').waitFor()
    await using second = await startServe(['--port', String(port)])
    assert.equal(second.port, port)
    await page.getByText('Live').waitFor()
    const made = await fetch(`${origin}/keys`, { method: 'POST' })
    const { keyId } = (await made.json()) as { keyId: string }
    await row(page, short(keyId)).waitFor()
    await page.close()
  })

  test('can be narrowed to a state, and paged', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    await pool.create(120)
    const leases = [await pool.acquire(), await pool.acquire()]
    const page = await visit(server, '#/pools/pool')
    const rows = page.locator('tbody tr')
    await rows.nth(49).waitFor()
    const seen = new Set(await rows.getByRole('rowheader').allTextContents())
    for (const number of [2, 3]) {
      await page.getByRole('button', { name: 'Next page' }).click()
      await page.getByText(`Page ${number}`).waitFor()
      for (const id of await rows.getByRole('rowheader').allTextContents()) seen.add(id)
    }
    assert.equal(seen.size, 120)
    assert.ok(await page.getByRole('button', { name: 'Next page' }).isDisabled())
    await page.getByRole('radio', { name: 'Leased' }).check()
    await page.getByText('Page 1').waitFor()
    for (const { keyId } of leases) await row(page, short(keyId)).waitFor()
    await rows.nth(2).waitFor({ state: 'detached' })
    assert.equal(await rows.count(), 2)
    await page.close()
  })
})

suite('the history of a key', () => {
  const history = { keptMs: 24 * 3_600_000, records: 10_000 }
  const open = (page: Page, keyId: string): Promise<void> =>
    page.getByRole('button', { name: `History of key ${short(keyId)}` }).click()

  test('who held it when, how that ended, and who changed what, the latest first', async () => {
    await using server = await TestServer.start({ history })
    const admin = await Holder.first(server)
    const ask = async (method: string, path: string, body: object): Promise<unknown> =>
      (await admin.ask(method, `/v1/pools/default${path}`, json(body))).body
    const { keyIds } = (await ask('POST', '/keys', { keys: [{ value: SECRET }] })) as {
      keyIds: [string]
    }
    const [keyId] = keyIds
    const lease = (await ask('POST', '/leases', { holder: 'worker-7' })) as Lease
    await ask('POST', `/leases/${lease.leaseId}/release`, { outcome: 'rate_limited' })
    await ask('PATCH', `/keys/${keyId}`, { disabled: true, reason: 'leaked' })
    const { id, token } = await admin.make({ scopes: ['read'], pools: ['default'] })
    const page = await visit(server, '#/pools/default')
    await page.getByLabel('Access token').fill(token)
    await page.keyboard.press('Enter')
    await open(page, keyId)
    const dialog = page.getByRole('dialog', { name: `History of key ${short(keyId)}` })
    await dialog.getByText('Nothing is missing since').waitFor()
    const rows = await dialog.locator('tbody tr').all()
    const cells = await Promise.all(rows.map((row) => row.locator('th, td').allTextContents()))
    const fence = String(lease.fencingToken)
    assert.deepEqual(
      cells.map(([, what, holder, by, outcome, until, token]) => {
        return [what, holder, by, outcome, until !== '', token]
      }),
      [
        ['disabled', '', 'admin', '', true, ''],
        ['released', 'worker-7', '', 'rate_limited', true, fence],
        ['leased', 'worker-7', '', '', true, fence],
        ['created', '', 'admin', '', false, ''],
      ],
    )
    const granted = dialog.locator('tbody tr').nth(2).locator('time')
    assert.equal(await granted.nth(0).getAttribute('datetime'), lease.grantedAt)
    assert.equal(await granted.nth(1).getAttribute('datetime'), lease.expiresAt)
    const content = await page.content()
    for (const secret of [SECRET, lease.leaseId]) assert.ok(!content.includes(secret))
    assert.ok(!page.url().includes(keyId))
    await assertAccessible(page, 'the history of a key')
    await page.setViewportSize({ width: 360, height: 700 })
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), 360)
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
    assert.equal(await focused(page), `History of key ${short(keyId)}`)

    await open(page, keyId)
    await dialog.waitFor()
    assertStatus(await admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await dialog.waitFor({ state: 'detached' })
    await page.close()
  })

  test('comes in pages', async () => {
    await using server = await TestServer.start({ history })
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    for (let change = 0; change < 119; change++) await pool.ask('POST', `/keys/${keyId!}/keepalive`)
    const page = await visit(server, '#/pools/pool')
    await open(page, keyId!)
    const rows = page.getByRole('dialog').locator('tbody tr')
    const older = page.getByRole('button', { name: 'Show older ones' })
    await rows.nth(49).waitFor()
    assert.equal(await rows.count(), 50)
    await older.click()
    await rows.nth(99).waitFor()
    await older.click()
    await rows.nth(119).waitFor()
    await older.waitFor({ state: 'hidden' })
    assert.equal(await rows.getByRole('rowheader', { name: 'kept alive' }).count(), 119)
    assert.equal(await rows.last().getByRole('rowheader').textContent(), 'created')
    assert.equal(await focused(page), 'Table of changes')
    await page.close()
  })

  test('is said to be none where the server keeps none', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server)
    const [keyId] = await pool.create()
    const page = await visit(server, '#/pools/pool')
    await open(page, keyId!)
    const dialog = page.getByRole('dialog')
    await dialog.getByText('This server keeps no history.').waitFor()
    await assertAccessible(page, 'the history that there is none of')
    await dialog.getByRole('button', { name: 'Close' }).click()
    await dialog.waitFor({ state: 'detached' })
    await page.close()
  })
})

suite('who has an access token', () => {
  test('signs in with it, and is signed out when it ends', async () => {
    await using server = await TestServer.start()
    const admin = await Holder.first(server)
    const { id, token } = await admin.make({ scopes: ['read'], pools: ['default'] })
    assertStatus(
      await admin.ask('PUT', '/v1/pools/hidden', {
        headers: { 'content-type': 'application/json' },
        body: '{}',
      }),
      201,
    )
    const page = await visit(server)
    const input = page.getByLabel('Access token')
    await input.fill('tok_wrong')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText('wrong, deleted or expired').waitFor()
    await input.fill(token)
    await page.keyboard.press('Enter')
    await page.getByRole('link', { name: 'default' }).waitFor()
    assert.equal(await page.locator('tbody tr').count(), 1)
    assert.ok(!page.url().includes(token))
    assert.equal(await page.evaluate('localStorage.length + document.cookie.length'), 0)

    await page.getByRole('link', { name: 'default' }).click()
    await page.getByRole('button', { name: 'Make keys' }).click()
    await answer(page, 'Make them')
    await page.getByRole('alert').getByText('It needs the scope keys:write.').waitFor()
    await page.keyboard.press('Escape')
    assertStatus(await admin.ask('DELETE', `/v1/tokens/${id}`), 204)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    assert.equal(await page.evaluate('sessionStorage.length'), 0)
    await page.close()
  })

  test('is told what is not for him', async () => {
    await using server = await TestServer.start()
    const admin = await Holder.first(server)
    const { token } = await admin.make({ scopes: ['leases'] })
    const page = await visit(server)
    await page.getByLabel('Access token').fill(token)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText('It needs the scope read.').waitFor()
    await page.close()
  })
})

suite('accessibility', () => {
  test('no page and no dialog has a fault that axe finds, in light and in dark', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, { failureCooldownMs: 60_000 })
    await pool.create(4)
    const { leaseId } = await pool.acquire({ holder: 'me' })
    await pool.ask('POST', `/leases/${leaseId}/release`, { outcome: 'error' })
    const { keyId } = await pool.acquire({ holder: 'me' })
    const [other] = await pool.create()
    await pool.ask('PATCH', `/keys/${other!}`, { disabled: true, reason: 'leaked' })
    const page = await visit(server)
    await page.getByText('Live').waitFor()
    await row(page, 'pool').locator('.number').filter({ hasText: '2' }).first().waitFor()
    await assertAccessible(page, 'pools')
    await page.getByRole('button', { name: 'New pool' }).click()
    await assertAccessible(page, 'the dialog of a new pool')
    await page.keyboard.press('Escape')
    await page.getByRole('link', { name: 'pool', exact: true }).click()
    await row(page, short(keyId)).waitFor()
    await page.getByText('Policy').click()
    await assertAccessible(page, 'a pool')
    await page.getByRole('button', { name: `Delete key ${short(keyId)}` }).click()
    await assertAccessible(page, 'a dialog that is dangerous')
    await page.keyboard.press('Escape')
    await Holder.first(server)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    await assertAccessible(page, 'signing in')
    await page.close()
  })

  test('a narrow screen is enough: only tables scroll sideways', async () => {
    await using server = await TestServer.start()
    const pool = await PoolClient.make(server, {}, 'a'.repeat(64))
    const [keyId] = await pool.create()
    const page = await visit(server)
    await page.setViewportSize({ width: 360, height: 700 })
    const link = page.getByRole('link', { name: 'a'.repeat(64) })
    const width = 'document.documentElement.scrollWidth'
    await link.waitFor()
    assert.equal(await page.evaluate(width), 360)
    await link.click()
    await row(page, short(keyId!)).waitFor()
    assert.equal(await page.evaluate(width), 360)
    await page.close()
  })

  test('a keyboard is enough', async () => {
    await using server = await TestServer.start()
    const page = await visit(server)
    await page.getByRole('link', { name: 'default' }).waitFor()
    assert.equal(await page.evaluate('document.activeElement.tagName'), 'H1')
    const press = async (key: string, until: string): Promise<void> => {
      for (let times = 0; times < 20; times++) {
        await page.keyboard.press(key)
        if ((await page.evaluate('document.activeElement.textContent')) === until) return
      }
      assert.fail(`no key leads to ${until}`)
    }
    await press('Tab', 'default')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'default' }).waitFor()
    await press('Tab', 'Make keys')
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    await page.keyboard.press('Enter')
    await page.getByText('1 key is made.').waitFor()
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'Make keys')
    await page.close()
  })
})

suite('size', () => {
  test('100 000 pools and a pool with a million keys are shown by the page', async (context) => {
    const million = 1_000_000
    await using server = await TestServer.start({ maxPools: 100_000, maxTotalKeys: million })
    const { orchestrator } = server
    for (let number = 1; number < 100_000; number++) {
      await orchestrator.putPool(`pool-${number}`, DEFAULT_POLICY)
    }
    for (let made = 0; made < million; made += 10_000) {
      await orchestrator.run('pool-99999', [{ op: 'create', count: 10_000 }])
    }
    const page = await visit(server)
    await page.getByText('Pools 1 to 50').waitFor()
    await reportPaint(context, page)
    await page.getByRole('button', { name: 'Next page' }).click()
    await row(page, 'pool-99').waitFor()
    await page.getByText('Pools 51 to 100').waitFor()
    await page.getByRole('searchbox').fill('pool-99999')
    await page.keyboard.press('Enter')
    await page.getByText('Whoever asks gets one of 1,000,000 keys.').waitFor()
    await page.locator('tbody tr').nth(49).waitFor()
    assert.equal(await page.locator('tbody tr').count(), 50)
    await page.close()
  })

  async function reportPaint(context: TestContext, page: Page): Promise<void> {
    const paint = await page.evaluate<number>(
      `performance.getEntriesByName('first-contentful-paint')[0].startTime`,
    )
    context.diagnostic(`first paint after ${Math.round(paint)} ms`)
  }

  test('it takes less than 100 KB over the wire', async (context) => {
    await using server = await TestServer.start()
    const page = await visit(server)
    await page.getByRole('link', { name: 'default' }).waitFor()
    const sizes = await page.evaluate<number[]>(
      `performance.getEntries().map((entry) => entry.transferSize ?? 0)`,
    )
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    context.diagnostic(`${bytes} bytes, ${sizes.filter((size) => size > 0).length} requests`)
    await reportPaint(context, page)
    assert.ok(bytes > 10_000 && bytes < MAX_BYTES, `${bytes} bytes`)
    await page.close()
  })
})

suite('its files', () => {
  test('are of their types, and held to a strict policy', async () => {
    await using server = await TestServer.start()
    const types: Record<string, string> = {
      html: 'text/html',
      css: 'text/css',
      svg: 'image/svg+xml',
    }
    const files = readdirSync(join(ROOT, 'src/http/dashboard'))
    assert.ok(files.length > 5)
    for (const path of ['', ...files.map((file) => `/${file}`)]) {
      const { status, headers, text } = await server.ask('GET', `/dashboard${path}`)
      assert.equal(status, 200, path)
      const type = types[path === '' ? 'html' : path.split('.')[1]!] ?? 'text/javascript'
      assert.equal(headers['content-type']?.split(';')[0], type)
      assert.match(
        headers['content-security-policy'] as string,
        /^default-src 'none'; script-src 'self'; style-src 'self';/,
      )
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.doesNotMatch(text, /innerHTML|insertAdjacent|eval\(|<style|style="| on\w+="/)
    }
  })

  test('others are not served', async () => {
    await using server = await TestServer.start()
    for (const file of ['__proto__', 'main.ts', '..%2fserver.ts', '..%2f..%2f..%2fpackage.json']) {
      assert.equal((await server.ask('GET', `/dashboard/${file}`)).status, 404, file)
    }
  })

  test('what is written into the page is refused by the policy', async () => {
    await using server = await TestServer.start()
    const { page, complaints } = await openPage(browser)
    await page.goto(`http://localhost:${server.port}/dashboard`)
    await page.getByRole('link', { name: 'default' }).waitFor()
    await page.evaluate(
      `document.body.append(Object.assign(document.createElement('style'), { textContent: 'p{}' }))`,
    )
    await assert.rejects(page.evaluate(`document.body.innerHTML = '<img src=x>'`), /TrustedHTML/)
    assert.ok(complaints.some((text) => text.includes('style-src')))
    await page.close()
  })
})
