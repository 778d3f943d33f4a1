/** Pools of which it is to be heard that another server has freed a key. */
import type { Links } from './links.ts'
import { type Layout, tagsOf } from './layout.ts'
import type { Registry } from './registry.ts'

interface Watch {
  watchers: number
  /** Of its shards; none: they are not known yet, or there is no such pool. */
  channels: readonly string[]
}

export class Watches {
  readonly #links: Links
  readonly #layout: Layout
  readonly #registry: Registry
  readonly #heard: (pool: string) => void
  readonly #byPool = new Map<string, Watch>()
  readonly #byChannel = new Map<string, string>()

  constructor(links: Links, layout: Layout, registry: Registry, heard: (pool: string) => void) {
    this.#links = links
    this.#layout = layout
    this.#registry = registry
    this.#heard = heard
    links.listen((channel) => {
      if (channel === null) {
        this.look()
        return
      }
      const pool = this.#byChannel.get(channel)
      if (pool !== undefined) heard(pool)
    })
  }

  add(pool: string): () => void {
    const watch = this.#byPool.get(pool) ?? { watchers: 0, channels: [] }
    this.#byPool.set(pool, watch)
    if (watch.watchers++ === 0) void this.#follow(pool, watch)
    return () => {
      if (--watch.watchers > 0 || this.#byPool.get(pool) !== watch) return
      this.#byPool.delete(pool)
      this.#leave(watch)
    }
  }

  /** Messages may have been missed, or pools made anew: who waits looks for himself. */
  look(): void {
    for (const [pool, watch] of this.#byPool) {
      void this.#follow(pool, watch)
      this.#heard(pool)
    }
  }

  /** To the channels of the pool that has that name now. What was freed before it is heard is asked for. */
  async #follow(pool: string, watch: Watch): Promise<void> {
    try {
      const entry = await this.#registry.find(pool)
      const tags = entry === null ? [] : tagsOf(entry.uid, entry.policy.shards)
      const channels = tags.map((tag) => this.#layout.channel(tag))
      if (channels.join() === watch.channels.join() || this.#byPool.get(pool) !== watch) return
      this.#leave(watch)
      watch.channels = channels
      for (const channel of channels) this.#byChannel.set(channel, pool)
      await Promise.all(channels.map((channel) => this.#links.subscribe(channel)))
      if (channels.length > 0) this.#heard(pool)
    } catch {
      this.#leave(watch) // the next look tries again
    }
  }

  #leave(watch: Watch): void {
    const { channels } = watch
    watch.channels = []
    for (const channel of channels) {
      this.#byChannel.delete(channel)
      this.#links.unsubscribe(channel).catch(() => undefined)
    }
  }
}
