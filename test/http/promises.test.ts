/**
 * What /openapi.json promises is kept: requests made from the document itself, real ids and invented ones, valid
 * and odd bodies, and every answer is one that the document knows. `PROMISE_RUNS=1000` looks longer,
 * `PROMISE_SEED=2` elsewhere.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { SystemClock } from '../../src/clock.ts'
import { keys } from '../../src/http/contract/keys.ts'
import { SystemRandom } from '../../src/random.ts'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import type { Journal, JournalEvents } from '../../src/store/embedded/journal.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'
import type { Store, StoreEvents } from '../../src/store/store.ts'
import { Asker, requestsTo } from '../support/asking.ts'
import { Document, fetchDocument, type OpenApi } from '../support/document.ts'
import { type Answer, json, TestServer } from '../support/server.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'

const RUNS = Number(process.env.PROMISE_RUNS ?? 40)
const SEED = Number(process.env.PROMISE_SEED ?? 1)

const fetched = await fetchDocument()

/** Asks as the document says. @returns how often each operation answered each status. */
async function ask(
  document: Document,
  options: fc.Parameters<[unknown]> = {},
): Promise<Set<string>> {
  const seen = new Set<string>()
  const requests = fc.array(requestsTo(document), { minLength: 1, maxLength: 150, size: 'max' })
  const property = fc.asyncProperty(requests, async (asked) => {
    await using asker = await Asker.start(document)
    for (const request of asked) seen.add(`${request.id} ${await asker.ask(request)}`)
  })
  await fc.assert(property, { numRuns: RUNS, seed: SEED, ...options })
  return seen
}

async function assertFound(document: Document, message: RegExp): Promise<void> {
  await assert.rejects(ask(document, { endOnFailure: true }), ({ cause }) => {
    assert.match((cause as Error).message, message)
    return true
  })
}

test('every answer is one that the document knows', async () => {
  const document = new Document(fetched)
  const seen = await ask(document)
  const successes = document.operations.flatMap(({ id, responses }) =>
    Object.keys(responses)
      .filter((status) => status.startsWith('2'))
      .map((status) => `${id} ${status}`),
  )
  // A store in memory has nothing to back up.
  assert.deepEqual(
    successes.filter((success) => !seen.has(success)),
    ['backup 200'],
  )
})

