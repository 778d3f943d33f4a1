/** The OpenAPI document as a judge: whether an answer is one that it promises. */
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import { type Answer, TestServer } from './server.ts'

/** JSON Schema, and whatever else is in the document. */
export type Json = Record<string, unknown>

export interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  schema: Json
}

export interface Operation {
  id: string
  method: string
  /** With its parameters in braces. */
  path: string
  parameters: Parameter[]
  body: Json | undefined
  /** The media type of the body. */
  bodyType: string | undefined
  responses: Record<string, Response>
  document: Document
}

interface Response {
  content?: Record<string, { schema: Json }>
  headers?: Record<string, Json>
}

/** As much of it as tests look at. */
export interface OpenApi {
  info: { version: string }
  tags: { name: string }[]
  paths: Record<string, Record<string, Described>>
  components: {
    schemas: Record<string, Json & { properties?: Record<string, Json>; required?: string[] }>
  }
}

interface Described {
  operationId: string
  tags: string[]
  security: object[]
  parameters?: Json[]
  requestBody?: { required: boolean; content: Record<string, { schema: Json }> }
  responses: Record<string, Response>
}

export async function fetchDocument(): Promise<OpenApi> {
  await using server = await TestServer.start()
  return (await server.ask('GET', '/openapi.json')).body as OpenApi
}

/** What OpenAPI adds to JSON Schema. */
const OPENAPI_KEYWORDS = ['discriminator', 'example']

export class Document {
  readonly operations: readonly Operation[]
  readonly #root: OpenApi
  readonly #ajv = new Ajv2020({ strict: true, strictTypes: false })
  readonly #validators = new Map<Json, ValidateFunction>()

  constructor(document: OpenApi) {
    // An answer says no more than the document: fields that it does not know would not be noticed else.
    this.#root = close(document) as OpenApi
    ajvFormats.default(this.#ajv)
    this.#ajv.addVocabulary(OPENAPI_KEYWORDS)
    this.#ajv.addSchema({ $id: 'openapi', $defs: localised(this.#root.components.schemas) })
    this.operations = Object.entries(this.#root.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => this.#operation(path, method, operation)),
    )
  }

  /** The schema, or what it refers to. */
  resolve<T extends Json>(part: T): T {
    if (typeof part.$ref !== 'string') return part
    let found: unknown = this.#root
    for (const name of part.$ref.replace('#/', '').split('/')) found = (found as Json)[name]
    assert(found !== undefined, `${part.$ref} leads nowhere`)
    return found as T
  }

  validator(schema: Json): ValidateFunction {
    const known = this.#validators.get(schema)
    if (known !== undefined) return known
    const validator = this.#ajv.compile(localised(schema))
    this.#validators.set(schema, validator)
    return validator
  }

  /** What is wrong with the answer, by the document; null if nothing is. */
  faultOf({ id, responses }: Operation, answer: Answer): string | null {
    const { status, headers, text, body } = answer
    const named = responses[status]
    if (named === undefined) return `${id} answers ${status}: ${text}`
    const response = this.resolve(named as unknown as Json) as unknown as Response
    const place = `${id}'s ${status}`
    return (
      this.#headerFault(place, response, headers) ??
      this.#bodyFault(place, response, headers['content-type'], text, body)
    )
  }

  #headerFault(place: string, response: Response, headers: Answer['headers']): string | null {
    const promised = response.headers ?? {}
    for (const [name, reference] of Object.entries(promised)) {
      const { required, schema } = this.resolve(reference) as { required: boolean; schema: Json }
      const value = headers[name.toLowerCase()]
      if (value === undefined && required) return `${place} has no ${name}`
      if (value !== undefined && !this.validator(schema)(value)) return `${place} has a bad ${name}`
    }
    for (const name of ['Location', 'Retry-After', 'Allow', 'WWW-Authenticate']) {
      if (name.toLowerCase() in headers && !(name in promised)) return `${place} has a ${name}`
    }
    return null
  }

  #bodyFault(
    place: string,
    { content }: Response,
    type: string | undefined,
    text: string,
    body: unknown,
  ): string | null {
    if (content === undefined) {
      return text === '' && type === undefined ? null : `${place} has a body: ${text}`
    }
    const described = content[type?.split(';')[0] ?? ''] ?? content['*/*']
    if (described === undefined) return `${place} is of type ${String(type)}`
    const validate = this.validator(described.schema)
    const said = type!.includes('json') ? body : text
    return validate(said) ? null : `${place} says ${text}: ${this.#ajv.errorsText(validate.errors)}`
  }

  #operation(path: string, method: string, operation: Described): Operation {
    const { operationId: id, parameters = [], requestBody, responses } = operation
    const [bodyType, body] = Object.entries(requestBody?.content ?? {})[0] ?? []
    return {
      id,
      method: method.toUpperCase(),
      path,
      parameters: parameters.map((one) => this.resolve(one) as unknown as Parameter),
      body: body?.schema,
      bodyType,
      responses,
      document: this,
    }
  }
}

/** The serialiser writes what a schema names and drops the rest without a word. */
export function droppedBy(payload: unknown, answer: Answer): boolean {
  return !isDeepStrictEqual(JSON.parse(JSON.stringify(payload)), answer.body)
}

/** With references that lead to where the validator has the components. */
function localised(schema: Json): Json {
  const text = JSON.stringify(schema).replaceAll('#/components/schemas/', 'openapi#/$defs/')
  return JSON.parse(text) as Json
}

function close(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(close)
  if (typeof part !== 'object' || part === null) return part
  const copy = Object.fromEntries(Object.entries(part).map(([name, one]) => [name, close(one)]))
  const open = copy.type === 'object' && 'properties' in copy && !('additionalProperties' in copy)
  return open ? { ...copy, additionalProperties: false } : copy
}
