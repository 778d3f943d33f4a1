/** Every route by everybody: what each is answered, and that none is forgotten. */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Route } from '../../src/http/contract/common.ts'
import { AccessToken } from '../../src/service/access.ts'
import {
  ALL_SCOPES,
  faultsOf,
  heldBy,
  type Member,
  type Stranger,
  TABLE,
} from '../support/access-matrix.ts'
import { ROOT } from '../support/command.ts'
import { TestServer } from '../support/server.ts'
import { Holder } from '../support/tokens.ts'

/** Scopes that go with all pools only. */
const SERVER_WIDE = ['admin', 'metrics']
/** Open to anybody, with a token or without. */
const OPEN = [
  'GET /dashboard',
  'GET /dashboard/:file',
  'GET /docs',
  'GET /docs/:file',
  'GET /healthz',
  'GET /openapi.json',
  'GET /readyz',
]

/** A server with tokens of all kinds. */
class House implements AsyncDisposable {
  readonly server: TestServer
  readonly strangers: readonly Stranger[]
  readonly members: readonly Member[]

  private constructor(server: TestServer, strangers: Stranger[], members: Member[]) {
    this.server = server
    this.strangers = strangers
    this.members = members
  }

  static async open(): Promise<House> {
    const server = await TestServer.start({ history: { keptMs: 60_000, records: 1000 } })
    try {
      return await House.#fill(server)
    } catch (error) {
      await server[Symbol.asyncDispose]()
      throw error
    }
  }

  static async #fill(server: TestServer): Promise<House> {
    const admin = await Holder.first(server)
    const all = { scopes: ALL_SCOPES, pools: '*' } as const
    const expired = await admin.holder({ ...all, lifetimeMs: 1 })
    const madeAt = server.orchestrator.now()
    const { id, token } = await admin.make(all)
    assert.equal((await admin.ask('DELETE', `/v1/tokens/${id}`)).status, 204)
    while (server.orchestrator.now() <= madeAt) await new Promise(setImmediate)
    const stranger = (who: string, authorization: string): Stranger => ({
      who,
      holder: new Holder(server, { authorization }),
      code: 'access_token_invalid',
    })
    const strangers: Stranger[] = [
      { who: 'nobody', holder: new Holder(server, {}), code: 'access_token_required' },
      { ...stranger('another scheme', 'Basic YWRtaW46YWRtaW4='), code: 'access_token_required' },
      stranger('an unknown token', `Bearer tok_${'A'.repeat(43)}`),
      stranger('no token at all', 'Bearer '),
      { who: 'an expired token', holder: expired, code: 'access_token_invalid' },
      stranger('a deleted token', `Bearer ${token}`),
    ]
    const members: Member[] = []
    for (const scope of ALL_SCOPES) {
      members.push({ scope, sees: true, holder: await admin.holder({ scopes: [scope] }) })
      if (SERVER_WIDE.includes(scope)) continue
      for (const [sees, pools] of [
        [true, ['own', 'default']],
        [false, ['elsewhere']],
        [false, []],
      ] as const) {
        members.push({ scope, sees, holder: await admin.holder({ scopes: [scope], pools }) })
      }
    }
    return new House(server, strangers, members)
  }

  faults(route: string): Promise<string[]> {
    return faultsOf(this.server, route, this.strangers, this.members)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]()
  }
}

/** All that the contract says of routes. */
async function contract(): Promise<Map<string, Route>> {
  const routes = new Map<string, Route>()
  for (const file of globSync('src/http/contract/*.ts', { cwd: ROOT })) {
    const exported = (await import(join(ROOT, file))) as Record<string, unknown>
    const values = Object.values(exported).flatMap((value): unknown[] => Object.values(value ?? {}))
    for (const candidate of values) {
      if (typeof candidate !== 'object' || candidate === null || !('url' in candidate)) continue
      const route = candidate as Route
      routes.set(`${route.method} ${route.url}`, route)
    }
  }
  return routes
}

/** The routes that a server has, but for those that only say which methods a path knows. */
async function registered(): Promise<string[]> {
  const names: string[] = []
  const look = (message: unknown): void => {
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.addHook('onRoute', ({ method, url }) => {
      if (typeof method === 'string') names.push(`${method} ${url}`)
    })
  }
  subscribe('fastify.initialization', look)
  try {
    await (await TestServer.start())[Symbol.asyncDispose]()
  } finally {
    unsubscribe('fastify.initialization', look)
  }
  return names
}

suite('every route', () => {
  test('is in the contract, and in the table of this test', async () => {
    const expected = Object.keys(TABLE).sort()
    assert.deepEqual((await registered()).sort(), expected)
    assert.deepEqual([...(await contract()).keys()].sort(), expected)
  })

  test('is open only if it is on the short list', async () => {
    const open = [...(await contract())].filter(([, { scopes }]) => scopes === null)
    assert.deepEqual(open.map(([name]) => name).sort(), OPEN)
  })

  test('answers everybody as the table says', async () => {
    await using house = await House.open()
    for (const route of Object.keys(TABLE)) assert.deepEqual(await house.faults(route), [])
  })
})

suite('the matrix notices', () => {
  /** Whether it does, with other scopes in the contract. */
  async function noticed(name: string, route: Route, mutant: Route['scopes']): Promise<boolean> {
    const { scopes } = route
    Object.assign(route, { scopes: mutant })
    try {
      await using house = await House.open().catch(() => null)
      if (house === null) return true // not even its tokens can be made
      return (await house.faults(name)).length > 0
    } finally {
      Object.assign(route, { scopes })
    }
  }

  test('one scope too many, on any route', async () => {
    for (const [name, route] of await contract()) {
      const { scopes } = route
      if (scopes === null) continue
      const hold = (scope: string): boolean => scopes.some((right) => heldBy(scope).includes(right))
      const wrong = ALL_SCOPES.find((scope) => !hold(scope))!
      assert.ok(await noticed(name, route, [...scopes, wrong]), name)
    }
  })

  test('one too few, and a route that is open', async () => {
    const name = 'PUT /keepalive/:id'
    const route = (await contract()).get(name)!
    for (const mutant of [['leases'], ['keys:write'], [], null] as const) {
      assert.ok(await noticed(name, route, mutant), String(mutant))
    }
    assert.ok(!(await noticed(name, route, route.scopes)))
  })

  const mutants: [name: string, mutate: (token: typeof AccessToken.prototype) => void][] = [
    ['a token that may do all', (token) => (token.may = () => true)],
    ['a token that may do nothing', (token) => (token.may = () => false)],
    ['a token that sees all pools', (token) => (token.sees = () => true)],
    ['a token that sees no pool', (token) => (token.sees = () => false)],
    ['a token that never ends', (token) => (token.isOver = () => false)],
  ]
  for (const [name, mutate] of mutants) {
    test(name, async () => {
      const { prototype } = AccessToken
      const before = Object.getOwnPropertyDescriptors(prototype)
      await using house = await House.open()
      mutate(prototype)
      try {
        assert.notDeepEqual(await house.faults('GET /v1/pools/:pool/keys/:id'), [])
        assert.notDeepEqual(await house.faults('GET /keys/:id'), [])
      } finally {
        Object.defineProperties(prototype, before)
      }
    })
  }
})
