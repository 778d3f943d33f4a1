/** Takes the pictures of the dashboard in docs/images anew. It needs a minute, for the plots show one. */
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { launchBrowser } from './browser.ts'
import { ROOT } from './command.ts'
import { type Lease, PoolClient } from './v1.ts'
import { TestServer } from './server.ts'

const WATCHED_MS = 62_000
const WORKERS = 17
const POLICY = {
  keyLifetimeMs: null,
  leaseTtlMs: 90_000,
  cooldownMs: 4000,
  failureCooldownMs: 20_000,
}
/** Name, keys, and leases at a time. */
const POOLS: [string, number, number][] = [
  ['openai-batch', 40, 22],
  ['acme-live', 400, 310],
  ['licence-seats', 12, 12],
  ['staging-accounts', 90, 8],
  ['ci-browsers', 25, 0],
]

/** A pool that is in use, until `isOver`. */
class BusyPool {
  readonly pool: PoolClient
  readonly #leases: Lease[] = []
  readonly #most: number

  constructor(pool: PoolClient, most: number) {
    this.pool = pool
    this.#most = most
  }

  static async make(server: TestServer, [name, keys, most]: (typeof POOLS)[0]): Promise<BusyPool> {
    const pool = await PoolClient.make(server, POLICY, name)
    const values = Array.from({ length: keys }, (_, at) => ({
      value: `${name}-${at}`,
      ...(at % 3 === 0 ? { name: `account ${at + 1}` } : {}),
    }))
    await pool.importKeys(...values)
    const busy = new BusyPool(pool, most)
    for (let at = 0; at < most; at++) await busy.lease(20_000 + (at % 60) * 3000)
    return busy
  }

  async lease(ttlMs: number): Promise<void> {
    const holder = `worker-${Math.floor(Math.random() * WORKERS)}`
    const { status, body } = await this.pool.ask('POST', '/leases', { holder, ttlMs })
    if (status === 201) this.#leases.push(body as Lease)
  }

  /** One is given back, and another taken. */
  async step(): Promise<void> {
    if (this.#most === 0) return
    const [lease] = this.#leases.splice(Math.floor(Math.random() * this.#leases.length), 1)
    const luck = Math.random()
    const outcome = luck < 0.9 ? 'ok' : luck < 0.97 ? 'rate_limited' : 'error'
    await this.pool.ask('POST', `/leases/${lease?.leaseId ?? ''}/release`, { outcome })
    await this.lease(20_000 + Math.floor(Math.random() * 70_000))
  }
}

async function use(pools: readonly BusyPool[], isOver: () => boolean): Promise<void> {
  for (let turn = 0; !isOver(); turn++) {
    const pause = 40 + 60 * (1 + Math.sin(turn / 40)) + 100 * Math.random()
    await new Promise((resolve) => setTimeout(resolve, pause))
    for (const pool of pools) if (Math.random() < 0.6) await pool.step()
  }
}

async function take(page: Page, name: string, colorScheme: 'light' | 'dark'): Promise<void> {
  await page.emulateMedia({ colorScheme })
  await page.screenshot({ path: join(ROOT, 'docs/images', `${name}.png`) })
}

await using server = await TestServer.start({
  history: { keptMs: 24 * 3_600_000, records: 100_000 },
})
const pools = await Promise.all(POOLS.map((pool) => BusyPool.make(server, pool)))
const [first] = pools
for (const { keyId } of [await first!.pool.acquire(), await first!.pool.acquire()]) {
  await first!.pool.ask('PATCH', `/keys/${keyId}`, {
    disabled: true,
    reason: 'refused by upstream',
  })
  await first!.pool.ask('DELETE', `/keys/${keyId}/lease`)
}
const browser = await launchBrowser()
const [all, one] = [await browser.newPage(), await browser.newPage()]
for (const page of [all, one]) await page.setViewportSize({ width: 1280, height: 760 })
let isOver = false
const used = use(pools, () => isOver)
await all.goto(`http://localhost:${server.port}/dashboard`)
await one.goto(`http://localhost:${server.port}/dashboard#/pools/openai-batch`)
await all.waitForTimeout(WATCHED_MS)
await all.setViewportSize({ width: 1280, height: 500 })
await take(all, 'pools', 'light')
await take(one, 'pool', 'light')
await take(one, 'pool-dark', 'dark')
await one
  .getByRole('button', { name: /^History of key/ })
  .first()
  .click()
await one.getByRole('dialog').locator('tbody tr').nth(3).waitFor()
await take(one, 'history', 'light')
isOver = true
await used
await browser.close()
