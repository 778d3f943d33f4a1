/** Pools of which it is to be heard that another server has freed a key. */
import type { Links } from './links.ts'
import type { Layout } from './layout.ts'
import type { Registry } from './registry.ts'

interface Watch {
  watchers: number
  /** Null: not known yet, or there is no such pool. */
  channel: string | null
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
    const watch = this.#byPool.get(pool) ?? { watchers: 0, channel: null }
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

  /** To the channel of the pool that has that name now. What was freed before it is heard is asked for. */
  async #follow(pool: string, watch: Watch): Promise<void> {
    try {
      const entry = await this.#registry.find(pool)
      const channel = entry && this.#layout.channel(entry.uid)
      if (channel === watch.channel || this.#byPool.get(pool) !== watch) return
      this.#leave(watch)
      watch.channel = channel
      if (channel === null) return
      this.#byChannel.set(channel, pool)
      await this.#links.subscribe(channel)
      this.#heard(pool)
    } catch {
      this.#leave(watch) // the next look tries again
    }
  }

  #leave(watch: Watch): void {
    const { channel } = watch
    if (channel === null) return
    watch.channel = null
    this.#byChannel.delete(channel)
    this.#links.unsubscribe(channel).catch(() => undefined)
  }
}
