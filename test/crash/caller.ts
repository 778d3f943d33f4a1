/** What the ack log calls a request, said over HTTP. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Drawn, Shown } from '../support/server.ts'
import type { AckLog } from './ack-log.ts'
import { Connection, type HttpAnswer, isShed } from '../support/connection.ts'
import type { ShownKey } from './known.ts'
import type { Request, Told } from './requests.ts'

/** Before one who was refused in an overload asks again. */
const SHED_MS = 50
const KEYS = /^token_orchestrator_keys\{.*\} (\d+)$/gm

/** A caller with a connection of its own, all of whose answers are logged. */
export class Caller {
  readonly #log: AckLog
  readonly #connection: Connection

  constructor(log: AckLog, port: number) {
    this.#log = log
    this.#connection = new Connection(port)
  }

  /** False: the server is gone. `quiet` as in `AckLog.answer`. */
  async ask(request: Request, quiet = false): Promise<boolean> {
    const attempt = this.#log.send(request, Date.now())
    let answer = await send(this.#connection, request)
    while (isShed(answer)) {
      await sleep(SHED_MS)
      answer = await send(this.#connection, request)
    }
    if (answer === null) return false
    this.#log.answer(attempt, read(request, answer), Date.now(), quiet)
    return true
  }

  /** How many keys the server says it has. */
  async count(): Promise<number> {
    const answer = await this.#connection.ask('GET', '/metrics')
    assert.equal(answer?.status, 200)
    const counts = [...answer.text.matchAll(KEYS)].map(([, count]) => Number(count))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  close(): void {
    this.#connection.close()
  }
}

function send(connection: Connection, request: Request): Promise<HttpAnswer | null> {
  switch (request.op) {
    case 'create': {
      const { count } = request
      return connection.ask('POST', '/keys', ...(count === 1 ? [] : [{ count }]))
    }
    case 'draw':
      return connection.ask('GET', '/keys')
    case 'release': {
      const { keyId, leaseId } = request.lease
      return connection.ask('PUT', `/keys/${keyId}?leaseId=${leaseId!}`)
    }
    case 'keepAlive':
      return connection.ask('PUT', `/keepalive/${request.keyId}`)
    case 'remove':
      return connection.ask('DELETE', `/keys/${request.keyId}`)
    case 'show':
      return connection.ask('GET', `/keys/${request.keyId}`)
  }
}

function read({ op }: Request, { status, text }: HttpAnswer): Told {
  const expected = op === 'create' ? 201 : 200
  if (status === 404 && op !== 'create') return null
  assert.equal(status, expected, `${op}: ${text}`)
  const body = JSON.parse(text) as unknown
  if (op === 'create') {
    const { keyId, keyIds } = body as { keyId: string; keyIds?: string[] }
    return { keyIds: keyIds ?? [keyId] }
  }
  if (op === 'draw') {
    const { keyId, leaseId, fencingToken, blockedUntil } = body as Drawn
    return { lease: { keyId, leaseId, fencingToken, blockedUntil: Date.parse(blockedUntil) } }
  }
  return op === 'show' ? { key: shownKey(body as Shown) } : { done: true }
}

function shownKey(shown: Shown): ShownKey {
  const { createdAt, keepAliveAt, expiresAt, blockedAt, blockedUntil, isBlocked, state } = shown
  assert.deepEqual([blockedAt !== null, blockedUntil !== null], [isBlocked, isBlocked])
  return {
    createdAt: Date.parse(createdAt),
    keepAliveAt: Date.parse(keepAliveAt),
    expiresAt: Date.parse(expiresAt!),
    state,
    lease: isBlocked
      ? { grantedAt: Date.parse(blockedAt!), expiresAt: Date.parse(blockedUntil!) }
      : null,
  }
}
