/**
 * What /openapi.json promises is kept: requests made from the document itself, real ids and invented ones, valid
 * and odd bodies, and every answer is one that the document knows. `PROMISE_RUNS=1000` looks longer,
 * `PROMISE_SEED=2` elsewhere.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { keys } from '../../src/http/contract/keys.ts'
import { Asker, requestsTo } from '../support/asking.ts'
import { Document, fetchDocument, type OpenApi } from '../support/document.ts'

const RUNS = Number(process.env.PROMISE_RUNS ?? 20)
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
    ['backUp 200'],
  )
})

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
      /readMetrics's 200 is of type text.plain/,
      ({ paths }) => {
        const content = paths['/metrics']!.get!.responses['200']!.content!
        content['text/html'] = content['text/plain']!
        delete content['text/plain']
      },
    ],
    'there is no body': [
      /showHealth's 200 has a body/,
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
