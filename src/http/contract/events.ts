/** What happens, as it happens. */
import { Type } from 'typebox'
import { body, type Route } from './common.ts'

const NAME = '[a-z0-9][a-z0-9._-]{0,63}'
const MAX_NAMED_POOLS = 100

export const events = {
  streamEvents: {
    method: 'GET',
    url: '/v1/events',
    scopes: ['read'],
    errors: ['pool_not_found', 'too_many_streams', 'draining'],
    produces: 'text/event-stream',
    schema: {
      summary: 'Listen to what happens',
      querystring: body({
        pool: Type.Optional(
          Type.String({ description: 'each change of that pool, not only how many keys it has' }),
        ),
        pools: Type.Optional(
          Type.String({
            pattern: `^${NAME}(,${NAME}){0,${MAX_NAMED_POOLS - 1}}$`,
            description: `of these pools only: up to ${MAX_NAMED_POOLS} names with commas between them`,
            examples: ['llm,default'],
          }),
        ),
      }),
      response: { 200: Type.String({ description: 'server-sent events; docs/events.md' }) },
    },
  },
} as const satisfies Record<string, Route>
