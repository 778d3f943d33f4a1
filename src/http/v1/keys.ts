import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { Refusal } from '../../engine/errors.ts'
import {
  type HistoryEntry as EngineEntry,
  isRefusal,
  type Key as EngineKey,
} from '../../engine/operations.ts'
import type { StateName } from '../../engine/rows.ts'
import type { Orchestrator } from '../../service/orchestrator.ts'
import { pageLimit } from '../contract/common.ts'
import type { NewValue } from '../../service/values.ts'
import {
  type CreateBody,
  type HistoryEntry,
  type Key,
  keys,
  MAX_VALUE_BYTES,
  type NewKey,
  type UpdateBody,
} from '../contract/keys.ts'
import { iso, isoOrNull } from '../instants.ts'
import { parseMetadata, writeMetadata } from '../metadata.ts'
import { malformed, sendRefusal } from '../problem.ts'
import { repeatableOf } from '../idempotency.ts'

/** Keys taken over from a request before others have their turn. */
const KEYS_A_TURN = 1000

interface PoolRequest {
  Params: { pool: string }
}
interface KeyRequest {
  Params: { pool: string; id: string }
}
interface PageQuery {
  limit?: string
  cursor?: string
  state?: StateName
}

export function keyRoutes(app: FastifyInstance, orchestrator: Orchestrator): void {
  app.route<PoolRequest & { Body: CreateBody }>({
    ...keys.createKeys,
    handler: async (request, reply) => {
      const { pool } = request.params
      const { count, prefix, keys, onDuplicate } = wellFormed(request.body)
      const repeatable = repeatableOf(request)
      const by = request.caller?.name
      const created = await (keys !== undefined
        ? orchestrator.importKeys(
            pool,
            await toNewValues(keys),
            onDuplicate ?? 'refuse',
            repeatable,
            by,
          )
        : prefix !== undefined
          ? orchestrator.generateKeys(pool, count!, prefix, repeatable, by)
          : orchestrator.create(pool, { op: 'create', count: count!, by }, repeatable))
      if (isRefusal(created)) return sendRefusal(reply, explained(created))
      return reply.code(201).send(onDuplicate === 'skip' ? created : { keyIds: created.keyIds })
    },
  })

  app.route<PoolRequest & { Querystring: PageQuery }>({
    ...keys.listKeys,
    handler: async (request, reply) => {
      const { cursor, state } = request.query
      const [listed] = await orchestrator.run(request.params.pool, [
        { op: 'list', limit: pageLimit(request.query), cursor, state },
      ])
      if (isRefusal(listed)) return sendRefusal(reply, listed)
      const page = listed.keys.map(describe)
      const { nextCursor } = listed
      return nextCursor === null ? { keys: page } : { keys: page, nextCursor }
    },
  })

  app.route<KeyRequest>({
    ...keys.showKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [shown] = await orchestrator.run(pool, [{ op: 'show', keyId: id }])
      return isRefusal(shown) ? sendRefusal(reply, shown) : describe(shown.key)
    },
  })

  app.route<KeyRequest & { Querystring: PageQuery }>({
    ...keys.showHistory,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const { cursor } = request.query
      const [page] = await orchestrator.run(pool, [
        { op: 'history', keyId: id, limit: pageLimit(request.query), cursor },
      ])
      if (isRefusal(page)) return sendRefusal(reply, page)
      const { entries, nextCursor, since } = page
      const told = { entries: entries.map(describeEntry), since: iso(since) }
      return nextCursor === null ? told : { ...told, nextCursor }
    },
  })

  app.route<KeyRequest & { Body: UpdateBody }>({
    ...keys.updateKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const { metadata, ...changes } = request.body
      const [updated] = await orchestrator.run(pool, [
        {
          op: 'update',
          keyId: id,
          by: request.caller?.name,
          ...changes,
          metadata: metadata && writeMetadata(metadata),
        },
      ])
      return isRefusal(updated) ? sendRefusal(reply, updated) : describe(updated.key)
    },
  })

  app.route<KeyRequest>({
    ...keys.deleteKey,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [removed] = await orchestrator.run(pool, [
        { op: 'remove', keyId: id, by: request.caller?.name },
      ])
      return isRefusal(removed) ? sendRefusal(reply, removed) : reply.code(204).send()
    },
  })

  app.route<KeyRequest>({
    ...keys.keepKeyAlive,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [kept] = await orchestrator.run(pool, [
        { op: 'keepAlive', keyId: id, by: request.caller?.name },
      ])
      if (isRefusal(kept)) return sendRefusal(reply, kept)
      return { keyId: kept.keyId, expiresAt: isoOrNull(kept.expiresAt) }
    },
  })

  app.route<KeyRequest>({
    ...keys.revokeLease,
    handler: async (request, reply) => {
      const { pool, id } = request.params
      const [revoked] = await orchestrator.run(pool, [
        { op: 'revoke', keyId: id, by: request.caller?.name },
      ])
      return isRefusal(revoked) ? sendRefusal(reply, revoked) : reply.code(204).send()
    },
  })
}

