/**
 * Who may do what, as the specification says it and written down a second time: every route with the
 * scopes of which one is enough, and a request that succeeds for whoever has one.
 */
import assert from 'node:assert/strict'
import { DEFAULT_POLICY } from '../../src/engine/policy.ts'
import { isRefusal } from '../../src/engine/operations.ts'
import { type Answer, type Asking, json, type TestServer } from './server.ts'
import { type Holder } from './tokens.ts'

export const ALL_SCOPES = [
  ...[
    'read',
    'keys:write',
    'pools:write',
    'leases',
    'leases:admin',
    'introspect',
    'metrics',
    'admin',
  ],
] as const

/** What a request may name. Both keys are in the pool; one is leased, by that lease. */
interface Things {
  pool: string
  leased: string
  free: string
  lease: string
  token: string
}

export interface Row {
  /** Null: anybody may, without a token too. */
  scopes: readonly string[] | null
  path: (things: Things) => string
  body?: object
  success: number
  /** Whether the pool is `default`, of which a token may not know. */
  classic?: true
  /** Its body is a form. */
  form?: true
  /** Who asks shows his token in `X-Access-Token`, and asks about the leased key. */
  gateway?: true
}

const pool = ({ pool }: Things): string => `/v1/pools/${pool}`
const free = (things: Things): string => `${pool(things)}/keys/${things.free}`
const lease = (things: Things): string => `${pool(things)}/leases/${things.lease}`
const operations = [{ op: 'keepAlive', keyId: 'none' }]
const newToken = { name: 'new', scopes: ['read'] }

// prettier-ignore
export const TABLE: Record<string, Row> = {
  'POST /keys': { scopes: ['keys:write'], path: () => '/keys', body: { count: 1 }, success: 201, classic: true },
  'GET /keys': { scopes: ['leases'], path: () => '/keys', success: 200, classic: true },
  'GET /keys/:id': { scopes: ['read'], path: ({ free }) => `/keys/${free}`, success: 200, classic: true },
  'PUT /keys/:id': { scopes: ['leases'], path: ({ leased }) => `/keys/${leased}`, success: 200, classic: true },
  'DELETE /keys/:id': { scopes: ['keys:write'], path: ({ free }) => `/keys/${free}`, success: 200, classic: true },
  'PUT /keepalive/:id': { scopes: ['leases', 'keys:write'], path: ({ free }) => `/keepalive/${free}`, success: 200, classic: true },

  'GET /v1/pools': { scopes: ['read'], path: () => '/v1/pools', success: 200 },
  'PUT /v1/pools/:pool': { scopes: ['pools:write'], path: pool, body: {}, success: 200 },
  'PATCH /v1/pools/:pool': { scopes: ['pools:write'], path: pool, body: {}, success: 200 },
  'GET /v1/pools/:pool': { scopes: ['read'], path: pool, success: 200 },
  'DELETE /v1/pools/:pool': { scopes: ['pools:write'], path: (things) => `${pool(things)}?force=true`, success: 204 },

  'POST /v1/pools/:pool/keys': { scopes: ['keys:write'], path: (things) => `${pool(things)}/keys`, body: { count: 1 }, success: 201 },
  'GET /v1/pools/:pool/keys': { scopes: ['read'], path: (things) => `${pool(things)}/keys`, success: 200 },
  'GET /v1/pools/:pool/keys/:id': { scopes: ['read'], path: free, success: 200 },
  'GET /v1/pools/:pool/keys/:id/history': { scopes: ['read'], path: (things) => `${free(things)}/history`, success: 200 },
  'PATCH /v1/pools/:pool/keys/:id': { scopes: ['keys:write'], path: free, body: { disabled: true }, success: 200 },
  'DELETE /v1/pools/:pool/keys/:id': { scopes: ['keys:write'], path: free, success: 204 },
  'POST /v1/pools/:pool/keys/:id/keepalive': { scopes: ['leases', 'keys:write'], path: (things) => `${free(things)}/keepalive`, success: 200 },
  'DELETE /v1/pools/:pool/keys/:id/lease': { scopes: ['leases:admin'], path: (things) => `${pool(things)}/keys/${things.leased}/lease`, success: 204 },

  'POST /v1/pools/:pool/leases': { scopes: ['leases'], path: (things) => `${pool(things)}/leases`, body: { ttlMs: 1000 }, success: 201 },
  'GET /v1/pools/:pool/leases/:leaseId': { scopes: ['leases'], path: lease, success: 200 },
  'POST /v1/pools/:pool/leases/:leaseId/renew': { scopes: ['leases'], path: (things) => `${lease(things)}/renew`, body: {}, success: 200 },
  'POST /v1/pools/:pool/leases/:leaseId/release': { scopes: ['leases'], path: (things) => `${lease(things)}/release`, body: {}, success: 200 },
  'POST /v1/pools/:pool/batch': { scopes: ['leases', 'keys:write'], path: (things) => `${pool(things)}/batch`, body: { operations }, success: 200 },

  'GET /v1/pools/:pool/leases': { scopes: ['leases:admin'], path: (things) => `${pool(things)}/leases`, success: 200 },
  'DELETE /v1/pools/:pool/leases': { scopes: ['leases:admin'], path: (things) => `${pool(things)}/leases?holder=x`, success: 200 },

  'GET /v1/events': { scopes: ['read'], path: () => '/v1/events', success: 200 },

  'POST /v1/introspect': { scopes: ['introspect'], path: () => '/v1/introspect', body: { token: 'none' }, success: 200, form: true },
  'GET /v1/verify': { scopes: ['introspect'], path: () => '/v1/verify', success: 204, gateway: true },

  'POST /v1/tokens': { scopes: ['admin'], path: () => '/v1/tokens', body: newToken, success: 201 },
  'GET /v1/tokens': { scopes: ['admin'], path: () => '/v1/tokens', success: 200 },
  'DELETE /v1/tokens/:id': { scopes: ['admin'], path: ({ token }) => `/v1/tokens/${token}`, success: 204 },

  'GET /healthz': { scopes: null, path: () => '/healthz', success: 200 },
  'GET /readyz': { scopes: null, path: () => '/readyz', success: 200 },
  'GET /openapi.json': { scopes: null, path: () => '/openapi.json', success: 200 },
  'GET /dashboard': { scopes: null, path: () => '/dashboard', success: 200 },
  'GET /dashboard/:file': { scopes: null, path: () => '/dashboard/main.js', success: 200 },
  'GET /docs': { scopes: null, path: () => '/docs', success: 200 },
  'GET /docs/:file': { scopes: null, path: () => '/docs/start.js', success: 200 },
  'GET /metrics': { scopes: ['metrics'], path: () => '/metrics', success: 200 },
  // The servers here keep their state in memory, of which there is no backup.
  'GET /v1/backup': { scopes: ['admin'], path: () => '/v1/backup', success: 409 },
}

