/** Commands and scripts, brought to the node that serves them, and what can become of them there. */
import { setTimeout as delay } from 'node:timers/promises'
import slotOf from 'cluster-key-slot'
import type { Redis } from 'ioredis'
import { StoreFailure } from '../store.ts'
import { COMMAND_MS, isLate, type Links } from './links.ts'
import type { Script } from './scripts.ts'

/** For so long a call that was not done is tried again, as a rule. */
const PATIENCE_MS = 3000
const RETRY_MS = 50

/** What a node says that has not done it and may, or another, in a moment. */
const NOT_NOW = [
  ...['MOVED', 'ASK', 'TRYAGAIN', 'CLUSTERDOWN', 'MASTERDOWN', 'READONLY'],
  ...['LOADING', 'BUSY', 'NOREPLICAS', 'MISCONF'],
]
/** What a node says that does not do it. */
const NOT_EVER = ['NOAUTH', 'WRONGPASS', 'NOPERM']
const NOT_SENT = "Stream isn't writeable"

type Arguments = readonly (string | number)[]

export class Connection {
  readonly links: Links
  /** So many replicas must have a change before it is answered. */
  readonly #replicas: number

  constructor(links: Links, replicas: number) {
    this.links = links
    this.#replicas = replicas
  }

  /**
   * Evaluates a script on the node that has its keys, which are in one slot. One that only reads is tried again
   * where it is not known whether it was done.
   * @throws StoreFailure `store_unavailable`: it was not done; `storage_full`: nor was it; `storage_failed`: nobody
   *   knows.
   */
  evaluate(
    script: Script,
    keys: readonly string[],
    args: Arguments,
    { onlyReads = false, patienceMs = PATIENCE_MS } = {},
  ): Promise<unknown> {
    const rest = [keys.length, ...keys, ...args]
    return this.#call(keys[0]!, { onlyReads, patienceMs }, async (node, begin) => {
      const evaluate = (command: string, what: string): Promise<unknown> =>
        this.#whenReplicated(node, () => {
          begin()
          return node.call(command, what, ...rest)
        })
      try {
        return await evaluate('EVALSHA', script.sha)
      } catch (error) {
        if (wordOf(error) !== 'NOSCRIPT') throw error
        return await evaluate('EVAL', script.text)
      }
    })
  }

  /** A command that changes nothing. */
  read(key: string, command: string, ...args: Arguments): Promise<unknown> {
    return this.#call(key, { onlyReads: true }, (node, begin) => {
      begin()
      return node.call(command, key, ...args)
    })
  }

  /** A command that changes something. */
  write(key: string, command: string, ...args: Arguments): Promise<unknown> {
    return this.#call(key, {}, (node, begin) =>
      this.#whenReplicated(node, () => {
        begin()
        return node.call(command, key, ...args)
      }),
    )
  }

  /** Asks each primary; null stands for one that does not answer. */
  askAll(command: string, ...args: Arguments): Promise<unknown[]> {
    const asked = this.links.primaries.map((node) => node.call(command, ...args).catch(() => null))
    return Promise.all(asked)
  }

  /** Bytes that all of it takes, as far as it tells. */
  async memory(): Promise<number> {
    const told = await this.askAll('INFO', 'memory')
    const used = told.map((text) => Number(/used_memory:(\d+)/.exec(String(text))?.[1] ?? 0))
    return used.reduce((sum, bytes) => sum + bytes, 0)
  }

  async #call(
    key: string,
    { onlyReads = false, patienceMs = PATIENCE_MS }: { onlyReads?: boolean; patienceMs?: number },
    send: (node: Redis, begin: () => void) => Promise<unknown>,
  ): Promise<unknown> {
    const end = performance.now() + patienceMs
    let why: unknown = new Error('Redis cannot be reached')
    let asked: Redis | undefined
    for (;;) {
      const node = asked ?? (await this.links.ready(slotOf(key), end))
      if (node === null) throw new StoreFailure('store_unavailable', this.links.trouble ?? why)
      const asking = asked !== undefined
      asked = undefined
      try {
        return await send(node, () => {
          if (asking) node.call('ASKING').catch(() => undefined)
        })
      } catch (error) {
        if (error instanceof StoreFailure) throw error
        why = error
        if (isLate(error)) this.links.doubt(node)
        const word = wordOf(error)
        if (word === 'OOM') throw new StoreFailure('storage_full', error)
        if (NOT_EVER.includes(word)) throw new StoreFailure('store_unavailable', error)
        if (word === 'ASK') asked = this.links.at((error as Error).message.split(' ')[2]!)
        else if (!wasNotDone(error) && !onlyReads) throw new StoreFailure('storage_failed', error)
        else this.links.refresh()
      }
      if (performance.now() + RETRY_MS > end) throw new StoreFailure('store_unavailable', why)
      if (asked === undefined) await delay(RETRY_MS)
    }
  }

  /** The wait goes with the call, on one connection: it is for what that has written. */
  async #whenReplicated(node: Redis, send: () => Promise<unknown>): Promise<unknown> {
    if (this.#replicas === 0) return send()
    const sent = send()
    const waited = node
      .call('WAIT', this.#replicas, COMMAND_MS / 2)
      .catch((error: unknown) => error)
    const reply = await sent
    const replicas = await waited
    if (typeof replicas !== 'number') throw new StoreFailure('storage_failed', replicas)
    if (replicas >= this.#replicas) return reply
    const why = `${String(replicas)} replicas have it, not ${String(this.#replicas)}`
    throw new StoreFailure('storage_failed', new Error(why))
  }
}

/** Redis begins what it says with a word for what it is about. */
function wordOf(error: unknown): string {
  return error instanceof Error && error.name === 'ReplyError' ? error.message.split(' ')[0]! : ''
}

function wasNotDone(error: unknown): boolean {
  return (
    NOT_NOW.includes(wordOf(error)) ||
    (error instanceof Error && error.message.startsWith(NOT_SENT))
  )
}
