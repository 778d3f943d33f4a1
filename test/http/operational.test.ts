/** What operators look at: health, readiness, figures and logs. None of it gives a secret away. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { SystemRandom } from '../../src/random.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { json, TestServer } from '../support/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** The samples of a scrape in Prometheus' text format, by name and labels. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>()
  const types = new Map<string, string>()
  assert.ok(text.endsWith('\n'))
  for (const line of text.trimEnd().split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue
    const [, family, type] = /^# TYPE (\w+) (counter|gauge|histogram|summary)$/.exec(line) ?? []
    if (family !== undefined) {
      assert.ok(!types.has(family), `${family} comes twice`)
      types.set(family, type!)
      continue
    }
    const [, series, name, value] =
      /^(([a-zA-Z_]\w*)(?:\{\w+="(?:[^"\\\n]|\\[\\"n])*"(?:,\w+="(?:[^"\\\n]|\\[\\"n])*")*\})?) (\S+)$/.exec(
        line,
      ) ?? []
    assert.ok(series !== undefined, line)
    assert.ok(types.has(name!) || types.has(name!.replace(/_(sum|count|bucket)$/, '')), line)
    assert.ok(!samples.has(series), `${series} comes twice`)
    assert.ok(
      /^[+-]Inf$/.test(value!) || /^nan$/i.test(value!) || !Number.isNaN(Number(value)),
      line,
    )
    samples.set(series, Number(value))
  }
  return samples
}

async function scrape(server: TestServer): Promise<Map<string, number>> {
  const { status, headers, text } = await server.ask('GET', '/metrics')
  assert.equal(status, 200)
  assert.match(headers['content-type']!, /^text\/plain; version=0\.0\.4/)
  return samplesOf(text)
}

/** Waits for what other callers bring about. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve))
}

function keysBy(samples: Map<string, number>): Record<string, number | undefined> {
  const states = ['available', 'leased', 'cooling', 'disabled'] as const
  const named = (state: string): string =>
    `token_orchestrator_keys{pool="default",state="${state}"}`
  return Object.fromEntries(states.map((state) => [state, samples.get(named(state))]))
}

function changesBy(samples: Map<string, number>): Record<string, number> {
  const kinds = [...samples].flatMap(([series, count]) => {
    const kind = /^token_orchestrator_changes_total\{kind="(\w+)"\}$/.exec(series)?.[1]
    return kind === undefined || count === 0 ? [] : [[kind, count] as const]
  })
  return Object.fromEntries(kinds)
}

test('/healthz says that the server is alive, draining or not', async () => {
  await using server = await TestServer.start()
  for (const drain of [false, true]) {
    if (drain) server.orchestrator.drain()
    const { status, body } = await server.ask('GET', '/healthz')
    assert.deepEqual([status, body], [200, { status: 'ok' }])
  }
})

test('/readyz says whether to send it work', async () => {
  await using server = await TestServer.start()
  const ready = await server.ask('GET', '/readyz')
  assert.deepEqual([ready.status, ready.body], [200, { status: 'ready' }])
  server.orchestrator.drain()
  const draining = await server.ask('GET', '/readyz')
  assert.deepEqual([draining.status, draining.body], [503, { status: 'draining' }])
  await server.create() // Who asks all the same is served until the listener closes.
})

suite('/metrics', () => {
  test('of a fresh server are all there, and zero', async () => {
    await using server = await TestServer.start()
    const samples = await scrape(server)
    assert.deepEqual(keysBy(samples), { available: 0, leased: 0, cooling: 0, disabled: 0 })
    assert.deepEqual(changesBy(samples), {})
    assert.equal(samples.get('token_orchestrator_changes_total{kind="leased"}'), 0)
    assert.equal(samples.get('token_orchestrator_pools'), 1)
    assert.ok(samples.get('token_orchestrator_store_bytes')! > 0)
    assert.ok(samples.get('process_resident_memory_bytes')! > 0)
  })

  test('count what has happened and what is', async () => {
    const clock = new VirtualClock()
    await using server = await TestServer.start({ clock, policy: { cooldownMs: 1000 } })
    const { body } = await server.ask('POST', '/keys', json({ count: 10 }))
    const { keyIds } = body as { keyIds: string[] }
    const drawn = [await server.draw(), await server.draw(), await server.draw()]
    await server.ask('PUT', `/keys/${drawn[0]!.keyId}`)
    await server.ask('PUT', `/keys/${drawn[0]!.keyId}`) // Refused: no change.
    await server.ask('DELETE', `/keys/${drawn[1]!.keyId}`)
    const kept = keyIds.find((id) => drawn.every(({ keyId }) => keyId !== id))!
    await server.ask('PUT', `/keepalive/${kept}`)
    await server.ask('GET', `/keys/${kept}`)

    const samples = await scrape(server)
    assert.deepEqual(keysBy(samples), { available: 7, leased: 1, cooling: 1, disabled: 0 })
    assert.deepEqual(changesBy(samples), {
      created: 10,
      leased: 3,
      unblocked: 1,
      deleted: 1,
      kept_alive: 1,
    })
    await clock.advance(60_000)
    const later = await scrape(server)
    assert.deepEqual(keysBy(later), { available: 9, leased: 0, cooling: 0, disabled: 0 })
    assert.equal(changesBy(later).lease_expired, 1)
    await clock.advance(300_000)
    const last = await scrape(server)
    assert.deepEqual(keysBy(last), { available: 0, leased: 0, cooling: 0, disabled: 0 })
    assert.equal(changesBy(last).key_expired, 9)
  })

  test('tell who waits, and whether the server takes work', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    const waiting = server.ask('POST', '/v1/pools/default/leases', json({ waitMs: 60_000 }))
    await until(() => server.orchestrator.waiters('default') === 1)
    const busy = await scrape(server)
    assert.equal(busy.get('token_orchestrator_waiters{pool="default"}'), 1)
    assert.equal(busy.get('token_orchestrator_ready'), 1)
    await server.create()
    await waiting
    const idle = await scrape(server)
    assert.equal(idle.get('token_orchestrator_waiters{pool="default"}'), 0)
    server.orchestrator.drain()
    assert.equal((await scrape(server)).get('token_orchestrator_ready'), 0)
  })

  test('name a thousand pools, and sum up the rest', async () => {
    const clock = new VirtualClock()
    const limits = { maxTotalKeys: 50_000, maxPools: 1010 }
    await using server = await TestServer.start({
      clock,
      openStore: async (events) =>
        EmbeddedStore.inMemory(limits, clock, new SystemRandom(), events),
    })
    for (let at = 1; at <= 1001; at++) await server.orchestrator.putPool(`p${at}`, DEFAULT_POLICY)
    const waiting = ['p1', 'p1000', 'p1001'].map((pool) =>
      server.ask('POST', `/v1/pools/${pool}/leases`, json({ waitMs: 60_000 })),
    )
    await until(() => server.orchestrator.allWaiters === 3)
    await server.ask('POST', '/v1/pools/p1000/keys', json({ count: 5 }))
    await until(() => server.orchestrator.allWaiters === 2)
    const samples = await scrape(server)
    assert.equal(samples.get('token_orchestrator_pools'), 1002)
    assert.equal(samples.get('token_orchestrator_waiters{pool="p1"}'), 1)
    assert.equal(samples.get('token_orchestrator_waiters{pool="_other"}'), 1)
    assert.equal(samples.get('token_orchestrator_keys{pool="_other",state="available"}'), 4)
    assert.equal(samples.get('token_orchestrator_keys{pool="_other",state="leased"}'), 1)
    assert.ok(!samples.has('token_orchestrator_waiters{pool="p1000"}'))
    server.orchestrator.drain()
    await Promise.all(waiting)
  })

  test('are the same however often they are read, and by many at once', async () => {
    await using server = await TestServer.start({ clock: new VirtualClock() })
    await server.ask('POST', '/keys', json({ count: 5 }))
    const scrapes = await Promise.all(Array.from({ length: 20 }, () => scrape(server)))
    for (const samples of scrapes) {
      assert.deepEqual(changesBy(samples), { created: 5 })
      assert.equal(keysBy(samples).available, 5)
    }
  })
})

test('neither figures nor logs hold a key id or a lease id', async () => {
  await using server = await TestServer.start()
  const secrets: string[] = []
  for (let round = 0; round < 5; round++) {
    const keyId = await server.create()
    const { leaseId } = await server.draw()
    secrets.push(keyId, leaseId)
    await server.ask('GET', `/keys/${keyId}`)
    await server.ask('PUT', `/keys/${keyId}?leaseId=${leaseId}`)
    await server.ask('POST', `/keys/${keyId}`)
    await server.ask('GET', `/nowhere/${keyId}`, {
      headers: { authorization: `Bearer ${leaseId}` },
    })
    await server.ask('POST', '/keys', json(`{"count": "${keyId}"}`))
    await server.ask('POST', '/keys', json(`{"broken": ${keyId}`))
  }
  server.orchestrator.drain()
  const { text } = await server.ask('GET', '/metrics')
  const said = [...server.logged, text].join('\n')
  for (const secret of secrets) assert.ok(!said.includes(secret))
  for (const line of server.logged) assert.ok(typeof JSON.parse(line) === 'object')
})
