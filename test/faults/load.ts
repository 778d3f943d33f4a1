/** Clients that use a server without rest, and remember what it has promised them. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { SeededRandom } from '../support/seeded-random.ts'
import type { Drawn, Reply, Served } from './served.ts'

/** Nothing ends by itself while a test runs, and no key before its lease. */
export const UNHURRIED = ['--key-lifetime', '2h', '--lease-ttl', '1h']

const CLIENTS = 8
const MAX_KEYS = 1500
/** The server's clock is anchored to the wall's, and rounds. */
const CLOCK_TOLERANCE_MS = 50
const PAUSE_MS = 5

/** What was acknowledged of a key. */
interface Known {
  /** When the last acknowledged keep-alive was sent (ms since the epoch). */
  keptAt: number
  lease: Drawn | null
  /** Its release was sent and not answered: nobody knows whether the lease is over. */
  isReleasing: boolean
}

/** What was acknowledged, and how much was not answered. */
export class Load {
  readonly keys = new Map<string, Known>()
  readonly deleted = new Set<string>()
  /** How often each answer came, as "draw 200" or "create 503 storage_full". */
  readonly answers = new Map<string, number>()
  highestToken = 0
  acknowledged = 0
  /** Without an answer that says what became of them. */
  lostCreates = 0
  lostDraws = 0
  /** Draws of keys of which nothing else is known yet. */
  readonly #early = new Map<string, Drawn>()
  readonly #random: SeededRandom
  readonly #clients: Promise<void>[] = []
  #served: Served | null = null

  constructor(seed: number) {
    this.#random = new SeededRandom(seed)
  }

  begin(served: Served): void {
    this.#served = served
    for (let client = 0; client < CLIENTS; client++) this.#clients.push(this.#work())
  }

  /** Resolves when all that was asked is answered. */
  async end(): Promise<void> {
    this.#served = null
    await Promise.all(this.#clients.splice(0))
  }

  /** How often an answer came whose name matches. */
  count(pattern: RegExp): number {
    let sum = 0
    for (const [name, times] of this.answers) if (pattern.test(name)) sum += times
    return sum
  }

  async #work(): Promise<void> {
    for (let served = this.#served; served !== null; served = this.#served) {
      const reply = await this.#step(served)
      // A server that is down or full is not asked as fast as one that does something.
      if (reply === null || reply.status >= 500) await delay(PAUSE_MS)
    }
  }

