/** Values from JSON Schemas: such as are valid by them, and such as hardly are. */
import fc from 'fast-check'
import type { Json } from './document.ts'

/** What stands for a schema's own values: null leaves them to it. */
type Instead = (name: string, schema: Json) => fc.Arbitrary<unknown> | null

export interface FromSchema {
  resolve: (schema: Json) => Json
  /** By a property's name. */
  instead: Instead
}

const MAX_ITEMS = 4
const MAX_LETTERS = 40
/** Says nothing about what is valid. */
const ANNOTATIONS = ['description', 'title', 'examples', 'default', 'discriminator']
const KNOWN: Record<string, string[]> = {
  object: ['properties', 'required', 'additionalProperties', 'maxProperties', 'propertyNames'],
  array: ['items', 'minItems', 'maxItems', 'uniqueItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  integer: ['minimum', 'maximum'],
  number: ['minimum', 'maximum'],
  boolean: [],
  null: [],
}

/** Values that are valid by the schema. @throws Error for a keyword that is not heeded here. */
export function valuesOf(given: Json, from: FromSchema): fc.Arbitrary<unknown> {
  const schema = from.resolve(given)
  const examples = schema.examples as unknown[] | undefined
  const values = withoutExamples(schema, from)
  if (examples === undefined) return values
  return fc.oneof({ weight: 3, arbitrary: values }, fc.constantFrom(...examples))
}

function withoutExamples(schema: Json, from: FromSchema): fc.Arbitrary<unknown> {
  const alternatives = (schema.oneOf ?? schema.anyOf) as Json[] | undefined
  if (alternatives !== undefined) {
    return fc.oneof(...alternatives.map((alternative) => valuesOf(alternative, from)))
  }
  if ('const' in schema) return fc.constant(schema.const)
  if ('enum' in schema) return fc.constantFrom(...(schema.enum as unknown[]))
  const types = [schema.type].flat() as string[]
  const heeded = ['type', ...ANNOTATIONS, ...types.flatMap((type) => KNOWN[type]!)]
  const unheeded = Object.keys(schema).filter((keyword) => !heeded.includes(keyword))
  if (unheeded.length > 0) throw new Error(`no values are made by ${unheeded.join(', ')}`)
  return fc.oneof(...types.map((type) => ofType(type, schema, from)))
}

function ofType(type: string, schema: Json, from: FromSchema): fc.Arbitrary<unknown> {
  switch (type) {
    case 'object':
      return objectsOf(schema, from)
    case 'array': {
      const { items = {}, minItems = 0, maxItems = MAX_ITEMS } = schema as Record<string, number>
      const maxLength = Math.max(minItems, Math.min(maxItems, MAX_ITEMS))
      const of = schema.uniqueItems === true ? fc.uniqueArray : fc.array
      return of(valuesOf(items as unknown as Json, from), { minLength: minItems, maxLength })
    }
    case 'string':
      return stringsOf(schema)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    default: {
      const { minimum: min = -1e9, maximum: max = 1e9 } = schema as Record<string, number>
      // Small ones are what tests are about; the edges must be there as well.
      return fc.oneof(
        { weight: 4, arbitrary: fc.integer({ min, max: Math.min(max, min + 50) }) },
        { weight: 1, arbitrary: fc.constantFrom(min, max) },
        {
          weight: 1,
          arbitrary: fc.maxSafeInteger().map((n) => min + (Math.abs(n) % (max - min + 1))),
        },
      )
    }
  }
}

function objectsOf(schema: Json, from: FromSchema): fc.Arbitrary<unknown> {
  const { properties = {}, required = [] } = schema as {
    properties?: Record<string, Json>
    required?: string[]
  }
  const { additionalProperties: rest, maxProperties, propertyNames } = schema
  const fields = Object.entries(properties).map(
    ([name, one]) => [name, from.instead(name, one) ?? valuesOf(one, from)] as const,
  )
  const named = fc.record(Object.fromEntries(fields), {
    requiredKeys: required,
    noNullPrototype: true,
  })
  if (typeof rest !== 'object' || rest === null) return named
  const names =
    propertyNames === undefined ? fc.string() : valuesOf({ type: 'string', ...propertyNames }, from)
  const maxKeys = Math.min((maxProperties as number | undefined) ?? MAX_ITEMS, MAX_ITEMS)
  const others = fc.dictionary(names as fc.Arbitrary<string>, valuesOf(rest as Json, from), {
    maxKeys,
  })
  return fc.tuple(others, named).map(([some, own]) => ({ ...some, ...own }))
}

function stringsOf(schema: Json): fc.Arbitrary<string> {
  const {
    pattern,
    format,
    minLength = 0,
    maxLength,
  } = schema as {
    pattern?: string
    format?: string
    minLength?: number
    maxLength?: number
  }
  if (format === 'uuid') return fc.uuid()
  if (format === 'date-time')
    return fc.date({ noInvalidDate: true }).map((date) => date.toISOString())
  if (format !== undefined) throw new Error(`no values are made of the format ${format}`)
  if (pattern !== undefined) {
    const fits = ({ length }: string): boolean =>
      length >= minLength && length <= (maxLength ?? Infinity)
    return fc.stringMatching(new RegExp(pattern, 'u')).filter(fits)
  }
  const short = minLength + MAX_LETTERS
  const texts = fc.string({
    unit: 'binary',
    minLength,
    maxLength: Math.min(maxLength ?? short, short),
  })
  if (maxLength === undefined) return texts
  return fc.oneof({ weight: 4, arbitrary: texts }, fc.constant('x'.repeat(maxLength)))
}

/** What no schema has in mind. */
const ODDITIES: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, '', 0, -1, 0.5, 1e15, 2 ** 53, 1e308, [], {}, [[[]]]),
  fc.constantFrom('\ud800', '\udc00x', '\0', '__proto__', 'x'.repeat(3000), '9'.repeat(400)),
  fc.constantFrom('2024-02-30T00:00:00.000Z', 'NaN', 'null', 'true', '1e3'),
  fc.jsonValue({ maxDepth: 3 }),
)

/** A value in which something is replaced or added. */
export function oddOnes(values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const name = fc.constantFrom('__proto__', 'constructor', 'op', 'count', 'keyID', 'toString')
  return fc
    .tuple(values, fc.nat(), ODDITIES, fc.option(name))
    .map(([value, place, oddity, added]) => change(structuredClone(value), place, oddity, added))
}

function change(value: unknown, place: number, oddity: unknown, added: string | null): unknown {
  const places: [object, string][] = []
  const walk = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return
    for (const [key, one] of Object.entries(part)) {
      places.push([part, key])
      walk(one)
    }
  }
  walk(value)
  const [part, key] = places[place % (places.length + 1)] ?? []
  if (part === undefined)
    return added !== null && isObject(value) ? define(value, added, oddity) : oddity
  if (added === null) define(part, key!, oddity)
  else define(part, Array.isArray(part) ? key! : added, oddity)
  return value
}

/** By definition, so that `__proto__` is a field like others. */
function define(part: object, key: string, value: unknown): object {
  return Object.defineProperty(part, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  })
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
