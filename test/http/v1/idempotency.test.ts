/** Who repeats a request gets its result, not another one. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SystemRandom } from '../../../src/random.ts'
import { EmbeddedStore } from '../../../src/store/embedded/embedded-store.ts'
import { type Answer, json, TestServer } from '../../support/server.ts'
import { SimulatedDisk } from '../../support/simulated-disk.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const POOL = '/v1/pools/default'
const MINUTE = 60_000

interface Lease {
  leaseId: string
  expiresAt: string
  expiresInMs: number
}

class Fixture implements AsyncDisposable {
  readonly clock: VirtualClock
  readonly disk: SimulatedDisk
  readonly #server: TestServer

  private constructor(clock: VirtualClock, disk: SimulatedDisk, server: TestServer) {
    this.clock = clock
    this.disk = disk
    this.#server = server
  }

  /** On a disk that was used before it goes on where that one ended. */
  static async start(
    clock = new VirtualClock(),
    disk = new SimulatedDisk(),
    policy = { keyLifetimeMs: null, leaseTtlMs: MINUTE },
  ): Promise<Fixture> {
    const limits = { maxTotalKeys: 50_000, maxPools: 10 }
    const server = await TestServer.start({
      clock,
      policy,
      openStore: (events) =>
        EmbeddedStore.open(limits, clock, new SystemRandom(), events, (journalEvents) =>
          disk.open(journalEvents),
        ),
    })
    return new Fixture(clock, disk, server)
  }

  post(path: string, body: object | string, key?: string, path2 = POOL): Promise<Answer> {
    const { headers, body: text } = json(body)
    const named = key === undefined ? headers : { ...headers, 'idempotency-key': key }
    return this.#server.ask('POST', `${path2}${path}`, { headers: named, body: text })
  }

  async acquire(key?: string, body: object = {}): Promise<Lease> {
    const { status, body: lease } = await this.post('/leases', body, key)
    assert.equal(status, 201)
    return lease as Lease
  }

  async keyCount(): Promise<number> {
    const { body } = await this.#server.ask('GET', POOL)
    const { counts } = body as { counts: Record<string, number> }
    return Object.values(counts).reduce((sum, count) => sum + count, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]()
  }
}

function refusalOf({ status, body }: Answer): [number, string] {
  return [status, (body as { code: string }).code]
}

