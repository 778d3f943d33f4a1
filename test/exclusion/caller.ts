/** One who leases keys over HTTP in every way there is, keeps them for a while, hangs up, and meddles. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type HttpAnswer, insist, isShed } from '../support/connection.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Asking, Held } from './history.ts'
import type { Act, Pool, World } from './world.ts'

const MAX_WAIT_MS = 60
const MAX_BATCH = 20
/** So many times a request is sent at most. */
const MAX_ATTEMPTS = 20
/** Who hangs up does so within this time, unless he waits. */
const HANG_UP_MS = 6
/** Some end while their holder still thinks of them, most last, and some nobody sees the end of. */
const TTLS_MS = [15, 15, 40, 40, ...Array<number>(200).fill(150), 2000, 2000, 60_000]

const OUTCOMES = [...Array<string>(20).fill('ok'), 'rate_limited', 'error', 'error', 'invalid']

/** A lease as it comes over the wire. */
interface Granted {
  leaseId: string
  keyId: string
  fencingToken: number
}

interface HttpRequest {
  method: string
  path: string
  body?: object
  waitMs?: number
}

interface LeaseRequest extends HttpRequest {
  count: number
  act: Act
}

const DRAW: LeaseRequest = { method: 'GET', path: '/keys', count: 1, act: 'drew' }

export class Caller {
  readonly #world: World
  readonly #random: SeededRandom
  #connection: Connection

  constructor(world: World, random: SeededRandom) {
    this.#world = world
    this.#random = random
    this.#connection = world.connect()
  }

  /** Goes on until enough has been leased. */
  async work(): Promise<void> {
    const random = this.#random
    while (!this.#world.isEnough) {
      const pool = random.pick(this.#world.pools)!
      if (random.chance(0.05)) await this.#meddle(pool)
      else await this.#leaseSome(pool)
    }
  }

  close(): void {
    this.#connection.close()
  }

  async #leaseSome(pool: Pool): Promise<void> {
    const leases = [...(await this.#acquire(pool))]
    const random = this.#random
    if (leases.length > 1 && random.chance(0.8)) return this.#giveBackTogether(pool, leases)
    for (const held of leases) {
      if (random.chance(0.35)) await sleep(random.below(5))
      if (random.chance(0.15)) await this.#renew(pool, held)
      if (random.chance(0.03)) await sleep(random.below(60)) // it may be over by then
      await this.#giveBack(pool, held)
    }
  }

  async #acquire(pool: Pool): Promise<Iterable<Held>> {
    const random = this.#random
    const ttlMs = pool.isClassic && random.chance(0.35) ? null : random.pick(TTLS_MS)!
    const asked = ttlMs === null ? DRAW : this.#leaseRequest(pool, ttlMs)
    const asking = askingOf(pool, asked.count, ttlMs ?? pool.policy.leaseTtlMs)
    const repeatable = ttlMs !== null && random.chance(0.3)
    const header = repeatable ? `Idempotency-Key: "${this.#world.nextNumber()}"\r\n` : ''
    const held = new Set<Held>()
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const answer = await this.#ask(asked, header)
      const leases = answer === null ? [] : this.#read(asking, answer)
      for (const lease of leases) held.add(lease)
      if (leases.length > 0) this.#saw(attempt === 0 ? asked.act : 'repeated')
      if (answer?.text.includes('pool_empty')) await this.#fill(pool)
      const isOpen = answer === null || answer.text.includes('request_in_progress')
      if (!repeatable || !random.chance(isOpen ? 0.95 : 0.2)) break
      if (isOpen) await sleep(1)
    }
    return held
  }

