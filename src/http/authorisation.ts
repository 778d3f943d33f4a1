/**
 * Who may do what, at one place for all routes and before anything of a request is read but its head. In
 * open mode, as long as there is no access token, guard.ts has seen to it that the caller is local.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Access, AccessToken } from '../service/access.ts'
import type { Scope } from '../service/scopes.ts'
import type { Route } from './contract/common.ts'
import { sendProblem } from './problem.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The access token of who asks; null in open mode. */
    caller: AccessToken | null
  }
  interface FastifySchema {
    summary?: string
  }
}

/**
 * Stands for a pool that its caller may not see. No pool can have that name, so that all goes on as for
 * one that does not exist, and the answers are the same.
 */
export const NO_POOL = ''

const BEARER = /^Bearer +([\w.~+/-]+=*) *$/i

/** Every route that is registered from now on says who may use it, and is held to that. */
export function authorise(app: FastifyInstance, access: Access): void {
  app.decorateRequest('caller', null)
  app.addHook('onRoute', (route) => {
    const { scopes, pool, accessTokenIn } = route as Partial<Route>
    if (scopes === undefined) throw new Error(`who may use ${route.url}?`)
    if (scopes === null) return
    const admitOrRefuse: onRequestHookHandler = (request, reply, done) => {
      const isAdmitted =
        access.isOpen ||
        (accessTokenIn === undefined
          ? admit(request, reply, access, scopes)
          : admitGateway(request, reply, access, scopes))
      if (!isAdmitted) return
      const params = request.params as { pool?: string }
      if (pool !== undefined) params.pool = pool
      const { caller } = request
      if (params.pool !== undefined && caller?.sees(params.pool) === false) params.pool = NO_POOL
      done()
    }
    route.onRequest = [route.onRequest ?? [], admitOrRefuse].flat()
  })
}

/** False: the request has been answered. */
function admit(
  request: FastifyRequest,
  reply: FastifyReply,
  access: Access,
  scopes: readonly Scope[],
): boolean {
  const { authorization } = request.headers
  const caller = callerBy(access, authorization)
  if (caller === null) {
    const wasSent = authorization !== undefined && /^Bearer\b/i.test(authorization)
    sendProblem(reply, wasSent ? 'access_token_invalid' : 'access_token_required')
    return false
  }
  if (!caller.may(scopes)) {
    sendProblem(reply, 'missing_scope', whatIsMissing(scopes))
    return false
  }
  request.caller = caller
  return true
}

/** The same of who asks about a key that came to it in Authorization. */
function admitGateway(
  request: FastifyRequest,
  reply: FastifyReply,
  access: Access,
  scopes: readonly Scope[],
): boolean {
  const secret = request.headers['x-access-token']
  const caller = typeof secret === 'string' ? access.authenticate(secret) : null
  if (caller?.may(scopes) === true) {
    request.caller = caller
    return true
  }
  const detail =
    caller === null
      ? 'Send a valid access token in X-Access-Token.'
      : `The access token in X-Access-Token: ${whatIsMissing(scopes)}`
  sendProblem(reply, 'gateway_not_trusted', detail)
  return false
}

function callerBy(access: Access, authorization: string | undefined): AccessToken | null {
  const secret = authorization === undefined ? undefined : BEARER.exec(authorization)?.[1]
  return secret === undefined ? null : access.authenticate(secret)
}

export function whatIsMissing(scopes: readonly Scope[]): string {
  return `It needs the scope ${scopes.join(' or ')}.`
}
