/** What is asked of all pools, and so of all their shards. */
import type { FoundLease, PoolCounts } from '../../engine/operations.ts'
import { packKeyId } from '../../engine/packed-ids.ts'
import type { Random } from '../../engine/random.ts'
import type { StoreStats } from '../store.ts'
import type { Connection } from './connection.ts'
import { type Layout, tagsOf } from './layout.ts'
import type { Entry, Registry } from './registry.ts'
import { Run } from './run.ts'
import type { Shard } from './shard.ts'
import { foundFromWire } from './wire.ts'

const POOLS_AT_A_TIME = 16

interface AllPoolsSetting {
  registry: Registry
  connection: Connection
  layout: Layout
  random: Random
  /** As Shard.run, in that pool. */
  run: (entry: Entry, run: Run) => Promise<boolean>
  shardsOf: (entry: Entry) => readonly Shard[]
}

export class AllPools {
  readonly #setting: AllPoolsSetting

  constructor(setting: AllPoolsSetting) {
    this.#setting = setting
  }

  async find(digest: string, keyId: string): Promise<FoundLease[]> {
    const id = packKeyId(keyId)
    const operation = { op: 'find', digest, ...(id !== null && { id }) }
    const found = await this.#ofEach((entry) =>
      Promise.all(
        this.#setting.shardsOf(entry).map(async (shard) => {
          const result = await shard.ask(operation)
          return result === null ? [] : foundFromWire(result, entry.name)
        }),
      ),
    )
    return found.flat(2)
  }

  async holdsValues(): Promise<boolean> {
    const { connection, layout } = this.#setting
    const found = await this.#ofEach(({ uid, policy }) => {
      const digests = tagsOf(uid, policy.shards).map((tag) => layout.part(tag, 'digests'))
      return Promise.all(digests.map((key) => connection.read(key, 'EXISTS')))
    })
    return found.flat().includes(1)
  }

  /** Without pools that are gone by now. */
  async counts(): Promise<StoreStats['pools']> {
    const all = await this.#ofEach(async (entry) => {
      const counts = await this.countsOf(entry)
      return counts === null ? [] : [{ name: entry.name, counts }]
    })
    return all.flat()
  }

  /** Null: it is gone. */
  async countsOf(entry: Entry): Promise<PoolCounts | null> {
    const { random, run } = this.#setting
    const describe = new Run([{ op: 'describe' }], random)
    if (await run(entry, describe)) return null
    const [result] = describe.results
    return 'counts' in result! ? (result.counts as PoolCounts) : null
  }

  /** Oldest first. */
  async #ofEach<T>(ask: (entry: Entry) => Promise<T>): Promise<T[]> {
    const entries = await this.#setting.registry.all()
    const answers: T[] = []
    for (let at = 0; at < entries.length; at += POOLS_AT_A_TIME) {
      answers.push(...(await Promise.all(entries.slice(at, at + POOLS_AT_A_TIME).map(ask))))
    }
    return answers
  }
}