/** What no schema says of a body. @throws an error of status 400 */
function wellFormed(body: CreateBody): CreateBody {
  if ((body.count === undefined) === (body.keys === undefined)) {
    throw malformed('Give either count, for new keys, or keys, to import them.')
  }
  if (body.prefix !== undefined && body.count === undefined) {
    throw malformed('prefix goes with count: keys that are given have their values.')
  }
  if (body.onDuplicate !== undefined && body.keys === undefined) {
    throw malformed('onDuplicate goes with keys.')
  }
  return body
}

/** @throws an error of status 400 */
async function toNewValues(keys: readonly NewKey[]): Promise<NewValue[]> {
  const values: NewValue[] = []
  for (const [index, key] of keys.entries()) {
    if (index > 0 && index % KEYS_A_TURN === 0) await nextTurn()
    values.push(toNewValue(key, index))
  }
  return values
}

/** An imported key never dies by itself, unless it is said to. */
function toNewValue({ value, name, metadata, lifetimeMs }: NewKey, index: number): NewValue {
  if (Buffer.byteLength(value) > MAX_VALUE_BYTES) {
    throw malformed(`body/keys/${index}/value is longer than ${MAX_VALUE_BYTES} bytes.`)
  }
  // Half a character would be another one when it is read again.
  if (!value.isWellFormed()) throw malformed(`body/keys/${index}/value is no Unicode text.`)
  return {
    value,
    name: name ?? null,
    metadata: metadata === undefined ? null : writeMetadata(metadata),
    lifetimeMs: lifetimeMs ?? null,
  }
}

/** The place and the key that has the value; never the value. */
function explained(refusal: Refusal): Refusal {
  const { duplicate } = refusal
  if (duplicate === undefined) return refusal
  const has =
    'keyId' in duplicate ? `key ${duplicate.keyId} has` : `body/keys/${duplicate.firstIndex} gives`
  return {
    ...refusal,
    detail: `body/keys/${duplicate.index} has a value that ${has} already. "onDuplicate": "skip" passes it over.`,
  }
}

function describeEntry(entry: EngineEntry): HistoryEntry {
  return { ...entry, at: iso(entry.at), until: isoOrNull(entry.until) }
}

function describe({ lease, ...key }: EngineKey): Key {
  return {
    ...key,
    metadata: parseMetadata(key.metadata),
    createdAt: iso(key.createdAt),
    keepAliveAt: iso(key.keepAliveAt),
    expiresAt: isoOrNull(key.expiresAt),
    coolingUntil: isoOrNull(key.coolingUntil),
    lease: lease && {
      ...lease,
      grantedAt: iso(lease.grantedAt),
      expiresAt: iso(lease.expiresAt),
    },
  }
}
