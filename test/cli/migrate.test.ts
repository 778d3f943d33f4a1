/** Migrations between engines, as their users meet them: real processes, real directories, a real Redis. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { SystemClock } from '../../src/clock.ts'
import { EmbeddedOriginal } from '../../src/store/embedded/sqlite/original.ts'
import { compare, type Comparison } from '../../src/store/migration.ts'
import { type Command, listeningPort, runCli, startCli } from '../support/command.ts'
import { RedisServer } from '../support/redis.ts'
import {
  FOLDER,
  goesOn,
  heldAnew,
  type Holders,
  KEY_FILE,
  type Leased,
  migrate,
  migrated,
  PLAIN_KEYS,
  seed,
  Server,
  sorted,
} from './migrating.ts'

/** Row by row. */
async function compared(directory: string, other: string): Promise<Comparison> {
  const now = new SystemClock().now()
  const [original, copy] = [directory, other].map((one) => EmbeddedOriginal.open(one, now))
  try {
    const [documents, pools] = [await original!.documents(), await original!.pools()]
    return await compare(original!, copy!, { documents, pools }, () => undefined)
  } finally {
    await original!.close()
    await copy!.close()
  }
}

let redis: RedisServer
let holders: Holders
let told: object[]
const SOURCE = join(FOLDER, 'source')

before(async () => {
  redis = await RedisServer.start()
  await using server = await Server.start('--data-dir', SOURCE)
  holders = await seed(server)
  told = await server.tell()
  await server.stop()
})

after(async () => {
  await redis[Symbol.asyncDispose]()
  rmSync(FOLDER, { recursive: true })
})

function inRedis(prefix: string): string[] {
  return ['--redis', redis.url, '--redis-prefix', prefix]
}