  #leaseRequest(pool: Pool, ttlMs: number): LeaseRequest {
    const random = this.#random
    const chosen = random.below(10)
    if (chosen < 2) {
      const count = 1 + random.below(MAX_BATCH)
      const asked = batchOf(pool, [{ op: 'acquire', count, ttlMs }])
      return { ...asked, count, act: 'leased in a batch' }
    }
    const path = `${pool.path}/leases`
    if (chosen < 3) {
      const asked = post(path, { ttlMs, keyId: random.pick(pool.keyIds) })
      return { ...asked, count: 1, act: 'leased that key' }
    }
    if (chosen < 6) return { ...post(path, { ttlMs }), count: 1, act: 'leased' }
    const waitMs = random.below(MAX_WAIT_MS)
    return { ...post(path, { ttlMs, waitMs }), count: 1, waitMs, act: 'waited' }
  }

  /** Null: nobody heard the answer. */
  async #ask(request: HttpRequest, header = ''): Promise<HttpAnswer | null> {
    const random = this.#random
    const patient = !random.chance(0.08)
    if (patient && random.chance(0.02)) return this.#askAndPause(request, header)
    const { method, path, body, waitMs = HANG_UP_MS } = request
    const answer = this.#connection.ask(method, path, body, header)
    if (patient) return answer
    // Some hang up at once, some about when the answer comes, some while they wait.
    const delayMs = random.chance(0.3) ? 0 : random.below(waitMs)
    const timer = setTimeout(() => {
      this.#hangUp()
      this.#saw('hung up')
    }, delayMs)
    const heard = await answer
    clearTimeout(timer)
    return heard
  }

  async #askAndPause(
    { method, path, body }: HttpRequest,
    header: string,
  ): Promise<HttpAnswer | null> {
    const connection = this.#connection
    const answer = connection.ask(method, path, body, header)
    connection.pause()
    await sleep(this.#random.below(60))
    connection.resume()
    this.#saw('heard late')
    return answer
  }

  #hangUp(): void {
    this.#connection.close()
    this.#connection = this.#world.connect()
  }

  /** The leases of an answer, which has been heard just now. */
  #read(asking: Asking, answer: HttpAnswer): Held[] {
    const { status, text } = answer
    assert(status < 500 || isShed(answer), text)
    const body = JSON.parse(text) as Partial<Granted> & { results?: { leases?: Granted[] }[] }
    const granted = body.results?.flatMap(({ leases }) => leases ?? []) ?? []
    if (body.leaseId !== undefined) granted.push(body as Granted)
    const now = performance.now()
    return granted.map((lease) => this.#world.history.received(asking, lease, now))
  }

  async #renew(pool: Pool, held: Held): Promise<void> {
    const random = this.#random
    const ttlMs = random.pick(TTLS_MS)!
    const keepAlive = random.chance(0.3)
    const { history } = this.#world
    const sentAt = performance.now()
    const renewed = history.renewing(held, ttlMs, sentAt)
    const body = { ttlMs, keepAlive }
    const { leaseId, keyId } = held
    const asked = random.chance(0.2)
      ? batchOf(pool, [{ op: 'renew', leaseId, ...body }])
      : post(`${pool.path}/leases/${leaseId}/renew`, body)
    const answer = await this.#ask(asked)
    if (answer === null) return
    if (answer.text.includes('"expiresInMs"')) {
      renewed()
      if (keepAlive) pool.keptAlive(history, keyId, sentAt)
      this.#saw('renewed')
    } else if (/lease_(ended|not_found)/.test(answer.text)) {
      history.toldEnded(held, performance.now())
      this.#saw('renewed too late')
    }
  }

  async #giveBack(pool: Pool, held: Held): Promise<void> {
    const random = this.#random
    const { history } = this.#world
    const { leaseId, keyId } = held
    const chosen = random.below(100)
    if (chosen < 4) return // it ends by time, or by whoever needs it
    if (pool.isClassic && chosen < 30) {
      if (chosen < 10) return this.#endByKey(keyId, 'PUT', `/keys/${keyId}`)
      history.givingBack(held, performance.now())
      await this.#ask({ method: 'PUT', path: `/keys/${keyId}?leaseId=${leaseId}` })
      return
    }
    history.givingBack(held, performance.now())
    const outcome = random.pick(OUTCOMES)!
    const failed = outcome === 'rate_limited' || outcome === 'error'
    const body = failed ? { outcome, retryAfterMs: random.below(10) } : { outcome }
    const asked = post(`${pool.path}/leases/${leaseId}/release`, body)
    const answer = await this.#ask(asked)
    if (answer?.text.includes('"released":false')) this.#saw('released too late')
    if (outcome === 'invalid') await this.#enable(pool, keyId)
    if (random.chance(0.05)) await this.#ask(asked) // a past holder changes nothing
  }

  /** In one call, and takes others for them if there are any. */
  async #giveBackTogether(pool: Pool, leases: Held[]): Promise<void> {
    const ttlMs = 200
    const asking = askingOf(pool, leases.length, ttlMs)
    const now = performance.now()
    for (const held of leases) this.#world.history.givingBack(held, now)
    const releases = leases.map(({ leaseId }) => ({ op: 'release', leaseId }))
    const acquire = { op: 'acquire', count: leases.length, ttlMs }
    const asked = batchOf(pool, this.#random.chance(0.5) ? [...releases, acquire] : releases)
    const answer = await this.#ask(asked)
    if (answer === null) return
    for (const held of this.#read(asking, answer)) await this.#giveBack(pool, held)
  }

  /** What may end the lease of another: of a key of which nobody knows who has it. */
  async #meddle(pool: Pool): Promise<void> {
    const random = this.#random
    const keyId = random.pick(pool.keyIds)
    if (keyId === undefined) return this.#fill(pool)
    const path = `${pool.path}/keys/${keyId}`
    const chosen = random.below(20)
    if (chosen < 6) await this.#endByKey(keyId, 'DELETE', `${path}/lease`)
    else if (chosen < 8) await this.#remove(pool, keyId)
    else if (chosen < 12) {
      await this.#tell('PATCH', path, { disabled: true })
      await sleep(random.below(3))
      await this.#enable(pool, keyId)
    } else if (chosen < 18) {
      const sentAt = performance.now()
      const answer = await this.#tell('POST', `${path}/keepalive`)
      if (answer.status === 200) pool.keptAlive(this.#world.history, keyId, sentAt)
      if (answer.status === 404) pool.forget(keyId)
    } else {
      await this.#tell('GET', pool.isClassic ? `/keys/${keyId}` : path)
    }
  }

  async #remove(pool: Pool, keyId: string): Promise<void> {
    pool.forget(keyId)
    await this.#endByKey(keyId, 'DELETE', `${pool.path}/keys/${keyId}`)
    await this.#create(pool, 1)
  }

  /** A pool that has nothing to give any more. */
  async #fill(pool: Pool): Promise<void> {
    if (pool.isBeingFilled) return
    pool.isBeingFilled = true
    pool.keyIds.length = 0 // those that it had are dead or nobody can have them
    await this.#create(pool, pool.size)
    pool.isBeingFilled = false
  }

  async #create(pool: Pool, count: number): Promise<void> {
    const sentAt = performance.now()
    const classic = pool.isClassic && this.#random.chance(0.5)
    const path = classic ? '/keys' : `${pool.path}/keys`
    const { status, text } = await this.#tell('POST', path, { count })
    assert.equal(status, 201, text)
    const { keyIds } = JSON.parse(text) as { keyIds: string[] }
    for (const keyId of keyIds) pool.made(this.#world.history, keyId, sentAt)
    this.#saw('made keys')
  }

  async #enable(pool: Pool, keyId: string): Promise<void> {
    const body = { disabled: false, coolingUntil: null }
    await this.#tell('PATCH', `${pool.path}/keys/${keyId}`, body)
  }

  /** By a request that says no lease, so that it ends whichever there is. */
  async #endByKey(keyId: string, method: string, path: string): Promise<void> {
    const ending = this.#world.history.ending(keyId, performance.now())
    const { status } = await this.#tell(method, path)
    ending.answeredAt = performance.now()
    ending.inVain = status >= 400
    if (!ending.inVain) this.#saw('ended by another')
  }

  /** A request whose answer is waited for. */
  async #tell(method: string, path: string, body?: object): Promise<HttpAnswer> {
    const answer = await insist(this.#connection, method, path, body)
    assert(answer.status < 500, answer.text)
    return answer
  }

  #saw(act: Act): void {
    this.#world.saw(act)
  }
}

function askingOf({ name, policy }: Pool, count: number, ttlMs: number): Asking {
  const totalMs = policy.maxLeaseTotalMs ?? Infinity
  return { pool: name, sentAt: performance.now(), count, ttlMs, totalMs }
}

function post(path: string, body: object): HttpRequest {
  return { method: 'POST', path, body }
}

function batchOf({ path }: Pool, operations: object[]): HttpRequest {
  return post(`${path}/batch`, { operations })
}
