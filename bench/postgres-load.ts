/** The load on PostgreSQL: a row a key, drawn with FOR UPDATE SKIP LOCKED, each statement its own transaction. */
import { randomUUID } from 'node:crypto'
import postgres, { type ReservedSql } from 'postgres'
import { answerParent } from './child.ts'
import { cycles, type Holder } from './cycles.ts'

/** All that a snapshot shows as free can be taken by the time that it comes to them, if the keys are few. */
const MOST_TRIES = 100

interface Lease {
  keyId: string
  leaseId: string
}

function open(port: number, connectionCount: number): postgres.Sql {
  const who = { host: '127.0.0.1', port, user: 'postgres', database: 'postgres' }
  return postgres({ ...who, max: connectionCount })
}

function tableOf(keys: number): string {
  return `keys_${keys}`
}

/** What counts its fencing tokens. */
function tokenOf(table: string): string {
  return `${table}_token`
}

/**
 * The key that has been free for longest: what the index has first. A random one would cost more. A subquery instead of
 * the CTE would be asked a second time where its row had just changed, and find another.
 */
function leaseBy(table: string): string {
  return `
    WITH free AS MATERIALIZED (
      SELECT id FROM ${table} WHERE leased_until <= now()
      ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE ${table} AS key
    SET lease_id = $1, leased_until = now() + interval '60 s', token = nextval('${tokenOf(table)}')
    FROM free WHERE key.id = free.id
    RETURNING key.id, key.token, key.leased_until`
}

function releaseBy(table: string): string {
  return `UPDATE ${table} SET lease_id = NULL, leased_until = now() WHERE id = $1 AND lease_id = $2`
}

function holder(sql: ReservedSql, table: string): Holder<Lease> {
  const [lease, release] = [leaseBy(table), releaseBy(table)]
  return {
    async lease() {
      const leaseId = randomUUID()
      for (let tries = 0; tries < MOST_TRIES; tries++) {
        const [row] = await sql.unsafe<{ id: string }[]>(lease, [leaseId], { prepare: true })
        if (row !== undefined) return { keyId: row.id, leaseId }
      }
      throw new Error('PostgreSQL has no key that is free')
    },
    async release({ keyId, leaseId }) {
      const { count } = await sql.unsafe(release, [keyId, leaseId], { prepare: true })
      if (count !== 1) throw new Error(`PostgreSQL had given ${keyId} to somebody else`)
    },
  }
}

const tasks = {
  /** A table of so many keys. */
  async fill(port: number, keys: number): Promise<void> {
    const sql = open(port, 1)
    const table = tableOf(keys)
    await sql.unsafe(`CREATE SEQUENCE ${tokenOf(table)}`)
    await sql.unsafe(`
      CREATE TABLE ${table} AS
      SELECT gen_random_uuid() AS id, NULL::uuid AS lease_id, now() AS leased_until, 0::bigint AS token
      FROM generate_series(1, ${keys})`)
    await sql.unsafe(`ALTER TABLE ${table} ADD PRIMARY KEY (id)`)
    await sql.unsafe(`CREATE INDEX ON ${table} (leased_until)`)
    await sql.unsafe(`VACUUM ANALYZE ${table}`)
    await sql.end()
  },

  /** Runs until `forMs` are over and everything is released, with one statement on its way in each connection. */
  async singles(port: number, connectionCount: number, forMs: number, keys: number) {
    const sql = open(port, connectionCount)
    const connections: ReservedSql[] = []
    while (connections.length < connectionCount) connections.push(await sql.reserve())
    const load = await cycles(
      connections.map((connection) => holder(connection, tableOf(keys))),
      forMs,
    )
    for (const connection of connections) connection.release()
    await sql.end()
    return load
  },

  /** Ends the run unless all keys are free. */
  async checkReleased(port: number, keys: number): Promise<void> {
    const sql = open(port, 1)
    const free = `SELECT count(*)::int AS free FROM ${tableOf(keys)} WHERE lease_id IS NULL`
    const [row] = await sql.unsafe<{ free: number }[]>(free)
    if (row!.free !== keys) throw new Error(`left behind: ${keys - row!.free} keys`)
    await sql.end()
  },
}

export type PostgresTasks = typeof tasks
answerParent(tasks)