suite('there and back', () => {
  test('from a directory to Redis and to a directory all is as it was', async () => {
    const back = join(FOLDER, 'back')
    const said = await migrated(SOURCE, redis.url, '--to-prefix', 'equal')
    assert.match(said, /^llm: 503 keys, 496 available, [34] leased, [23] cooling, 1 disabled$/m)
    await migrated(redis.url, back, '--from-prefix', 'equal')
    const { differences, pools } = await compared(SOURCE, back)
    assert.deepEqual(differences, [])
    assert.equal(pools.find(({ name }) => name === 'default')!.keys, PLAIN_KEYS)
  })

  test('a comparison finds what differs', async () => {
    const other = join(FOLDER, 'other')
    cpSync(SOURCE, other, { recursive: true })
    await using server = await Server.start('--data-dir', other)
    await server.done('DELETE', `/pools/default/keys/${holders.plain.keyId}`)
    await server.renew('llm', holders.named)
    await server.done('PUT', '/pools/empty', {})
    await server.done('PUT', '/pools/more', {})
    await server.done('POST', '/tokens', { name: 'one more', scopes: ['read'] })
    await server.stop()
    const { differences } = await compared(SOURCE, other)
    const all = differences.join('\n')
    assert.match(all, new RegExp(`default: key ${holders.plain.keyId.slice(0, 8)}… is missing`))
    assert.match(all, new RegExp(`llm: key ${holders.named.keyId.slice(0, 8)}… has another until`))
    assert.match(all, /pool empty has another policy/)
    assert.match(all, /pool more should not be there/)
    assert.match(all, /what is kept as .* is not the same/)
    assert.equal(differences.length, 5, all)
  })

  test('pools get other numbers of shards, and their holders notice nothing', async () => {
    const withShards = (all: object[], ...numbers: number[]): object[] => {
      const pools = numbers.values()
      return all.map((one) => {
        if (!('policy' in one)) return one
        return { ...one, policy: { ...(one.policy as object), shards: pools.next().value } }
      })
    }
    const parts = (prefix: string): number[] =>
      ['1', '2', '3'].map((uid) => {
        const keys = redis.cli('keys', `${prefix}:{${uid}*}:rows`).split('\n')
        return new Set(keys.filter((key) => key !== '')).size
      })
    await migrated(SOURCE, redis.url, '--to-prefix', 'four', '--shards', 'default=4,llm=3')
    assert.deepEqual(parts('four'), [4, 3, 0])
    let native: Leased
    let now = holders
    {
      await using server = await Server.start(...inRedis('four'))
      assert.deepEqual(await server.tell(), withShards(told, 4, 1, 3))
      await goesOn(server, now)
      native = await server.lease('llm', { holder: 'of Redis' })
      now = await heldAnew(server, now)
      await server.stop()
    }
    const moves = [
      ...['--from-prefix', 'four', '--to-prefix', 'eight'],
      '--shards',
      'default=1,llm=8',
    ]
    await migrated(redis.url, redis.url, ...moves)
    assert.deepEqual(parts('eight'), [1, 8, 0])
    {
      await using server = await Server.start(...inRedis('eight'))
      await goesOn(server, now)
      assert.equal((await server.renew('llm', native)).body.leaseId, native.leaseId)
      now = await heldAnew(server, now)
      await server.stop()
    }
    const directory = join(FOLDER, 'from shards')
    await migrated(redis.url, directory, '--from-prefix', 'eight')
    await using server = await Server.start('--data-dir', directory)
    await goesOn(server, now)
    assert.deepEqual((await server.release('llm', native)).body, { released: true })
    await server.stop()
  })

  test('holders go on with the ids that they have, wherever their leases go', async () => {
    await migrated(SOURCE, redis.url, '--to-prefix', 'there')
    let native: Leased
    let toldThere: object[]
    {
      await using server = await Server.start(...inRedis('there'))
      assert.deepEqual(await server.tell(), told)
      await goesOn(server, holders)
      native = await server.lease('llm', { holder: 'of Redis' })
      holders = await heldAnew(server, holders)
      toldThere = await server.tell()
      await server.stop()
    }
    const directory = join(FOLDER, 'here')
    await migrated(redis.url, directory, '--from-prefix', 'there')
    {
      await using server = await Server.start('--data-dir', directory)
      assert.deepEqual(sorted(await server.tell()), sorted(toldThere))
      await goesOn(server, holders)
      assert.equal((await server.renew('llm', native)).body.leaseId, native.leaseId)
      holders = await heldAnew(server, holders)
      await server.stop()
    }
    // Ids of Redis go through a directory into another one, and into another Redis.
    const another = join(FOLDER, 'another')
    await migrated(directory, another)
    await migrated(another, redis.url, '--to-prefix', 'elsewhere')
    await migrated(redis.url, redis.url, '--from-prefix', 'elsewhere', '--to-prefix', 'last')
    await using server = await Server.start(...inRedis('last'))
    await goesOn(server, holders)
    assert.equal((await server.renew('llm', native)).body.leaseId, native.leaseId)
    assert.deepEqual((await server.release('llm', native)).body, { released: true })
    assert.equal((await server.renew('llm', native)).status, 410)
    await server.stop()
  })
})

