import { setTimeout as sleep } from 'node:timers/promises'
import assert from 'node:assert/strict'
import { RedisServer } from './redis.ts'

const PATIENCE_MS = 30_000
/** After so long without a sign of life a node is held for gone. */
const NODE_TIMEOUT_MS = 2000

/** Three primaries and a replica of each. */
export class RedisCluster implements AsyncDisposable {
  readonly nodes: RedisServer[]

  private constructor(nodes: RedisServer[]) {
    this.nodes = nodes
  }

  static async start(options: Record<string, string | number> = {}): Promise<RedisCluster> {
    const all = {
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-node-timeout': NODE_TIMEOUT_MS,
      'repl-diskless-sync-delay': 0,
      ...options,
    }
    const nodes: RedisServer[] = []
    for (let node = 0; node < 6; node++) nodes.push(await RedisServer.start(all))
    const cluster = new RedisCluster(nodes)
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
    const how = ['--cluster-replicas', '1', '--cluster-yes']
    nodes[0]!.cli('--cluster', 'create', ...addresses, ...how)
    await cluster.settled()
    return cluster
  }

  get urls(): string[] {
    return this.nodes.map(({ url }) => url)
  }

  /** The node that serves the key now. */
  primaryOf(key: string): RedisServer {
    const slot = Number(this.#living()[0]!.cli('cluster', 'keyslot', key))
    const serving = this.#told().find(({ slots }) =>
      slots.some(([from, to]) => slot >= from && slot <= to),
    )
    return this.nodes.find(({ port }) => port === serving!.port)!
  }

  /** Who follows it. */
  replicaOf(primary: RedisServer): RedisServer {
    const id = primary.cli('cluster', 'myid')
    const [line] = primary.cli('cluster', 'replicas', id).split('\n')
    const port = Number(/:(\d+)@/.exec(line!)![1])
    return this.nodes.find((candidate) => candidate.port === port)!
  }

  /** Another node in place of one that was killed, with what that had on disk, which then follows its successor. */
  async replace(killed: RedisServer): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    while (this.#told().find(({ port }) => port === killed.port)!.slots.length > 0) {
      assert(performance.now() < end, 'nobody takes over')
      await sleep(50)
    }
    this.nodes[this.nodes.indexOf(killed)] = await killed.again()
    await this.settled()
  }

  /** All nodes say that all is well, and each primary has its replica. */
  async settled(): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    while (!this.#living().every((node) => isWell(node))) {
      assert(performance.now() < end, 'the cluster never comes to rest')
      await sleep(100)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]()
  }

  /** The nodes and their slots, as one that is there knows them. */
  #told(): { port: number; slots: [number, number][] }[] {
    const lines = this.#living()[0]!.cli('cluster', 'nodes').split('\n')
    return lines.map((line) => {
      const [, address, , , , , , , ...ranges] = line.split(' ')
      const slots = ranges.map((range) => {
        const [from, to = from] = range.split('-').map(Number)
        return [from!, to!] satisfies [number, number]
      })
      return { port: Number(/:(\d+)@/.exec(address!)![1]), slots }
    })
  }

  #living(): RedisServer[] {
    return this.nodes.filter((node) => node.isAlive)
  }
}

function isWell(node: RedisServer): boolean {
  if (!node.cli('cluster', 'info').includes('cluster_state:ok')) return false
  const replication = node.cli('info', 'replication')
  return replication.includes('role:master')
    ? /connected_slaves:[1-9]/.test(replication)
    : replication.includes('master_link_status:up')
}
