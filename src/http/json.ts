import type { FastifyReply } from 'fastify'

/** Sends what is JSON text already, past the serialiser. */
export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(text)
}