suite('what is broken off', () => {
  test('a Redis that is half filled serves nobody, and is filled anew', async () => {
    const copy = join(FOLDER, 'as it was')
    cpSync(SOURCE, copy, { recursive: true })
    await using command = startCli([
      ...['migrate', '--from', SOURCE, '--to', redis.url, '--to-prefix', 'half'],
      ...['--encryption-key-file', KEY_FILE],
    ])
    while (redis.cli('exists', 'half:{1}:rows') === '0') await sleep(1)
    command.kill('SIGKILL')
    assert.equal(await command.code, null)
    assert.equal(redis.cli('hget', 'half:{all}:meta', 'incoming'), '1')
    const serve = await runCli(['serve', '--port', '0', ...inRedis('half')])
    assert.equal(serve.code, 1)
    assert.match(serve.stderr, /a migration to this Redis .*broken off.*run it again/)
    const from = await migrate(redis.url, join(FOLDER, 'no'), '--from-prefix', 'half')
    assert.equal(from.code, 1)
    assert.match(from.stderr, /broken off/)
    assert.deepEqual((await compared(copy, SOURCE)).differences, [])
    await migrated(SOURCE, redis.url, '--to-prefix', 'half')
    // Nothing is left of the first run.
    assert.deepEqual(prefixesOf('half'), ['all', '4', '5', '6'].sort())
  })

  test('so it is with a directory', async () => {
    const target = join(FOLDER, 'half')
    await using command = startCli([
      ...['migrate', '--from', SOURCE, '--to', target, '--encryption-key-file', KEY_FILE],
    ])
    while (sizeOf(join(target, 'state.db-wal')) < 100_000) await sleep(1)
    command.kill('SIGKILL')
    assert.equal(await command.code, null)
    for (const args of [['serve', '--port', '0'], ['check']]) {
      const { code, stderr } = await runCli([...args, '--data-dir', target])
      assert.equal(code, 1)
      assert.match(stderr, /a migration to here was broken off: run it again, or delete the file/)
    }
    await migrated(SOURCE, target)
    assert.deepEqual((await compared(SOURCE, target)).differences, [])
  })

  test('a Redis that ran full is refused by servers', async () => {
    await using small = await RedisServer.start({ maxmemory: '3mb' })
    const { code, stderr } = await migrate(SOURCE, small.url)
    assert.equal(code, 1)
    assert.match(stderr, /full|OOM/)
    const { code: served, stderr: said } = await runCli([
      'serve',
      '--port',
      '0',
      '--redis',
      small.url,
    ])
    assert.equal(served, 1)
    assert.match(said, /broken off|OOM|full/)
  })
})

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

/** What the hash tags of all keys with that prefix are. */
function prefixesOf(prefix: string): string[] {
  const keys = redis.cli('keys', `${prefix}:*`).split('\n')
  return [...new Set(keys.map((key) => /\{(\w+)\}/.exec(key)![1]!))].sort()
}

