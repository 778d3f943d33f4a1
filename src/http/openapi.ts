/** The contract as an OpenAPI 3.1 document. */
import { STATUS_CODES } from 'node:http'
import { isDeepStrictEqual } from 'node:util'
import type { Type } from 'typebox'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'
import { AnswerHeaders, IdempotencyKey, Problem, type Route } from './contract/common.ts'
import { isSheddable } from './overload.ts'
import { PROBLEM_TYPE } from './problem.ts'

/** Routes that belong together. */
export interface Resource {
  name: string
  about: string
  /** Goes before the names of its routes, where others have the same. */
  prefix?: string
  routes: Readonly<Record<string, Route>>
}

/** JSON, here and there a schema. */
type Json = Record<string, unknown>

const ABOUT = `Hands out API keys, one holder at a time.

- Times are ISO 8601 (UTC, milliseconds), durations whole milliseconds.
- Errors are problem details (RFC 9457) with a \`code\` that never changes.
- A method that a path does not know is a 405 with \`Allow\`, a path that is none a 404.
- Each operation names the scopes of which an access token needs one. Without any token the server answers
  callers on its own machine only, and asks for none.`

/** Of whatever is asked. */
const ANY_ERRORS: readonly ErrorCode[] = ['invalid_request', 'not_local']
/** Of whatever takes an access token, once there is one. */
const ACCESS_ERRORS: readonly ErrorCode[] = [
  'access_token_required',
  'access_token_invalid',
  'missing_scope',
]
/** Of whatever may change something. */
const CHANGE_ERRORS: readonly ErrorCode[] = ['body_too_large', 'storage_full']
const REPEAT_ERRORS: readonly ErrorCode[] = [
  'request_in_progress',
  'idempotency_mismatch',
  'idempotency_full',
]

export function openapi(resources: readonly Resource[], version: string): Json {
  const components = new Components()
  const paths: Record<string, Json> = {}
  for (const { name: tag, prefix = '', routes } of resources) {
    for (const [name, route] of Object.entries(routes)) {
      const path = route.url.replaceAll(/:(\w+)/g, '{$1}')
      const method = route.method.toLowerCase()
      const operationId = prefix === '' ? name : prefix + name[0]!.toUpperCase() + name.slice(1)
      const operation = { operationId, tags: [tag], ...operationOf(route, components) }
      paths[path] = { ...paths[path], [method]: operation }
    }
  }
  const problem = { [PROBLEM_TYPE]: { schema: components.use(Problem) } }
  return {
    openapi: '3.1.0',
    info: { title: 'Token Orchestrator', version, description: ABOUT, license: { name: 'MIT' } },
    tags: resources.map(({ name, about }) => ({ name, description: about })),
    paths,
    components: {
      schemas: components.schemas,
      responses: {
        Failure: {
          description: 'The request did not arrive whole, or the server failed',
          content: problem,
        },
      },
      parameters: {
        IdempotencyKey: parameter('header', 'Idempotency-Key', IdempotencyKey, false, components),
      },
      headers: headersOf(components),
      securitySchemes: {
        accessToken: {
          type: 'http',
          scheme: 'bearer',
          description: 'An access token. `admin` has all scopes, `leases:admin` has `leases`.',
        },
        gatewayToken: {
          type: 'apiKey',
          in: 'header',
          name: 'X-Access-Token',
          description: 'The access token of a gateway: Authorization is for the key.',
        },
      },
    },
  }
}

function operationOf(route: Route, components: Components): Json {
  const { scopes, schema, repeatable } = route
  const { summary, body } = schema
  const parameters = [
    ...pathParameters(route, components),
    ...queryParameters(route, components),
    ...(repeatable === true ? [reference('parameters', 'IdempotencyKey')] : []),
  ]
  return {
    summary,
    description: scopes === null ? 'Open to all.' : `Scope: ${oneOf(scopes)}.`,
    security: (scopes ?? []).map((scope) => ({ [schemeOf(route)]: [scope] })),
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && { requestBody: requestBodyOf(route, body, components) }),
    responses: responsesOf(route, components),
  }
}

function schemeOf({ accessTokenIn }: Route): string {
  return accessTokenIn === undefined ? 'accessToken' : 'gatewayToken'
}

function oneOf(scopes: readonly string[]): string {
  return scopes.map((scope) => `\`${scope}\``).join(' or ')
}

/** What a path names is text, where no schema says more. */
function pathParameters({ url, schema }: Route, components: Components): Json[] {
  const described = propertiesOf(schema.params)
  return [...url.matchAll(/:(\w+)/g)].map(([, name]) =>
    parameter('path', name!, described[name!] ?? { type: 'string' }, true, components),
  )
}

function queryParameters({ schema }: Route, components: Components): Json[] {
  const { required = [] } = (schema.querystring ?? {}) as { required?: string[] }
  return Object.entries(propertiesOf(schema.querystring)).map(([name, property]) =>
    parameter('query', name, property, required.includes(name), components),
  )
}

function parameter(
  place: 'path' | 'query' | 'header',
  name: string,
  schema: object,
  required: boolean,
  components: Components,
): Json {
  return { name, in: place, required, ...described(schema, components) }
}

