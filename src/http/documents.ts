/** The API's description: for programs, and as a page for people. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { FastifyInstance } from 'fastify'
import { version } from '../version.ts'
import { batch } from './contract/batch.ts'
import { classic } from './contract/classic.ts'
import { events } from './contract/events.ts'
import { introspection } from './contract/introspection.ts'
import { keys } from './contract/keys.ts'
import { leases } from './contract/leases.ts'
import { operational } from './contract/operational.ts'
import { pools } from './contract/pools.ts'
import { tokens } from './contract/tokens.ts'
import { openapi, type Resource } from './openapi.ts'
import { sendProblem } from './problem.ts'

const RESOURCES: readonly Resource[] = [
  { name: 'pools', about: 'Sets of keys, each with one policy.', routes: pools },
  { name: 'keys', about: 'What is handed out.', routes: keys },
  { name: 'leases', about: 'Exclusive holds of keys, for a time.', routes: leases },
  { name: 'batch', about: 'Many operations in one call.', routes: batch },
  { name: 'introspection', about: 'Whether a key is good.', routes: introspection },
  { name: 'events', about: 'What happens, as it happens.', routes: events },
  { name: 'tokens', about: 'Access tokens: who may do what.', routes: tokens },
  {
    name: 'classic',
    about: 'Six routes on the pool `default`, for clients of earlier servers of this kind.',
    prefix: 'classic',
    routes: classic,
  },
  { name: 'operational', about: 'For those who run the server.', routes: operational },
]

/** Nothing but what this server serves; Swagger UI has its icons as data. */
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"],
  ...["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ')

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Token Orchestrator</title>
    <link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="page"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`
/** The validator that is not asked is one on the internet. */
const START = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#page',
  deepLinking: true,
  validatorUrl: null,
})
`

const TYPES: Record<string, string> = {
  'favicon-32x32.png': 'image/png',
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
}

export function documentRoutes(app: FastifyInstance): void {
  const document = JSON.stringify(openapi(RESOURCES, version()))
  app.route({
    ...operational.document,
    handler: (_request, reply) => reply.type('application/json; charset=utf-8').send(document),
  })
  app.route({
    ...operational.page,
    handler: (_request, reply) =>
      reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', POLICY)
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .send(PAGE),
  })
  app.route<{ Params: { file: string } }>({
    ...operational.pageFile,
    handler: async (request, reply) => {
      const { file } = request.params
      reply.header('x-content-type-options', 'nosniff')
      if (file === 'start.js') return reply.type('text/javascript; charset=utf-8').send(START)
      if (!Object.hasOwn(TYPES, file)) return sendProblem(reply, 'route_not_found')
      // Read when asked for: it is larger than all the rest, and few look at it.
      const path = createRequire(import.meta.url).resolve(`@fastify/swagger-ui/static/${file}`)
      const { size } = await stat(path)
      return reply.type(TYPES[file]!).header('content-length', size).send(createReadStream(path))
    },
  })
}
