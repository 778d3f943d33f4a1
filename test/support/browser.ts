/** A real browser, and what its pages ask for and complain of. */
import { type Browser, chromium, type Page } from 'playwright-core'
import { needTool } from './tools.ts'

const QUIET = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync', '--no-first-run'],
]
const PATIENCE_MS = 60_000

export function launchBrowser(...flags: string[]): Promise<Browser> {
  return chromium.launch({
    executablePath: needTool('chromium'),
    args: [...QUIET, ...flags],
    timeout: PATIENCE_MS,
  })
}

export interface OpenPage {
  page: Page
  asked: string[]
  complaints: string[]
}

/** A page without any memory of others. */
export async function openPage(browser: Browser): Promise<OpenPage> {
  const page = await browser.newPage()
  page.setDefaultTimeout(PATIENCE_MS)
  const asked: string[] = []
  const complaints: string[] = []
  page.on('request', (request) => asked.push(request.url()))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  return { page, asked, complaints }
}
