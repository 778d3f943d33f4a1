/** Which node of Redis is spoken to, and the connections to them. */
import { setTimeout as delay } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import type { Address, NodeOptions } from './address.ts'

/** A command that was sent and is not answered by then has an unknown outcome. */
export const COMMAND_MS = 3000
const CONNECT_MS = 1000
const LOOK_AGAIN_MS = 20
const MAX_RECONNECT_MS = 500
/** How often a cluster is asked which node has what. */
const REFRESH_MS = 1000

type Heard = (channel: string | null, message?: string) => void

/** A primary, or the primaries of a cluster. */
export interface Links {
  /** The node that serves the slot, once it can be spoken to; null: not until `end`, of the monotonic clock. */
  ready(slot: number, end: number): Promise<Redis | null>
  /** The node at that address, `host:port`, if it is of the cluster. */
  at(address: string): Redis | undefined
  /** Who serves what may have changed. */
  refresh(): void
  /** The node has not answered in time: where another may come in its place nothing more is sent to it until it answers. */
  doubt(node: Redis): void
  readonly primaries: readonly Redis[]
  /** Why nodes could last not be reached, if they could not. */
  readonly trouble: Error | null
  /** Calls back with each message and its channel; with null when messages may have been missed. */
  listen(heard: Heard): void
  subscribe(channel: string): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
  close(): void
}

const CONNECTION_NAME = 'token-orchestrator'

const OPTIONS: NodeOptions = {
  commandTimeout: COMMAND_MS,
  connectTimeout: CONNECT_MS,
  // What was sent to a node that has gone is not sent again: it may have been done.
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectionName: CONNECTION_NAME,
}

export function linksTo(address: Address): Links {
  return address.kind === 'single' ? new Primary(address.options) : new Primaries(address)
}

/** Of a call that was sent: nobody knows whether it was done. */
export function isLate(error: unknown): boolean {
  return error instanceof Error && error.message === 'Command timed out'
}

/** Errors come with the calls that they concern. */
function ignore(): void {
  return
}

class Primary implements Links {
  trouble: Error | null = null
  readonly #redis: Redis
  readonly #subscriber: Redis
  #isClosed = false

  constructor(options: NodeOptions) {
    const lasting: NodeOptions = {
      ...options,
      connectTimeout: CONNECT_MS,
      connectionName: CONNECTION_NAME,
      retryStrategy: reconnectAfter,
      sentinelRetryStrategy: reconnectAfter,
      sentinelReconnectStrategy: reconnectAfter,
      reconnectOnError: ({ message }) => message.startsWith('READONLY'),
    }
    this.#redis = new Redis({
      ...OPTIONS,
      ...lasting,
      enableOfflineQueue: false,
      // A node that stopped in its tracks is left, so that a Sentinel can name another.
      socketTimeout: COMMAND_MS + CONNECT_MS,
    }).on('error', (error) => {
      this.trouble = error
    })
    // Its queue keeps what is subscribed to while it is away.
    this.#subscriber = new Redis({ ...lasting, maxRetriesPerRequest: null }).on('error', ignore)
    for (const redis of [this.#redis, this.#subscriber]) this.#keep(redis)
  }

  /** ioredis gives a connection up for good if a Sentinel tells of a failover while it connects. */
  #keep(redis: Redis): void {
    redis.on('end', () => {
      setTimeout(() => {
        if (!this.#isClosed) redis.connect().catch(ignore)
      }, LOOK_AGAIN_MS)
    })
  }

  get primaries(): readonly Redis[] {
    return [this.#redis]
  }

  async ready(_slot: number, end: number): Promise<Redis | null> {
    while (this.#redis.status !== 'ready') {
      if (performance.now() >= end) return null
      await delay(LOOK_AGAIN_MS)
    }
    return this.#redis
  }

  at(): undefined {
    return undefined
  }

  refresh(): void {
    return
  }

  /** Its socket has a timeout. */
  doubt(): void {
    return
  }

  listen(heard: Heard): void {
    this.#subscriber.on('smessage', heard)
    this.#subscriber.on('ready', () => {
      heard(null)
    })
  }

  subscribe(channel: string): Promise<unknown> {
    return this.#subscriber.ssubscribe(channel)
  }

  unsubscribe(channel: string): Promise<unknown> {
    return this.#subscriber.sunsubscribe(channel)
  }

  close(): void {
    this.#isClosed = true
    this.#redis.disconnect()
    this.#subscriber.disconnect()
  }
}

class Primaries implements Links {
  trouble: Error | null = null
  readonly #cluster: Cluster
  readonly #doubted = new Set<Redis>()

  constructor({ nodes, options }: Extract<Address, { kind: 'cluster' }>) {
    this.#cluster = new Cluster(nodes, {
      redisOptions: { ...OPTIONS, ...options },
      clusterRetryStrategy: reconnectAfter,
      slotsRefreshInterval: REFRESH_MS,
      slotsRefreshTimeout: CONNECT_MS,
      shardedSubscribers: true,
    })
    for (const event of ['error', 'node error']) {
      this.#cluster.on(event, (error: Error) => {
        this.trouble = error
      })
    }
  }

  get primaries(): readonly Redis[] {
    return this.#cluster.nodes('master')
  }

  async ready(slot: number, end: number): Promise<Redis | null> {
    for (;;) {
      const address = this.#cluster.slots[slot]?.[0]
      const node = address === undefined ? undefined : this.at(address)
      if (node?.status === 'ready' && !this.#doubted.has(node)) return node
      if (node?.status === 'wait') void node.connect().catch(ignore)
      if (node === undefined) this.refresh()
      if (performance.now() >= end) return null
      await delay(LOOK_AGAIN_MS)
    }
  }

  at(address: string): Redis | undefined {
    return this.#cluster.nodes('all').find(({ options }) => address === addressOf(options))
  }

  refresh(): void {
    this.#cluster.refreshSlotsCache(ignore)
  }

  doubt(node: Redis): void {
    this.refresh()
    if (this.#doubted.has(node)) return
    this.#doubted.add(node)
    const trust = (): void => {
      this.#doubted.delete(node)
    }
    node.call('PING').then(trust, (error: unknown) => {
      trust() // one that is not connected is not ready either
      if (isLate(error)) this.doubt(node)
    })
  }

  listen(heard: Heard): void {
    this.#cluster.on('smessage', heard)
    for (const event of ['ready', '+node', '-node']) {
      this.#cluster.on(event, () => {
        heard(null)
      })
    }
  }

  subscribe(channel: string): Promise<unknown> {
    return this.#cluster.ssubscribe(channel)
  }

  unsubscribe(channel: string): Promise<unknown> {
    return this.#cluster.sunsubscribe(channel)
  }

  close(): void {
    this.#cluster.disconnect()
  }
}

function addressOf({ host, port }: NodeOptions): string {
  return `${host!}:${String(port)}`
}

function reconnectAfter(times: number): number {
  return Math.min(LOOK_AGAIN_MS * 2 ** Math.min(times, 8), MAX_RECONNECT_MS)
}
