/** /docs, in a real browser: it shows the API, and needs nothing from elsewhere. */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { launchBrowser, openPage } from '../support/browser.ts'
import { type Answer, TestServer } from '../support/server.ts'

suite('the page', () => {
  let browser: Browser
  before(async () => {
    browser = await launchBrowser()
  })
  after(() => browser.close())

  test('shows the operations, tries one out, and asks nobody else', async () => {
    await using server = await TestServer.start()
    const origin = `http://localhost:${server.port}`
    const { page, asked, complaints } = await openPage(browser)
    await page.goto(`${origin}/docs`)
    await page.getByText('Lease a random available key').waitFor()
    for (const text of ['/v1/pools/{pool}/leases', 'Do many things at once', 'Authorize']) {
      await page.getByText(text, { exact: true }).first().waitFor()
    }
    const operation = page.locator('#operations-pools-listPools')
    await operation.getByText('List pools').click()
    await operation.getByRole('button', { name: 'Try it out' }).click()
    await operation.getByRole('button', { name: 'Execute' }).click()
    await operation.getByText('"default"').first().waitFor()
    assert.deepEqual(complaints, [])
    for (const url of asked) assert.match(url, new RegExp(`^(${origin}/|data:)`))
    assert.ok(asked.includes(`${origin}/v1/pools`))
    await page.close()
  })

  test('is held to that by its policy, and a breach would be seen', async () => {
    await using server = await TestServer.start()
    const { page, complaints } = await openPage(browser)
    await page.goto(`http://localhost:${server.port}/docs`)
    await page.getByText('List pools').waitFor()
    await page.evaluate(
      `document.head.append(Object.assign(document.createElement('script'), { text: '1' }))`,
    )
    await page.evaluate(`fetch('http://127.0.0.1:${server.port}/healthz').catch(() => undefined)`)
    for (const directive of ['script-src', 'connect-src']) {
      assert.ok(
        complaints.some((text) => text.includes(directive)),
        directive,
      )
    }
    await page.close()
  })
})

suite('its files', () => {
  const get = async (path: string): Promise<Answer> => {
    await using server = await TestServer.start()
    const answer = await server.ask('GET', path)
    return answer
  }

  test('are few, of their types, and not guessed at', async () => {
    const types: Record<string, string> = {
      '/docs': 'text/html; charset=utf-8',
      '/docs/': 'text/html; charset=utf-8',
      '/docs/start.js': 'text/javascript; charset=utf-8',
      '/docs/swagger-ui.css': 'text/css; charset=utf-8',
      '/docs/swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
      '/docs/favicon-32x32.png': 'image/png',
    }
    for (const [path, type] of Object.entries(types)) {
      const { status, headers } = await get(path)
      assert.deepEqual([status, headers['content-type']], [200, type], path)
      assert.equal(headers['x-content-type-options'], 'nosniff')
    }
  })

  test('others are not served', async () => {
    for (const file of [
      '__proto__',
      'swagger-ui.js',
      '..%2fpackage.json',
      '..%2f..%2f..%2fpackage.json',
    ]) {
      assert.equal((await get(`/docs/${file}`)).status, 404, file)
    }
  })
})
