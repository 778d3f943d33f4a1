/** A pool of the v1 API, as a client sees it. */
import assert from 'node:assert/strict'
import { type ErrorCode, ERRORS } from '../../src/engine/errors.ts'
import type { Policy } from '../../src/engine/policy.ts'
import type { Key, NewKey } from '../../src/http/contract/keys.ts'
import type { Lease } from '../../src/http/contract/leases.ts'
import type { ShownPool } from '../../src/http/contract/pools.ts'
import { type Answer, type Asking, json, type TestServer } from './server.ts'

export type { Key, Lease }

/** What nobody was ever given: as long as a lease id, and later than any. */
export const NO_LEASE = 'z'.repeat(32)

export class PoolClient {
  readonly server: TestServer
  readonly path: string

  constructor(server: TestServer, name: string) {
    this.server = server
    this.path = `/v1/pools/${name}`
  }

  /** A new pool with that policy. */
  static async make(
    server: TestServer,
    policy: Partial<Policy> = {},
    name = 'pool',
  ): Promise<PoolClient> {
    const pool = new PoolClient(server, name)
    assertStatus(await pool.ask('PUT', '', policy), 201)
    return pool
  }

  ask(method: string, path: string, body?: object | string): Promise<Answer> {
    return this.server.ask(method, this.path + path, body === undefined ? {} : json(body))
  }

  send(method: string, path: string, asking: Asking): Promise<Answer> {
    return this.server.ask(method, this.path + path, asking)
  }

  async create(count = 1): Promise<string[]> {
    const { body } = assertStatus(await this.ask('POST', '/keys', { count }), 201)
    return (body as { keyIds: string[] }).keyIds
  }

  /** @returns their ids. */
  async importKeys(...keys: NewKey[]): Promise<string[]> {
    const { body } = assertStatus(await this.ask('POST', '/keys', { keys }), 201)
    return (body as { keyIds: string[] }).keyIds
  }

  async acquire(body?: object): Promise<Lease> {
    return assertStatus(await this.ask('POST', '/leases', body), 201).body as Lease
  }

  async lease(leaseId: string): Promise<Lease> {
    return assertStatus(await this.ask('GET', `/leases/${leaseId}`), 200).body as Lease
  }

  renew(leaseId: string, body?: object): Promise<Answer> {
    return this.ask('POST', `/leases/${leaseId}/renew`, body)
  }

  async release(leaseId: string, body?: object): Promise<unknown> {
    return assertStatus(await this.ask('POST', `/leases/${leaseId}/release`, body), 200).body
  }

  async key(keyId: string): Promise<Key> {
    return assertStatus(await this.ask('GET', `/keys/${keyId}`), 200).body as Key
  }

  async state(keyId: string): Promise<string> {
    return (await this.key(keyId)).state
  }

  async show(): Promise<ShownPool> {
    return assertStatus(await this.ask('GET', ''), 200).body as ShownPool
  }

  async batch(...operations: object[]): Promise<Result[]> {
    const { body } = assertStatus(await this.ask('POST', '/batch', { operations }), 200)
    return (body as { results: Result[] }).results
  }
}

/** One operation's of a batch. */
export interface Result extends Partial<Lease> {
  status: number
  code?: string
  detail?: string
  reason?: string
  released?: boolean
  leases?: Lease[]
}

export function assertStatus(answer: Answer, status: number): Answer {
  assert.equal(answer.status, status, answer.text)
  return answer
}

/** The answer is that problem, says in whatever words what is wrong or what to do, and else only what is given here. */
export function assertProblem(answer: Answer, code: ErrorCode, extra: object = {}): string {
  assertStatus(answer, ERRORS[code].status)
  assert.match(answer.headers['content-type']!, /^application\/problem\+json/)
  const { status, title } = ERRORS[code]
  const { detail, ...rest } = answer.body as { detail: string }
  assert.deepEqual(rest, { status, title, code, ...extra })
  assert.match(detail, /\S/)
  return detail
}
