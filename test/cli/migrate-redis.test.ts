/** Migrations to and from a Redis of several nodes, as their users meet them: a cluster, and what a Sentinel watches. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RedisCluster } from '../support/redis-cluster.ts'
import { RedisServer } from '../support/redis.ts'
import {
  FOLDER,
  goesOn,
  heldAnew,
  type Holders,
  migrate,
  migrated,
  seed,
  Server,
  sorted,
} from './migrating.ts'

const SOURCE = join(FOLDER, 'source')
let holders: Holders
let told: object[]

before(async () => {
  await using server = await Server.start('--data-dir', SOURCE)
  holders = await seed(server)
  told = await server.tell()
  await server.stop()
})

after(() => {
  rmSync(FOLDER, { recursive: true })
})

/** From the directory to there and to another directory: holders go on at each stop. */
async function thereAndBack(urls: string, name: string, ...options: string[]): Promise<void> {
  await migrated(SOURCE, urls, '--to-prefix', name, ...options)
  let current = holders
  let toldThere: object[]
  {
    await using server = await Server.start('--redis', urls, '--redis-prefix', name)
    assert.deepEqual(sorted(await server.tell()), sorted(told))
    await goesOn(server, current)
    current = await heldAnew(server, current)
    toldThere = await server.tell()
    await server.stop()
  }
  const directory = join(FOLDER, name)
  await migrated(urls, directory, '--from-prefix', name)
  await using server = await Server.start('--data-dir', directory)
  assert.deepEqual(sorted(await server.tell()), sorted(toldThere))
  await goesOn(server, current)
  await server.stop()
}

test('to a cluster of six and back', async () => {
  await using cluster = await RedisCluster.start()
  await thereAndBack(cluster.urls.join(), 'all', '--redis-replicas', '1')
  // Who names one node of it has named them all.
  await thereAndBack(cluster.urls[1]!, 'one')
  const primaries = ['all:{1}:rows', 'all:{2}:rows', 'all:{3}:rows', 'all:{all}:meta']
  const nodes = new Set(primaries.map((key) => cluster.primaryOf(key)))
  assert(nodes.size > 1, 'all of it lies on one node')
})

test('through a Sentinel and back, and again where it has named another primary meanwhile', async () => {
  await using primary = await RedisServer.start({ 'repl-diskless-sync-delay': 0 })
  await using replica = await RedisServer.start({ replicaof: `127.0.0.1 ${primary.port}` })
  await using sentinel = await RedisServer.sentinel(primary)
  await until(() => replica.cli('info', 'replication').includes('master_link_status:up'))
  const url = `redis+sentinel://127.0.0.1:${sentinel.port}/main`
  await thereAndBack(url, 'sentinel', '--redis-replicas', '1')
  await migrated(SOURCE, url, '--to-prefix', 'kept', '--redis-replicas', '1')
  await until(() => sentinel.cli('sentinel', 'replicas', 'main') !== '')
  await primary.kill()
  await until(() => replica.cli('info', 'replication').includes('role:master'))
  await migrated(url, join(FOLDER, 'kept'), '--from-prefix', 'kept')
  const wrong = await migrate(SOURCE, `redis+sentinel://127.0.0.1:${sentinel.port}/mian`)
  assert.equal(wrong.code, 1)
  assert.match(wrong.stderr, /No such master with that name/)
})

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (isSo()) return
    await sleep(50)
  }
  assert.fail('it never came to that')
}
