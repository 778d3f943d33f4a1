import { setTimeout as sleep } from 'node:timers/promises'
import assert from 'node:assert/strict'
import { HERE, type Place } from './network.ts'
import { RedisServer } from './redis.ts'

const PATIENCE_MS = 30_000
/** After so long without a sign of life a node is held for gone. */
const NODE_TIMEOUT_MS = 2000
const PROMOTE_MS = 2000

const OPTIONS = {
  'cluster-enabled': 'yes',
  'cluster-config-file': 'nodes.conf',
  'cluster-node-timeout': NODE_TIMEOUT_MS,
  'repl-diskless-sync-delay': 0,
  'protected-mode': 'no',
}

/** Three primaries and a replica of each. */
export class RedisCluster implements AsyncDisposable {
  readonly nodes: RedisServer[]

  private constructor(nodes: RedisServer[]) {
    this.nodes = nodes
  }

  static async start(place = HERE): Promise<RedisCluster> {
    await using stack = new AsyncDisposableStack() // what has started ends if the others do not
    const cluster = stack.use(new RedisCluster([]))
    const { nodes } = cluster
    for (let node = 0; node < 6; node++) nodes.push(await RedisServer.start(OPTIONS, place))
    const addresses = nodes.map(({ address }) => address)
    const how = ['--cluster-replicas', '1', '--cluster-yes']
    nodes[0]!.cli('--cluster', 'create', ...addresses, ...how)
    await cluster.settled()
    stack.move()
    return cluster
  }

  get urls(): string[] {
    return this.nodes.map(({ url }) => url)
  }

  /** The node that serves the key now. */
  primaryOf(key: string): RedisServer {
    const slot = Number(this.#answering()[0]!.cli('cluster', 'keyslot', key))
    const serving = this.#told().find(({ slots }) =>
      slots.some(([from, to]) => slot >= from && slot <= to),
    )
    return this.nodes.find(({ port }) => port === serving!.port)!
  }

  /** One of each shard of the pool that has keys. */
  poolKeys(): string[] {
    const keys = this.#answering().flatMap((node) => node.cli('keys', 'test:{*}:index').split('\n'))
    return [...new Set(keys)].filter((key) => key !== '').sort()
  }

  /** Who follows it. */
  replicaOf(primary: RedisServer): RedisServer {
    return this.replicasOf(primary)[0]!
  }

  replicasOf(primary: RedisServer): RedisServer[] {
    const lines = primary.cli('cluster', 'replicas', primary.cli('cluster', 'myid')).split('\n')
    return this.nodes.filter(({ address }) => lines.some((line) => line.includes(`${address}@`)))
  }

  /**
   * Moves the slot of a key to another primary, as a resharding does: key by key. Calls back when some of its keys
   * have moved, and when all have and the slot has not.
   */
  async move(key: string, between: (moved: 'some' | 'all') => Promise<void>): Promise<void> {
    const from = this.primaryOf(key)
    const to = this.nodes.find((node) => node !== from && isPrimary(node))!
    const [fromId, toId] = [from, to].map((node) => node.cli('cluster', 'myid')) as [string, string]
    const slot = from.cli('cluster', 'keyslot', key)
    const set = (node: RedisServer, ...how: string[]): string =>
      node.cli('cluster', 'setslot', slot, ...how)
    set(to, 'importing', fromId)
    set(from, 'migrating', toId)
    const keys = from.cli('cluster', 'getkeysinslot', slot, '100').split('\n')
    const [host, port] = to.address.split(':') as [string, string]
    for (const [place, name] of keys.entries()) {
      if (place === Math.ceil(keys.length / 2)) await between('some')
      assert.equal(from.cli('migrate', host, port, name, '0', '5000'), 'OK')
    }
    await between('all')
    set(to, 'node', toId)
    for (const node of this.nodes) if (isPrimary(node)) set(node, 'node', toId)
  }