suite('what random requests hardly come to is in the document as well', () => {
  const document = new Document(fetched)
  const assertKnown = (id: string, answer: Answer, status: number): void => {
    const operation = document.operations.find((one) => one.id === id)!
    assert.equal(document.faultOf(operation, answer), null)
    assert.equal(answer.status, status)
  }

  test('a server that stops', async () => {
    await using server = await TestServer.start()
    server.orchestrator.drain()
    assertKnown('readiness', await server.ask('GET', '/readyz'), 503)
    const asking = json({ waitMs: 1000 })
    const waiting = await server.ask('POST', '/v1/pools/default/leases', asking)
    assertKnown('acquireLease', waiting, 503)
  })

  test('nothing to give, and when to come back', async () => {
    await using server = await TestServer.start()
    const leases = '/v1/pools/default/leases'
    assertKnown('acquireLease', await server.ask('POST', leases), 409)
    await server.create()
    await server.draw()
    const exhausted = await server.ask('POST', leases)
    assertKnown('acquireLease', exhausted, 429)
    assert.equal(exhausted.headers['retry-after'], '60')
    assertKnown('classicDrawKey', await server.ask('GET', '/keys'), 404)
  })

  test('a body that is too large', async () => {
    await using server = await TestServer.start()
    const large = json(`"${'x'.repeat(8 * 2 ** 20)}"`)
    assertKnown('runBatch', await server.ask('POST', '/v1/pools/default/batch', large), 413)
  })

  test('a request that repeats one under way', async () => {
    await using server = await TestServer.start()
    const again = { headers: { 'idempotency-key': 'a', 'content-type': 'application/json' } }
    const ask = (body: object): Promise<Answer> =>
      server.ask('POST', '/v1/pools/default/leases', { ...again, body: JSON.stringify(body) })
    const waiting = ask({ waitMs: 60_000 })
    while (server.orchestrator.waiters('default') === 0) await new Promise(setImmediate)
    assertKnown('acquireLease', await ask({ waitMs: 60_000 }), 409)
    await server.create()
    assertKnown('acquireLease', await waiting, 201)
    assertKnown('acquireLease', await ask({}), 422)
  })

  test('a caller from elsewhere, and one that prefetches', async () => {
    await using server = await TestServer.start()
    const foreign = { headers: { origin: 'http://example.com' } }
    assertKnown('document', await server.ask('GET', '/openapi.json', foreign), 403)
    const early = { headers: { 'sec-purpose': 'prefetch' } }
    assertKnown('classicDrawKey', await server.ask('GET', '/keys', early), 403)
  })

  test('a full disk', async () => {
    const disk = new SimulatedDisk()
    await using server = await durable((events) => disk.open(events))
    const keyId = await server.create()
    const { leaseId } = await server.draw()
    disk.setRoom(false)
    const pool = '/v1/pools/default'
    assertKnown('readiness', await server.ask('GET', '/readyz'), 503)
    assertKnown('classicCreateKey', await server.ask('POST', '/keys'), 503)
    assertKnown('classicDrawKey', await server.ask('GET', '/keys'), 503)
    assertKnown('classicDeleteKey', await server.ask('DELETE', `/keys/${keyId}`), 503)
    assertKnown('putPool', await server.ask('PUT', '/v1/pools/a', json({})), 503)
    assertKnown('createKeys', await server.ask('POST', `${pool}/keys`, json({ count: 1 })), 503)
    assertKnown('acquireLease', await server.ask('POST', `${pool}/leases`), 503)
    const release = await server.ask('POST', `${pool}/leases/${leaseId}/release`)
    assertKnown('releaseLease', release, 503)
    assertKnown('showKey', await server.ask('GET', `${pool}/keys/${keyId}`), 200)
  })

  test('a backup', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
    try {
      await using server = await durable((events) =>
        SqliteJournal.open({ directory, sync: false }, events),
      )
      assertKnown('backup', await server.ask('GET', '/v1/backup'), 200)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

function durable(open: (events: JournalEvents) => Promise<Journal>): Promise<TestServer> {
  const limits = { maxTotalKeys: 50_000, maxPools: 10 }
  const openStore = (events: StoreEvents): Promise<Store> =>
    EmbeddedStore.open(limits, new SystemClock(), new SystemRandom(), events, open)
  return TestServer.start({ openStore })
}

suite('a document that promises something else is found out', () => {
  /** What is noticed, and what is changed in the document. */
  const lies: Record<string, [RegExp, (document: OpenApi) => void]> = {
    'a status is missing': [
      /Lease answers 410/,
      ({ paths }) => {
        delete paths['/v1/pools/{pool}/leases/{leaseId}']!.get!.responses['410']
      },
    ],
    'a code is missing': [
      /showPool's 404 says/,
      ({ paths }) => {
        const content = paths['/v1/pools/{pool}']!.get!.responses['404']!.content!
        content['application/problem+json']!.schema = {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            { properties: { code: { const: 'x' } } },
          ],
        }
      },
    ],
    'a field is missing': [
      /must NOT have additional properties/,
      ({ components }) => {
        delete components.schemas.ClassicCreated!.properties!.keyIds
      },
    ],
    'a field is of another type': [
      /createdAt must be integer/,
      ({ components }) => {
        components.schemas.Key!.properties!.createdAt = { type: 'integer' }
      },
    ],
    'there is one field more': [
      /must have required property 'reason'/,
      ({ components }) => {
        components.schemas.Released!.required!.push('reason')
      },
    ],
    'a header is missing': [
      /classicCreateKey's 201 has a Location/,
      ({ paths }) => {
        delete paths['/keys']!.post!.responses['201']!.headers
      },
    ],
    'there is one header more': [
      /patchPool's 200 has no Location/,
      ({ paths }) => {
        const headers = { Location: { required: true, schema: { type: 'string' } } }
        paths['/v1/pools/{pool}']!.patch!.responses['200']!.headers = headers
      },
    ],
    'the media type is another': [
      /metrics's 200 is of type text.plain/,
      ({ paths }) => {
        const content = paths['/metrics']!.get!.responses['200']!.content!
        content['text/html'] = content['text/plain']!
        delete content['text/plain']
      },
    ],
    'there is no body': [
      /health's 200 has a body/,
      ({ paths }) => {
        delete paths['/healthz']!.get!.responses['200']!.content
      },
    ],
  }
  for (const [what, [noticed, tell]] of Object.entries(lies)) {
    test(what, async () => {
      const lie = structuredClone(fetched)
      tell(lie)
      await assertFound(new Document(lie), noticed)
    })
  }

  test('the serialiser leaves a field out', async () => {
    const { properties, required } = keys.showKey.schema.response[200]
    const { failures } = properties
    const names = [...required]
    try {
      Reflect.deleteProperty(properties, 'failures')
      required.splice(required.indexOf('failures'), 1)
      await assertFound(new Document(await fetchDocument()), /says less than it means/)
    } finally {
      Object.assign(properties, { failures })
      required.splice(0, Infinity, ...names)
    }
  })
})
