/** Slots of a cluster go over to other nodes while it serves: nothing is lost, and no answer is wrong. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Child } from '../../bench/child.ts'
import { RedisCluster } from '../support/redis-cluster.ts'
import { countTwice, longestSilenceMs, nowMs, until } from './lease-load.ts'
import type { SideTasks } from './side.ts'

const SIDE = new URL('side.ts', import.meta.url).href
const MOVES = 3

suite('a slot goes over to another node', { timeout: 120_000 }, () => {
  for (const shards of [1, 3]) {
    test(`with a pool of ${shards === 1 ? 'one shard' : 'three shards'} under load`, async (t) => {
      await using cluster = await RedisCluster.start()
      await using side = new Child<SideTasks>(SIDE)
      await side.ask('serve', cluster.urls, 1)
      await side.ask('fill', 40_000, shards)
      await side.ask('begin')
      const begun = nowMs()
      for (let move = 0; move < MOVES; move++) {
        const key = cluster.poolKeys()[move % shards]!
        const before = cluster.primaryOf(key)
        await cluster.move(key, async (moved) => {
          const word = moved === 'some' ? 'TRYAGAIN' : 'ASK'
          const met = cluster.errors(word)
          await until(() => cluster.errors(word) > met)
        })
        assert.notEqual(cluster.primaryOf(key), before)
        const movedAt = nowMs()
        await until(async () => (await side.ask('lastAt')) > movedAt)
      }
      const { granted, refused } = await side.ask('end')
      assert.equal(await side.ask('countLost', granted), 0)
      assert.equal(countTwice(granted), 0)
      assert.deepEqual(
        new Set(refused.keys()).difference(new Set(['store_unavailable'])),
        new Set(),
      )
      assert(granted.length > 100, `${granted.length} were granted`)
      const silence = Math.round(longestSilenceMs(granted, begun))
      const times = [...refused.values()].reduce((sum, count) => sum + count, 0)
      t.diagnostic(`${granted.length} leases, ${times} refused; nothing for ${silence} ms at most`)
    })
  }

  test('with the registry of pools', async () => {
    await using cluster = await RedisCluster.start()
    await using side = new Child<SideTasks>(SIDE)
    await side.ask('serve', cluster.urls, 1)
    await cluster.move('{all}', async (moved) => {
      const met = cluster.errors('ASK')
      assert.equal(await side.ask('showPool'), 200)
      if (moved === 'all') assert(cluster.errors('ASK') > met)
    })
    assert.equal(await side.ask('showPool'), 200)
  })
})
