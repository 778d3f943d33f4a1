/** What happens, as server-sent events. */
import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { Access } from '../../service/access.ts'
import type { Listening, Sink, Told } from '../../service/events.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import { events } from '../contract/events.ts'
import { isoOrNull } from '../instants.ts'
import { malformed, problem, sendProblem, sendRefusal } from '../problem.ts'

interface EventsRequest {
  Querystring: { pool?: string; pools?: string }
}

/** A comment, which every reader passes over. */
const SIGN_OF_LIFE = ':\n\n'

/** As text; many readers are told the same. */
const texts = new WeakMap<Told, string>()

export function eventRoutes(
  app: FastifyInstance,
  orchestrator: Orchestrator,
  access: Access,
): void {
  app.route<EventsRequest>({
    ...events.streamEvents,
    handler: async (request, reply) => {
      const { caller, query } = request
      const { pool, pools } = query
      if (pool !== undefined && pools !== undefined) {
        throw malformed('Give either pool, for each change of one, or pools, for counts.')
      }
      const sees = (name: string): boolean => caller?.sees(name) ?? true
      if (pool !== undefined && !(sees(pool) && (await orchestrator.policy(pool)) !== undefined)) {
        return sendProblem(reply, 'pool_not_found')
      }
      const named = pool === undefined ? (pools?.split(',') ?? null) : [pool]
      const interest = {
        pools: named && [...new Set(named)],
        each: pool !== undefined,
        sees,
        bar: () => access.whyNotStill(caller),
      }
      const { raw } = reply
      const listening = orchestrator.events.listen(interest, sinkTo(raw))
      if ('code' in listening) return sendRefusal(reply, listening)
      reply.hijack()
      begin(raw, listening)
      return reply
    },
  })
}

function begin(raw: ServerResponse, listening: Listening): void {
  raw.on('drain', () => {
    listening.ready()
  })
  raw.once('close', () => {
    listening.leave()
  })
  if (raw.destroyed) listening.leave()
  raw.writeHead(200, {
    'content-type': events.streamEvents.produces,
    'x-accel-buffering': 'no', // nginx would keep it back until it has a page of it
  })
  raw.write(SIGN_OF_LIFE)
}

function sinkTo(raw: ServerResponse): Sink {
  return {
    send: (told) => raw.write(told.length === 0 ? SIGN_OF_LIFE : told.map(textOf).join('')),
    end: ({ code }) => {
      raw.end(`event: end\ndata: ${problem(code)}\n\n`)
    },
    drop: () => {
      raw.destroy()
    },
  }
}

function textOf(told: Told): string {
  let text = texts.get(told)
  if (text === undefined) {
    text = `event: ${told.event}\ndata: ${JSON.stringify(dataOf(told))}\n\n`
    texts.set(told, text)
  }
  return text
}

/** What is told of a key is what a listing shows of it; never a value, nor the id of a lease. */
function dataOf(told: Told): object {
  if (told.event === 'missed') return {}
  if (told.event === 'change') {
    const { kind, pool, keyId, fencingToken } = told.change
    return { pool, change: kind, keyId, fencingToken }
  }
  if (told.event !== 'counts') return { pool: told.pool }
  const { pool, waiters, changes } = told
  const { nextAvailableAt, ...counts } = told.counts
  return { pool, counts, waiters, nextAvailableAt: isoOrNull(nextAvailableAt), changes }
}
