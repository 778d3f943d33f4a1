/** /openapi.json is an OpenAPI document, of all that there is and of nothing else. */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { suite, test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { ERRORS } from '../../src/engine/errors.ts'
import type { Route } from '../../src/http/contract/common.ts'
import { openapi } from '../../src/http/openapi.ts'
import { version } from '../../src/version.ts'
import { Document, fetchDocument, type Json, type OpenApi } from '../support/document.ts'
import { TestServer } from '../support/server.ts'

const fetched = await fetchDocument()

async function isValid(document: OpenApi): Promise<boolean> {
  return (await new Validator().validate(structuredClone(document) as unknown as Json)).valid
}

/** Every object in it, and the path of names that leads there. */
function* walk(part: unknown, path: string[] = []): Generator<[Json, string[]]> {
  if (typeof part !== 'object' || part === null) return
  if (!Array.isArray(part)) yield [part as Json, path]
  for (const [name, one] of Object.entries(part)) yield* walk(one, [...path, name])
}

/** Method and path of each, but for those that say that a path does not know a method. */
async function registeredRoutes(): Promise<string[]> {
  const routes: string[] = []
  const listen = (message: unknown): void => {
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.addHook('onRoute', ({ method, url }) => {
      const methods = [method].flat()
      if (!methods.includes('TRACE')) routes.push(...methods.map((one) => `${one} ${url}`))
    })
  }
  subscribe('fastify.initialization', listen)
  await using server = await TestServer.start()
  unsubscribe('fastify.initialization', listen)
  assert.equal(await server.status('TRACE', '/keys'), 405)
  return routes
}

test('a validator finds it valid, and would not find everything so', async () => {
  assert.ok(await isValid(fetched))
  const broken = structuredClone(fetched) as unknown as { paths: Record<string, Json> }
  broken.paths['/keys']!.get = { responses: { 200: { content: {} } } }
  assert.ok(!(await isValid(broken as unknown as OpenApi)))
})

test('it lists the routes that are registered, and no others', async () => {
  const listed = Object.entries(fetched.paths).flatMap(([path, item]) =>
    Object.keys(item).map(
      (method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`,
    ),
  )
  assert.deepEqual(listed.sort(), (await registeredRoutes()).sort())
})

test('operations have names of their own, and tags that are explained', () => {
  const operations = Object.values(fetched.paths).flatMap((item) => Object.values(item))
  const ids = operations.map(({ operationId }) => operationId)
  assert.deepEqual(ids, [...new Set(ids)])
  const explained = fetched.tags.map(({ name }) => name)
  for (const { tags } of operations) assert.ok(explained.includes(tags[0]!))
})

test('references lead somewhere, and every component is referred to', () => {
  const document = new Document(fetched)
  const references = new Set<unknown>()
  for (const [part, path] of walk(fetched)) {
    if (typeof part.$ref !== 'string' || path.at(-1) === 'properties') continue
    document.resolve(part)
    references.add(part.$ref)
  }
  const components = Object.entries(fetched.components)
    .filter(([kind]) => kind !== 'securitySchemes')
    .flatMap(([kind, named]) => Object.keys(named).map((name) => `#/components/${kind}/${name}`))
  assert.deepEqual([...references].sort(), components.sort())
})

test('the codes that it names are those of the table, under their status', () => {
  for (const [part, path] of walk(fetched.paths)) {
    const { code } = (path.at(-1) === 'properties' ? part : {}) as { code?: { enum: string[] } }
    if (code === undefined) continue
    const status = Number(path[path.indexOf('responses') + 1])
    for (const one of code.enum) assert.equal(ERRORS[one as keyof typeof ERRORS].status, status)
  }
})

test('its schemas are JSON Schemas, and their examples are valid', () => {
  const document = new Document(fetched)
  let examples = 0
  const check = (schema: Json, values: unknown[]): void => {
    const validate = document.validator(schema)
    for (const value of values) assert.ok(validate(value), JSON.stringify([value, validate.errors]))
    examples += values.length
  }
  for (const schema of Object.values(fetched.components.schemas)) check(schema, [])
  for (const [part, path] of walk(fetched)) {
    if (Array.isArray(part.examples) && path.at(-1) !== 'properties') check(part, part.examples)
    const { schema, example } = part as { schema?: Json; example?: unknown }
    if (schema !== undefined) check(schema, example === undefined ? [] : [example])
  }
  assert.ok(examples > 20)
})

test('it says which version it is of', () => {
  assert.equal(fetched.info.version, version())
})

suite('what it is made of', () => {
  const made = (route: Partial<Route>, schema: Partial<Route['schema']>): OpenApi => {
    const whole: Route = {
      method: 'POST',
      url: '/things/:thing',
      scopes: ['read', 'leases'],
      errors: [],
      schema: { summary: 'Do it', ...schema },
      ...route,
    }
    return openapi(
      [{ name: 'things', about: 'Things.', prefix: 'old', routes: { doIt: whole } }],
      '1',
    ) as unknown as OpenApi
  }

  test('a scope is one of which one is enough; a route without any is open', () => {
    const scoped = made({}, {}).paths['/things/{thing}']!.post!
    assert.deepEqual(scoped.security, [{ accessToken: ['read'] }, { accessToken: ['leases'] }])
    const open = made({ scopes: null }, {}).paths['/things/{thing}']!.post!
    assert.deepEqual(open.security, [])
    assert.equal(scoped.operationId, 'oldDoIt')
  })

  test('a body that may be null may be left out', () => {
    for (const [type, required] of [
      [['object', 'null'], false] as const,
      ['object', true] as const,
    ]) {
      const { requestBody } = made({}, { body: Type.Unsafe({ type }) }).paths['/things/{thing}']!
        .post!
      assert.equal(requestBody!.required, required)
    }
  })

  test('what has a title is said once; two schemas of one title are an error', () => {
    const thing = (about: string): Type.TSchema =>
      Type.Object({}, { title: 'Thing', description: about })
    const twice = made({}, { response: { 200: thing('a'), 201: Type.Array(thing('a')) } })
    assert.deepEqual(twice.components.schemas.Thing, {
      type: 'object',
      properties: {},
      description: 'a',
    })
    const clash = { response: { 200: thing('a'), 201: thing('b') } }
    assert.throws(() => made({}, clash), { message: 'two schemas are called Thing' })
  })
})
