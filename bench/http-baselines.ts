/**
 * What the server is measured against: the least that `node:http` and Fastify can do, answering what
 * the server answered once, byte for byte.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { answerParent } from './child.ts'

/** As the server's, since the value is in a header. */
const KEEP_ALIVE_TIMEOUT_MS = 72_000

export interface Answer {
  headers: Record<string, string>
  body: string
}

/** One answer for each route of the cycle. */
export interface Answers {
  draw: Answer
  keepAlive: Answer
  unblock: Answer
}

const tasks = {
  async http({ draw, keepAlive, unblock }: Answers): Promise<number> {
    const server = createServer((request, response) => {
      const answer =
        request.method === 'GET'
          ? draw
          : request.url!.startsWith('/keepalive/')
            ? keepAlive
            : unblock
      response.writeHead(200, answer.headers)
      response.end(answer.body)
    })
    server.keepAliveTimeout = KEEP_ALIVE_TIMEOUT_MS
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return portOf(server)
  },

  async fastify({ draw, keepAlive, unblock }: Answers): Promise<number> {
    const app = Fastify({ logger: false, keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS })
    app.get('/keys', (_request, reply) => reply.headers(draw.headers).send(draw.body))
    app.put('/keepalive/:id', (_request, reply) =>
      reply.headers(keepAlive.headers).send(keepAlive.body),
    )
    app.put('/keys/:id', (_request, reply) => reply.headers(unblock.headers).send(unblock.body))
    await app.listen({ port: 0, host: '127.0.0.1' })
    return portOf(app.server)
  },
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

export type BaselineTasks = typeof tasks
answerParent(tasks)