/** What a token with that one scope has. */
export function heldBy(scope: string): readonly string[] {
  if (scope === 'admin') return ALL_SCOPES
  return scope === 'leases:admin' ? ['leases:admin', 'leases'] : [scope]
}

/** Somebody who may not be let in, whatever he asks for. */
export interface Stranger {
  who: string
  holder: Holder
  code: 'access_token_required' | 'access_token_invalid'
}

/** Somebody who is known. */
export interface Member {
  scope: string
  /** Of `own` and `default`, all of it or nothing: then he has another pool. */
  sees: boolean
  holder: Holder
}

/** What does not go as the table says, a line each. */
export async function faultsOf(
  server: TestServer,
  name: string,
  strangers: readonly Stranger[],
  members: readonly Member[],
): Promise<string[]> {
  const row = TABLE[name]!
  const [method, pattern] = name.split(' ') as [string, string]
  const isAboutPool = row.classic === true || pattern.includes(':pool')
  const faults: string[] = []
  const check = async (
    who: string,
    holder: Holder,
    body: Body,
    expected: string,
  ): Promise<void> => {
    const things = await prepare(server, row.classic === true ? 'default' : 'own')
    const asking = row.gateway === true ? askAbout(things, holder) : askingOf(row, body)
    const said = summary(await holder.ask(method, row.path(things), asking))
    if (said !== expected) faults.push(`${name} by ${who}, ${body} body: ${said}, not ${expected}`)
  }
  for (const body of row.body === undefined
    ? (['right'] as const)
    : (['right', 'wrong'] as const)) {
    const success = body === 'right' ? String(row.success) : '400 invalid_request'
    const right = row.success === 409 ? '409 not_durable' : success
    for (const { who, holder, code } of strangers) {
      const refused = row.gateway === true ? '403 gateway_not_trusted' : challenge(code)
      await check(who, holder, body, row.scopes === null ? right : refused)
    }
    for (const { scope, sees, holder } of members) {
      const has = row.scopes === null || row.scopes.some((wanted) => heldBy(scope).includes(wanted))
      const hidden = row.classic === true && name !== 'POST /keys' ? '404' : '404 pool_not_found'
      const unseen =
        row.gateway === true ? `401 key_not_good ${REALM}` : isAboutPool ? hidden : right
      const who = `${scope} ${sees ? 'with' : 'without'} the pool`
      const lacking = row.gateway === true ? '403 gateway_not_trusted' : '403 missing_scope'
      await check(who, holder, body, has ? (sees ? right : unseen) : lacking)
    }
  }
  return faults
}

type Body = 'right' | 'wrong'

function askAbout({ leased }: Things, { headers }: Holder): Asking {
  const secret = /^Bearer (.*)$/.exec(String(headers.authorization))?.[1] ?? ''
  // Authorization is for the key there, and who asks must not be known by it.
  return { headers: { authorization: `Bearer ${leased}`, 'x-access-token': secret } }
}

function askingOf({ body, form }: Row, kind: Body): Asking {
  if (body === undefined) return {}
  if (form === true) {
    const fields = kind === 'right' ? new URLSearchParams(Object.entries(body)) : 'token='
    return {
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: String(fields),
    }
  }
  return json(kind === 'right' ? body : '{"count": "wrong')
}

const REALM = 'Bearer realm="token-orchestrator"'

function challenge(code: Stranger['code']): string {
  return `401 ${code} ${code === 'access_token_invalid' ? `${REALM}, error="invalid_token"` : REALM}`
}

/** Status, code and challenge: what access is about. */
function summary({ status, headers, body }: Answer): string {
  const code = (body as { code?: string } | undefined)?.code
  return [status, code, headers['www-authenticate']].filter((part) => part !== undefined).join(' ')
}

/** A pool with a leased and a free key, and a token to delete, as nobody has used them before. */
async function prepare(server: TestServer, pool: string): Promise<Things> {
  const { orchestrator, access } = server
  await orchestrator.putPool(pool, DEFAULT_POLICY)
  const [created] = await orchestrator.run(pool, [{ op: 'create', count: 2 }])
  assert(!isRefusal(created))
  const [leased, free] = created.keyIds as [string, string]
  const acquired = await orchestrator.acquire(pool, { op: 'acquire', count: 1, keyId: leased })
  assert(!isRefusal(acquired))
  const terms = { name: 'x', scopes: ['read'], pools: '*', lifetimeMs: 60_000 } as const
  const made = await access.create(terms)
  assert(!('code' in made))
  return { pool, leased, free, lease: acquired.leases[0]!.leaseId, token: made.token.id }
}