  /** How often nodes have answered with that error so far. */
  errors(word: string): number {
    const counts = this.nodes.map((node) => {
      const count = new RegExp(`errorstat_${word}:count=(\\d+)`).exec(
        node.cli('info', 'errorstats'),
      )
      return Number(count?.[1] ?? 0)
    })
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /** One more node, elsewhere, which follows the primary, and takes its place. */
  async succeed(primary: RedisServer, place: Place): Promise<RedisServer> {
    const node = await RedisServer.start(OPTIONS, place)
    this.nodes.push(node)
    const how = ['--cluster-slave', '--cluster-master-id', primary.cli('cluster', 'myid')]
    primary.cli('--cluster', 'add-node', node.address, primary.address, ...how)
    await this.promote(node)
    return node
  }

  /** A replica takes the place of its primary, which follows it from then on. */
  async promote(replica: RedisServer): Promise<void> {
    await until('it follows nobody', () => isWell(replica))
    const isDone = (): boolean => {
      if (isPrimary(replica)) return true
      replica.cli('cluster', 'failover')
      return false
    }
    // One that others know too little of is not voted for, and has to ask again.
    await until('it takes nothing over', isDone, PROMOTE_MS)
    await this.settled()
  }

  /** The primary keeps one replica, and its others follow another primary. */
  async spare(primary: RedisServer): Promise<void> {
    const [, ...spares] = this.replicasOf(primary)
    const other = this.nodes.find((node) => node !== primary && isPrimary(node))!
    for (const node of spares) node.cli('cluster', 'replicate', other.cli('cluster', 'myid'))
    await until('the spare follows the primary still', () => this.replicasOf(primary).length === 1)
    await this.settled()
  }

  /** Another node in place of one that was killed, with what that had on disk, which then follows its successor. */
  async replace(killed: RedisServer): Promise<void> {
    await this.succeeded(killed)
    this.nodes[this.nodes.indexOf(killed)] = await killed.again()
    await this.settled()
  }

  /** Waits until another has taken the place of a primary that does not answer. */
  async succeeded(primary: RedisServer): Promise<void> {
    const isOver = (): boolean =>
      this.#told().find(({ port }) => port === primary.port)!.slots.length === 0
    await until('nobody takes over', isOver)
  }

  /** All nodes say that all is well, and each primary has its replica. */
  async settled(): Promise<void> {
    await until('the cluster never comes to rest', () =>
      this.#answering().every((node) => isWell(node)),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]()
  }

  /** The nodes and their slots, as one that is there knows them. */
  #told(): { port: number; slots: [number, number][] }[] {
    const lines = this.#answering()[0]!.cli('cluster', 'nodes').split('\n')
    return lines.map((line) => {
      const [, address, , , , , , , ...ranges] = line.split(' ')
      const slots = ranges.map((range) => {
        const [from, to = from] = range.split('-').map(Number)
        return [from!, to!] satisfies [number, number]
      })
      return { port: Number(/:(\d+)@/.exec(address!)![1]), slots }
    })
  }

  #answering(): RedisServer[] {
    return this.nodes.filter((node) => node.answers)
  }
}

async function until(otherwise: string, isSo: () => boolean, everyMs = 50): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!isSo()) {
    assert(performance.now() < end, otherwise)
    await sleep(everyMs)
  }
}

function isPrimary(node: RedisServer): boolean {
  return node.cli('role').startsWith('master')
}

function isWell(node: RedisServer): boolean {
  if (!node.cli('cluster', 'info').includes('cluster_state:ok')) return false
  const replication = node.cli('info', 'replication')
  if (!replication.includes('role:master')) return replication.includes('master_link_status:up')
  // A replica may be connected before the nodes have told each other whose it is.
  const known = node.cli('cluster', 'replicas', node.cli('cluster', 'myid'))
  return known !== '' && /connected_slaves:[1-9]/.test(replication)
}
