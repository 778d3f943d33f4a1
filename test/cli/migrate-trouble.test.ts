/** What can come between while a Redis is filled: nothing half-done may pass for a whole, and it is said what to do. */
import assert from 'node:assert/strict'
import { cpSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseAddress } from '../../src/store/redis/address.ts'
import { Layout } from '../../src/store/redis/layout.ts'
import { connect } from '../../src/store/redis/open.ts'
import { BEGIN_SHARD } from '../../src/store/redis/scripts.ts'
import { type Command, runCli, startCli } from '../support/command.ts'
import { RedisServer } from '../support/redis.ts'
import { FOLDER, KEY_FILE, migrate, migrated, seed, Server, sorted } from './migrating.ts'

const SOURCE = join(FOLDER, 'source')
let redis: RedisServer
let told: object[]

before(async () => {
  redis = await RedisServer.start()
  await using server = await Server.start('--data-dir', SOURCE)
  await seed(server)
  told = await server.tell()
  await server.stop()
})

after(async () => {
  await redis[Symbol.asyncDispose]()
  rmSync(FOLDER, { recursive: true })
})

/** A migration that has put some keys there and not all. */
async function halfDone(target: RedisServer, prefix: string, from = SOURCE): Promise<Command> {
  const command = startCli([
    ...['migrate', '--from', from, '--to', target.url, '--to-prefix', prefix],
    ...['--encryption-key-file', KEY_FILE],
  ])
  while (keysIn(target, prefix) === 0) await sleep(1)
  command.kill('SIGSTOP')
  return command
}

/** In shards of any pool. */
function keysIn(target: RedisServer, prefix: string): number {
  const rows = target.cli('keys', `${prefix}:*:rows`)
  return rows === '' ? 0 : rows.split('\n').length
}

async function isRefused(target: RedisServer, prefix: string): Promise<void> {
  const place = ['--redis', target.url, '--redis-prefix', prefix]
  const { code, stderr } = await runCli(['serve', '--port', '0', ...place])
  assert.equal(code, 1)
  assert.match(stderr, /a migration to this Redis .*broken off.*run it again/)
}

async function isWhole(target: RedisServer, prefix: string): Promise<void> {
  const place = ['--redis', target.url, '--redis-prefix', prefix]
  await using server = await Server.start(...place)
  assert.deepEqual(sorted(await server.tell()), sorted(told))
  await server.stop()
}

suite('two migrations to one Redis', () => {
  test('the later one stays, and the earlier one says so', async () => {
    const other = join(FOLDER, 'other')
    cpSync(SOURCE, other, { recursive: true })
    await using earlier = await halfDone(redis, 'two', other)
    await migrated(SOURCE, redis.url, '--to-prefix', 'two')
    earlier.kill('SIGCONT')
    assert.equal(await earlier.code, 1)
    assert.match(earlier.stderr, /another migration to this Redis has begun meanwhile/)
    await isWhole(redis, 'two')
  })

  test('from a Redis, whose pools keep their numbers', async () => {
    await migrated(SOURCE, redis.url, '--to-prefix', 'from')
    const from = [redis.url, '--from-prefix', 'from'] as const
    const args = ['--to', redis.url, '--to-prefix', 'both', '--encryption-key-file', KEY_FILE]
    await using earlier = startCli(['migrate', '--from', ...from, ...args])
    while (keysIn(redis, 'both') === 0) await sleep(1)
    earlier.kill('SIGSTOP')
    const later = await migrate(redis.url, redis.url, ...from.slice(1), '--to-prefix', 'both')
    assert.equal(later.code, 0, later.stderr)
    earlier.kill('SIGCONT')
    assert.equal(await earlier.code, 1)
    await isWhole(redis, 'both')
  })

  test('the earlier one deletes nothing of the later one', async () => {
    await migrated(SOURCE, redis.url, '--to-prefix', 'kept')
    const connection = await connect(parseAddress([redis.url]), 0)
    const shard = new Layout('kept').shard('1')
    const cleared = (migration: string): Promise<unknown> =>
      connection.evaluate(BEGIN_SHARD, shard, [migration])
    try {
      assert.equal(await cleared('0'), 0)
      await isWhole(redis, 'kept')
      assert.equal(await cleared('2'), 1)
      assert.equal(redis.cli('keys', 'kept:{1}:*'), '')
    } finally {
      connection.links.close()
    }
  })
})

suite('a server meanwhile', () => {
  test('is refused where it is started', async () => {
    await using command = await halfDone(redis, 'started')
    await isRefused(redis, 'started')
    command.kill('SIGCONT')
    assert.equal(await command.code, 0, command.stderr)
    await isWhole(redis, 'started')
  })

  test('that is at work all the same is found, and the next migration is good', async () => {
    await using command = await halfDone(redis, 'worked')
    // As any server does every second.
    redis.cli('hset', 'worked:{all}:meta', 'served', '1')
    command.kill('SIGCONT')
    assert.equal(await command.code, 1)
    assert.match(command.stderr, /a server was at work on the Redis that is copied to/)
    await isRefused(redis, 'worked')
    await migrated(SOURCE, redis.url, '--to-prefix', 'worked')
    await isWhole(redis, 'worked')
  })

  test('whatever it writes is found', async () => {
    await using command = await halfDone(redis, 'written')
    const pool = redis.cli('keys', 'written:*:rows').split('\n')[0]!.replace(/rows$/, '')
    const id = redis.cli('zrange', `${pool}available`, '0', '0')
    redis.cli('hdel', `${pool}rows`, id)
    for (const part of ['index', 'available']) redis.cli('zrem', `${pool}${part}`, id)
    command.kill('SIGCONT')
    assert.equal(await command.code, 1)
    assert.match(
      command.stderr,
      /not what was copied, and not to be used:\n {2}pool default: key [\w-]+… is missing/,
    )
    await isRefused(redis, 'written')
  })
})

suite('a target', () => {
  test('that goes down half way, and what it had on disk', async () => {
    await using target = await RedisServer.start({ appendonly: 'yes', appendfsync: 'always' })
    await using command = await halfDone(target, 'down')
    await target.kill()
    command.kill('SIGCONT')
    assert.equal(await command.code, 1)
    assert.match(
      command.stderr,
      /Redis failed .*is not whole, and servers refuse it. Run the migration again/,
    )
    assert.doesNotMatch(command.stderr, /nothing was changed|^ +at /m)
    await using again = await target.again()
    await isRefused(again, 'down')
    await migrated(SOURCE, again.url, '--to-prefix', 'down')
    await isWhole(again, 'down')
  })

  test('that asks for a password', async () => {
    await using target = await RedisServer.start({ requirepass: 'of-this-redis' })
    const wrong = target.url.replace('://', '://:not-that@')
    for (const url of [target.url, wrong]) {
      const { code, stderr } = await migrate(SOURCE, url)
      assert.equal(code, 1)
      assert.match(stderr, /NOAUTH|WRONGPASS/)
      assert.doesNotMatch(stderr, /not-that|of-this-redis|^ +at /m)
    }
  })

  test('that is no Redis', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    try {
      const { port } = other.address() as AddressInfo
      const { code, stderr } = await migrate(SOURCE, `redis://127.0.0.1:${String(port)}`)
      assert.equal(code, 1)
      assert.match(stderr, /^token-orchestrator: .+\n$/)
    } finally {
      other.close()
      other.closeAllConnections()
    }
  })
})