  #step(served: Served): Promise<Reply | null> {
    const chance = this.#random.below(100)
    const keyId = this.#random.pick([...this.keys.keys()])
    if (keyId === undefined || (chance < 25 && this.keys.size < MAX_KEYS)) {
      return this.#create(served)
    }
    if (chance < 50) return this.#draw(served)
    if (chance < 75) return this.#keepAlive(served, keyId)
    if (chance < 95) return this.#release(served, keyId)
    return this.#delete(served, keyId)
  }

  async #create(served: Served): Promise<Reply | null> {
    const reply = await this.#ask('create', served, 'POST', '/keys')
    if (reply === 'unknown') this.lostCreates++
    else if (reply.status === 201) {
      this.#know(reply.body.keyId as string, { keptAt: 0, lease: null, isReleasing: false })
    }
    return known(reply)
  }

  async #draw(served: Served): Promise<Reply | null> {
    const reply = await this.#ask('draw', served, 'GET', '/keys')
    if (reply === 'unknown') this.lostDraws++
    else if (reply.status === 200) {
      const drawn = reply.body as unknown as Drawn
      const key = this.keys.get(drawn.keyId)
      this.highestToken = Math.max(this.highestToken, drawn.fencingToken)
      if (key === undefined) {
        this.#early.set(drawn.keyId, drawn)
      } else {
        assert.ok(key.lease === null || key.isReleasing, `${drawn.keyId} has two holders`)
        Object.assign(key, { lease: drawn, isReleasing: false })
      }
    }
    return known(reply)
  }

  async #keepAlive(served: Served, keyId: string): Promise<Reply | null> {
    const sentAt = Date.now()
    const reply = await this.#ask('keepAlive', served, 'PUT', `/keepalive/${keyId}`)
    const key = this.keys.get(keyId)
    if (reply !== 'unknown' && reply.status === 200 && key !== undefined) {
      key.keptAt = Math.max(key.keptAt, sentAt)
    }
    return known(reply)
  }

  async #release(served: Served, keyId: string): Promise<Reply | null> {
    const key = this.keys.get(keyId)!
    const { lease } = key
    if (lease === null || key.isReleasing) return this.#keepAlive(served, keyId)
    key.isReleasing = true
    const path = `/keys/${keyId}?leaseId=${lease.leaseId}`
    const reply = await this.#ask('release', served, 'PUT', path)
    if (reply !== 'unknown' && key.lease === lease) {
      key.isReleasing = false
      if (reply.status === 200) key.lease = null
    }
    return known(reply)
  }

  async #delete(served: Served, keyId: string): Promise<Reply | null> {
    const key = this.keys.get(keyId)!
    this.keys.delete(keyId) // until it is answered, nothing is known of it
    const reply = await this.#ask('delete', served, 'DELETE', `/keys/${keyId}`)
    if (reply === 'unknown') this.lostCreates++
    else if (reply.status === 200) this.deleted.add(keyId)
    else this.#know(keyId, key)
    return known(reply)
  }

  #know(keyId: string, key: Known): void {
    const early = this.#early.get(keyId)
    if (early !== undefined) Object.assign(key, { lease: early, isReleasing: false })
    this.#early.delete(keyId)
    this.keys.set(keyId, key)
  }

  async #ask(
    name: string,
    served: Served,
    method: string,
    path: string,
  ): Promise<Reply | 'unknown'> {
    const reply = await served.ask(method, path)
    const said = reply === null ? 'broke' : `${reply.status} ${reply.code}`.trimEnd()
    const line = `${name} ${said}`
    this.answers.set(line, (this.answers.get(line) ?? 0) + 1)
    if (reply === null || reply.code === 'storage_failed') return 'unknown'
    if (reply.status < 300) this.acknowledged++
    return reply
  }

  /** Whether a server knows all that was acknowledged, and of no more keys than those and `others`. */
  async audit(served: Served, others = 0): Promise<void> {
    let strangers = 0
    await forEach([...this.keys], async ([keyId, key]) => {
      const shown = await served.show(keyId)
      if (key.keptAt > 0) {
        const keptAt = Date.parse(shown.keepAliveAt)
        assert.ok(keptAt >= key.keptAt - CLOCK_TOLERANCE_MS, `a keep-alive of ${keyId} is lost`)
      }
      if (key.lease !== null && !key.isReleasing) {
        assert.equal(shown.blockedUntil, key.lease.blockedUntil, `the lease of ${keyId}`)
      } else if (shown.isBlocked && key.lease === null) {
        strangers++
      }
    })
    assert.ok(strangers <= this.lostDraws, `${strangers} keys are leased to nobody`)
    await forEach([...this.deleted], async (keyId) => {
      assert.equal(await served.status('GET', `/keys/${keyId}`), 404, `${keyId} is back`)
    })
    const count = (await served.keyCount()) - others
    const most = this.keys.size + this.lostCreates
    assert.ok(count >= this.keys.size && count <= most, `${count} keys, not up to ${most}`)
    await served.create()
    const { fencingToken } = await served.draw()
    assert.ok(fencingToken > this.highestToken, 'a fencing token fell')
  }
}

function known(reply: Reply | 'unknown'): Reply | null {
  return reply === 'unknown' ? null : reply
}

async function forEach<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const one = async (): Promise<void> => {
    for (let item = items.pop(); item !== undefined; item = items.pop()) await work(item)
  }
  await Promise.all(Array.from({ length: CLIENTS }, one))
}