suite('what is refused', () => {
  const REFUSED: [what: string, args: () => string[], code: number, said: RegExp][] = [
    ['no place to copy', () => ['--to', SOURCE], 2, /--from is missing/],
    ['no place to copy to', () => ['--from', SOURCE], 2, /--to is missing/],
    ['the same directory', () => ['--from', SOURCE, '--to', `${SOURCE}/.`], 2, /same place/],
    ['the same Redis', () => ['--from', redis.url, '--to', redis.url], 2, /same place/],
    [
      'a URL that is none',
      () => ['--from', SOURCE, '--to', 'http://:secret@host'],
      2,
      /--to: not a URL like redis:/,
    ],
    [
      'shards that are no number of them',
      () => ['--from', SOURCE, '--to', redis.url, '--shards', 'llm=65'],
      2,
      /--shards must be pools with 1 to 64, like llm=4,seats=1, not "llm=65"/,
    ],
    [
      'shards of a pool that is not there',
      () => [
        ...['--from', SOURCE, '--to', redis.url, '--shards', 'lmm=4'],
        ...['--encryption-key-file', KEY_FILE],
      ],
      2,
      /--shards: there is no pool "lmm" in what is copied/,
    ],
    [
      'a prefix of a directory',
      () => ['--from', SOURCE, '--to', redis.url, '--from-prefix', 'a'],
      2,
      /--from is a directory/,
    ],
    ['an unknown option', () => ['--form', SOURCE], 2, /"--form": did you mean "--from"/],
    [
      'a directory without data',
      () => ['--from', join(FOLDER, 'nothing'), '--to', redis.url],
      1,
      /there are no data in/,
    ],
    [
      'a Redis without data',
      () => ['--from', redis.url, '--from-prefix', 'nothing', '--to', join(FOLDER, 'new')],
      1,
      /there are no data in Redis/,
    ],
    [
      'a Redis that does not answer',
      () => ['--from', SOURCE, '--to', 'redis://127.0.0.1:1', '--encryption-key-file', KEY_FILE],
      1,
      /ECONNREFUSED/,
    ],
    [
      'values without their key',
      () => ['--from', SOURCE, '--to', redis.url, '--to-prefix', 'keyless'],
      1,
      /can be read with the encryption key \w+ only, none was given/,
    ],
  ]
  for (const [what, args, code, said] of REFUSED) {
    test(what, async () => {
      const ended = await runCli(['migrate', ...args()])
      assert.equal(ended.code, code, ended.stderr)
      assert.match(ended.stderr, said)
      assert.doesNotMatch(ended.stderr, /secret|^ +at /m)
      assert.equal(ended.stdout, '')
    })
  }

  test('values with another key', async () => {
    const other = join(FOLDER, 'other.key')
    writeFileSync(other, Buffer.alloc(32, 'other').toString('base64'), { mode: 0o600 })
    const args = ['--from', SOURCE, '--to', redis.url, '--to-prefix', 'keyless']
    const { code, stderr } = await runCli(['migrate', ...args, '--encryption-key-file', other])
    assert.equal(code, 1)
    assert.match(stderr, /can be read with the encryption key \w+ only, not \w+/)
    assert.equal(redis.cli('exists', 'keyless:{all}:meta'), '0')
  })

  test('a place where there are data', async () => {
    const full = join(FOLDER, 'full')
    await migrated(SOURCE, full)
    await migrated(SOURCE, redis.url, '--to-prefix', 'full')
    for (const dry of [[], ['--dry-run']]) {
      const directory = await migrate(SOURCE, full, ...dry)
      assert.equal(directory.code, 1)
      assert.match(directory.stderr, /there are data already: move them away/)
      const shared = await migrate(SOURCE, redis.url, '--to-prefix', 'full', ...dry)
      assert.equal(shared.code, 1)
      assert.match(shared.stderr, /there are data in the Redis that is copied to/)
    }
  })

  test('what a server is at work on', async () => {
    const directory = join(FOLDER, 'served')
    await migrated(SOURCE, directory)
    await migrated(SOURCE, redis.url, '--to-prefix', 'served')
    await using embedded = await Server.start('--data-dir', directory)
    await using shared = await Server.start(...inRedis('served'))
    const busy = /in use by process \d+/
    for (const [ended, said] of [
      [await migrate(directory, join(FOLDER, 'no')), busy],
      [await migrate(SOURCE, directory), busy],
      [
        await migrate(redis.url, join(FOLDER, 'no'), '--from-prefix', 'served'),
        /a server is at work on the Redis/,
      ],
    ] as const) {
      assert.equal(ended.code, 1)
      assert.match(ended.stderr, said)
    }
    await shared.stop()
    await embedded.stop()
    await migrated(redis.url, join(FOLDER, 'now'), '--from-prefix', 'served')
  })
})

test('a dry run reads everything and writes nothing', async () => {
  const { code, stdout } = await migrate(SOURCE, redis.url, '--to-prefix', 'dry', '--dry-run')
  assert.equal(code, 0)
  assert.match(stdout, /Nothing was written/)
  assert.equal(redis.cli('keys', 'dry:*'), '')
  const target = join(FOLDER, 'dry')
  assert.equal((await migrate(SOURCE, target, '--dry-run')).code, 0)
  assert(!existsSync(target))
})

test('without values no encryption key is needed, and the key ring stays behind', async () => {
  const directory = join(FOLDER, 'plain')
  const start = (...state: string[]): Command => startCli(['serve', '--port', '0', ...state])
  {
    await using server = start('--data-dir', directory)
    await listeningPort(server)
    server.kill('SIGTERM')
    assert.equal(await server.code, 0)
  }
  assert(readFileSync(join(directory, 'encryption.key'), 'utf8') !== '')
  const to = ['--to', redis.url, '--to-prefix', 'plain']
  assert.equal((await runCli(['migrate', '--from', directory, ...to])).code, 0)
  assert.equal(redis.cli('hexists', 'plain:{all}:documents', 'keyring'), '0')
  await using server = start(...inRedis('plain'))
  await listeningPort(server)
})