function headersOf(components: Components): Record<string, Json> {
  const { properties, required } = AnswerHeaders
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [
      name,
      { required: (required as string[]).includes(name), ...described(schema, components) },
    ]),
  )
}

/** The description stands beside the schema, where it is seen. */
function described(schema: object, components: Components): Json {
  const { description, ...rest } = components.use(schema)
  return { ...(description !== undefined && { description }), schema: rest }
}

function requestBodyOf(
  { consumes = 'application/json' }: Route,
  body: Type.TSchema,
  components: Components,
): Json {
  const { type } = body as { type?: unknown }
  const optional = Array.isArray(type) && type.includes('null')
  return {
    required: !optional,
    content: { [consumes]: { schema: components.use(body) } },
  }
}

function responsesOf(route: Route, components: Components): Record<string, Json> {
  const { headers = {}, produces = 'application/json', schema } = route
  const responses: Record<string, Json> = {}
  for (const [status, body] of Object.entries(schema.response ?? {})) {
    const { type, description } = body as { type?: unknown; description?: string }
    responses[status] = {
      description: description ?? STATUS_CODES[status],
      ...(type !== 'null' && { content: { [produces]: { schema: components.use(body) } } }),
    }
  }
  for (const [status, codes] of Map.groupBy(errorsOf(route), (code) => ERRORS[code].status)) {
    const response = responses[status]
    const titles = codes.map((code) => `- \`${code}\`: ${ERRORS[code].title}`).join('\n')
    responses[status] = {
      description: response === undefined ? titles : `${String(response.description)}\n\n${titles}`,
      content: { ...(response?.content as Json), [PROBLEM_TYPE]: problemOf(codes, components) },
    }
  }
  const challenged: Route['headers'] = '401' in responses ? { 401: ['WWW-Authenticate'] } : {}
  const shed: Route['headers'] = isSheddable(route) ? { 503: ['Retry-After'] } : {}
  for (const [status, names] of Object.entries({ ...headers, ...challenged, ...shed })) {
    responses[status]!.headers = Object.fromEntries(
      names.map((name) => [name, reference('headers', name)]),
    )
  }
  return { ...responses, default: reference('responses', 'Failure') }
}

function problemOf(codes: ErrorCode[], components: Components): Json {
  const [code] = codes as [ErrorCode, ...ErrorCode[]]
  const { status, title, advice } = ERRORS[code]
  return {
    schema: { allOf: [components.use(Problem), { properties: { code: { enum: codes } } }] },
    example: { title, status, code, detail: advice },
  }
}

function errorsOf(route: Route): ErrorCode[] {
  const { method, scopes, accessTokenIn, repeatable, errors } = route
  return [
    ...ANY_ERRORS,
    ...(scopes === null || accessTokenIn !== undefined ? [] : ACCESS_ERRORS),
    ...errors,
    ...(repeatable === true ? REPEAT_ERRORS : []),
    ...(method === 'GET' ? [] : CHANGE_ERRORS),
    ...(isSheddable(route) ? (['overloaded'] as const) : []),
  ]
}

function propertiesOf(schema: Type.TSchema | undefined): Record<string, object> {
  return (schema as { properties?: Record<string, object> } | undefined)?.properties ?? {}
}

function reference(kind: string, name: string): { $ref: string } {
  return { $ref: `#/components/${kind}/${name}` }
}

/** Where a schema is a value or a name of its parts is data, a schema is not looked for. */
const VALUES = new Set(['enum', 'const', 'default', 'examples', 'required', 'discriminator'])
const NAMED_SCHEMAS = new Set(['properties', 'patternProperties'])

/** Schemas that have a title stand here, once, and are referred to. */
class Components {
  readonly schemas: Record<string, Json> = {}

  /** @returns the schema for its place in the document, or where it is. */
  use(schema: object): Json {
    const { title, ...rest } = schema as { title?: string }
    const copy = this.#copy(rest)
    if (title === undefined) return copy
    const known = (this.schemas[title] ??= copy)
    if (!isDeepStrictEqual(known, copy)) throw new Error(`two schemas are called ${title}`)
    return reference('schemas', title)
  }

  #copy(schema: object): Json {
    const copy = Object.fromEntries(
      Object.entries(schema).map(([keyword, value]) => [keyword, this.#part(keyword, value)]),
    )
    return 'discriminator' in copy ? withMapping(schema, copy) : copy
  }

  #part(keyword: string, value: unknown): unknown {
    if (VALUES.has(keyword) || typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map((one) => this.#part('', one))
    if (!NAMED_SCHEMAS.has(keyword)) return this.use(value)
    return Object.fromEntries(
      Object.entries(value as Json).map(([name, one]) => [name, this.use(one as object)]),
    )
  }
}

/** Which value of the discriminating property stands for which of the alternatives. */
function withMapping(schema: object, copy: Json): Json {
  const { discriminator, oneOf } = schema as {
    discriminator: { propertyName: string }
    oneOf: Type.TSchema[]
  }
  const { propertyName } = discriminator
  const mapping = oneOf.map((alternative, at) => {
    const { const: value } = propertiesOf(alternative)[propertyName] as { const: string }
    return [value, (copy.oneOf as { $ref: string }[])[at]!.$ref] as const
  })
  return { ...copy, discriminator: { propertyName, mapping: Object.fromEntries(mapping) } }
}
