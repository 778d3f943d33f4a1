/** What becomes of each request, for whoever traces them. Where nobody does, nothing is done. */
import type { FastifyInstance } from 'fastify'
import type { ErrorCode } from '../engine/errors.ts'

/** A request that is over. Instants are those of `performance.now()`. */
export interface TracedRequest {
  method: string
  /** The path as the contract has it; undefined: there is none such. */
  route: string | undefined
  /** Null where the request names none, or none that is known to be one. */
  pool: string | null
  /** Null: the caller was gone before the answer was. */
  status: number | null
  code: ErrorCode | null
  startedAt: number
  endedAt: number
  /** What the caller says of the trace that it belongs to (W3C Trace Context). */
  traceparent: string | undefined
}

/** What only a pool answers that is there. Another name could be a secret in the wrong place. */
const SAID_BY_POOLS = [409, 410, 422, 429]

/** Tells of all routes that are registered from now on. */
export function traceRequests(app: FastifyInstance, trace: (request: TracedRequest) => void): void {
  app.addHook('onRequest', (request, reply, done) => {
    const startedAt = performance.now()
    reply.raw.once('close', () => {
      const { statusCode, errorCode } = reply
      const { pool = '' } = request.params as { pool?: string }
      const isKnown = pool !== '' && (statusCode < 400 || SAID_BY_POOLS.includes(statusCode))
      trace({
        method: request.method,
        route: request.routeOptions.url,
        pool: isKnown ? pool : null,
        status: reply.raw.writableFinished ? statusCode : null,
        code: errorCode,
        startedAt,
        endedAt: performance.now(),
        traceparent: request.headers.traceparent as string | undefined,
      })
    })
    done()
  })
}
