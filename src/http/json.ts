import type { FastifyReply } from 'fastify'

/** For a handler to return: what is JSON text already goes past the serialiser. */
export function asJson(reply: FastifyReply, text: string): string {
  reply.type('application/json; charset=utf-8')
  return text
}
