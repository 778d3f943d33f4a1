/** A page for people, made of files that are served as they lie in the folder beside this. */
import { readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { dashboard } from './contract/dashboard.ts'
import { sendProblem } from './problem.ts'

const FOLDER = new URL('./dashboard/', import.meta.url)

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Nothing but what this server serves, and nothing that stands in the page itself. */
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'"],
  ...["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ...["require-trusted-types-for 'script'", "trusted-types 'none'"],
].join('; ')

export function dashboardRoutes(app: FastifyInstance): void {
  // Few and small: they are read once.
  const files = new Map(
    readdirSync(FOLDER).map((name) => [name, readFileSync(new URL(name, FOLDER))]),
  )
  const send = (reply: FastifyReply, name: string): FastifyReply => {
    const content = files.get(name)
    const type = TYPES[extname(name)]
    if (content === undefined || type === undefined) return sendProblem(reply, 'route_not_found')
    return reply
      .type(type)
      .header('content-security-policy', POLICY)
      .header('x-content-type-options', 'nosniff')
      .header('referrer-policy', 'no-referrer')
      .send(content)
  }
  app.route({ ...dashboard.page, handler: (_request, reply) => send(reply, 'index.html') })
  app.route<{ Params: { file: string } }>({
    ...dashboard.pageFile,
    handler: (request, reply) => send(reply, request.params.file),
  })
}