suite('a repeat', () => {
  test('of a create makes no more keys', async () => {
    await using fixture = await Fixture.start()
    const first = await fixture.post('/keys', { count: 3 }, 'a')
    const second = await fixture.post('/keys', { count: 3 }, 'a')
    assert.deepEqual([second.status, second.body], [201, first.body])
    assert.equal(await fixture.keyCount(), 3)
    await fixture.post('/keys', { count: 3 }, 'b')
    await fixture.post('/keys', { count: 3 })
    assert.equal(await fixture.keyCount(), 9)
  })

  test('of an acquire is given the same lease, with its deadlines as they are now', async () => {
    await using fixture = await Fixture.start()
    await fixture.post('/keys', { count: 3 })
    const first = await fixture.acquire('a')
    await fixture.clock.advance(10_000)
    const second = await fixture.acquire('a')
    assert.deepEqual(second, { ...first, expiresInMs: 50_000 })
    await fixture.post(`/leases/${first.leaseId}/renew`, {})
    const third = await fixture.acquire('a')
    assert.equal(third.leaseId, first.leaseId)
    assert.equal(third.expiresInMs, 60_000)
  })

  test('of an acquire whose lease has ended is told so', async () => {
    await using fixture = await Fixture.start()
    await fixture.post('/keys', { count: 3 })
    const { leaseId } = await fixture.acquire('a')
    await fixture.post(`/leases/${leaseId}/release`, {})
    const repeat = await fixture.post('/leases', {}, 'a')
    assert.deepEqual(refusalOf(repeat), [410, 'lease_ended'])
    assert.equal((repeat.body as { reason: string }).reason, 'released')
  })

  test('of a batch does nothing again', async () => {
    await using fixture = await Fixture.start()
    await fixture.post('/keys', { count: 5 })
    const held = await fixture.acquire()
    const operations = [
      { op: 'acquire', count: 2 },
      { op: 'release', leaseId: held.leaseId, outcome: 'ok' },
      { op: 'renew', leaseId: 'never-was' },
    ]
    const first = await fixture.post('/batch', { operations }, 'a')
    const second = await fixture.post('/batch', { operations }, 'a')
    assert.equal(first.status, 200)
    assert.deepEqual(second.body, first.body)
    const [acquired] = (first.body as { results: { leases: Lease[] }[] }).results
    await fixture.post(`/leases/${acquired!.leases[0]!.leaseId}/release`, {})
    const third = await fixture.post('/batch', { operations }, 'a')
    const { results } = third.body as { results: { leases: Lease[] }[] }
    assert.deepEqual(
      results[0]!.leases.map(({ leaseId }) => leaseId),
      [acquired!.leases[1]!.leaseId],
      'only what is still held is given again',
    )
  })

  test('after a failure is a new request, for only successes are kept', async () => {
    await using fixture = await Fixture.start()
    assert.deepEqual(refusalOf(await fixture.post('/leases', {}, 'a')), [409, 'pool_empty'])
    await fixture.post('/keys', { count: 1 })
    await fixture.acquire('a')
  })

  test('of another path, or after ten minutes, is a new request', async () => {
    await using fixture = await Fixture.start()
    await fixture.post('/keys', { count: 1 }, 'a')
    await fixture.acquire('a')
    await fixture.clock.advance(10 * MINUTE - 1)
    await fixture.post('/keys', { count: 1 }, 'a')
    assert.equal(await fixture.keyCount(), 1)
    await fixture.clock.advance(1)
    await fixture.post('/keys', { count: 1 }, 'a')
    assert.equal(await fixture.keyCount(), 2)
  })

  test('after a restart is a repeat still, and forgotten in time', async () => {
    const clock = new VirtualClock()
    const disk = new SimulatedDisk()
    let first: Lease
    {
      await using fixture = await Fixture.start(clock, disk)
      await fixture.post('/keys', { count: 3 }, 'keys')
      first = await fixture.acquire('a')
    }
    await clock.advance(20_000)
    await using fixture = await Fixture.start(clock, disk)
    assert.deepEqual(await fixture.acquire('a'), { ...first, expiresInMs: 40_000 })
    await fixture.post('/keys', { count: 3 }, 'keys')
    assert.equal(await fixture.keyCount(), 3)
    const requests = (): number =>
      [...disk.saved()].filter(
        (saved) => saved.kind === 'entry' && saved.name.startsWith('request'),
      ).length
    assert.equal(requests(), 2)
    await clock.advance(11 * MINUTE)
    await fixture.keyCount()
    assert.equal(requests(), 0)
  })
})

suite('what is refused', () => {
  test('the same key with another body', async () => {
    await using fixture = await Fixture.start()
    await fixture.post('/keys', { count: 3 }, 'a')
    const other = await fixture.post('/keys', { count: 4 }, 'a')
    assert.deepEqual(refusalOf(other), [422, 'idempotency_mismatch'])
    assert.equal(await fixture.keyCount(), 3)
  })

  test('a repeat while the first is under way', async () => {
    await using fixture = await Fixture.start()
    const first = fixture.post('/leases', { waitMs: 60_000 }, 'a')
    for (let turns = 0; turns < 100; turns++) await fixture.clock.yield()
    const second = await fixture.post('/leases', { waitMs: 60_000 }, 'a')
    assert.deepEqual(refusalOf(second), [409, 'request_in_progress'])
    await fixture.post('/keys', { count: 1 })
    const { leaseId } = (await first).body as Lease
    assert.equal((await fixture.acquire('a', { waitMs: 60_000 })).leaseId, leaseId)
  })

  test('a header that is none', async () => {
    await using fixture = await Fixture.start()
    for (const key of ['', 'x'.repeat(256), 'caf\u00e9']) {
      const answer = await fixture.post('/keys', { count: 1 }, key)
      assert.deepEqual(refusalOf(answer), [400, 'invalid_request'], key)
    }
    assert.equal(await fixture.keyCount(), 0)
  })
})

test('what it remembers is saved with what it did, in one group', async () => {
  await using fixture = await Fixture.start()
  const before = fixture.disk.sequence
  await fixture.post('/keys', { count: 3 }, 'a')
  assert.equal(fixture.disk.sequence, before + 1)
})
