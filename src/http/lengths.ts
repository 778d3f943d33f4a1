import type { FastifyServerOptions } from 'fastify'

type Plugin = NonNullable<NonNullable<FastifyServerOptions['ajv']>['plugins']>[number]
type Ajv = Parameters<Extract<Plugin, (...args: never[]) => unknown>>[0]

/** A letter of Unicode takes one unit of a string or two, so that most lengths need no counting. */
const HOLDS = {
  minLength: (text: string, limit: number) =>
    text.length >= 2 * limit || (text.length >= limit && letters(text) >= limit),
  maxLength: (text: string, limit: number) =>
    text.length <= limit || (text.length <= 2 * limit && letters(text) <= limit),
}
const COMPARISONS = { minLength: 'fewer', maxLength: 'more' }

/** Has Ajv check the lengths of strings as it would, but not letter by letter: there may be megabytes of them. */
export function checkLengthsFast(ajv: Ajv): Ajv {
  for (const keyword of ['minLength', 'maxLength'] as const) {
    const compile = (limit: number) => {
      const message = `must NOT have ${COMPARISONS[keyword]} than ${limit} characters`
      const check = (text: string): boolean => {
        if (HOLDS[keyword](text, limit)) return true
        check.errors = [{ keyword, message, params: { limit } }]
        return false
      }
      check.errors = [] as object[]
      return check
    }
    ajv.removeKeyword(keyword)
    ajv.addKeyword({ keyword, type: 'string', schemaType: 'number', compile })
  }
  return ajv
}

function letters(text: string): number {
  return Array.from(text).length
}
