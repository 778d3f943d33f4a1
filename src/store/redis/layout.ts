/** Where what is kept in Redis: the names of its keys. */

/** Changes when an older program could not read what is written. */
export const FORMAT = 1
/** Of data that has, or has had, a history: an older program would go on without telling it. */
export const HISTORY_FORMAT = 2

/** All that a shard of a pool is kept in, in the order in which scripts are given it. */
const SHARD_PARTS = [
  /** Policy, its version, the last fencing token, and what there is of the history: lua/history.lua. */
  'meta',
  /** By key id what all keys have: lua/rules.lua. */
  'rows',
  /** All key ids, in order. */
  'index',
  // Each key is in one of these, by what it is and what time will do next: to a lease or a rest, or to the key.
  'available',
  'disabled',
  'leased',
  'leased-to-the-end',
  'cooling',
  'cooling-to-the-end',
  /** By fencing token, of leases that an embedded store gave: the key id, and the slot that their id names. */
  'moved',
  /** Leases of those who have given a name, oldest first. */
  'holders',
  /** By key id: value, name, metadata, why it is disabled. */
  'details',
  /** By digest of a value the key that has it. */
  'digests',
  /** By key id how the last lease of a key ended that is gone, and since when it is. */
  'ended',
  'ended-at',
  /** What requests came to that were done, and until when it is remembered. */
  'requests',
  'requests-at',
  /** By number what a key was like after a change, and by key id the number of its last one. */
  'history',
  'history-last',
] as const

/** The keys of one server's data, all of which begin with the prefix. */
export class Layout {
  readonly #prefix: string
  /** In one slot: what is about all pools. */
  readonly pools: string
  readonly names: string
  readonly meta: string
  readonly documents: string

  constructor(prefix: string) {
    this.#prefix = prefix
    this.pools = `${prefix}:{all}:pools`
    this.names = `${prefix}:{all}:names`
    this.meta = `${prefix}:{all}:meta`
    this.documents = `${prefix}:{all}:documents`
  }

  /** All keys of a pool's shard; they are in one slot. */
  shard(uid: number): string[] {
    return SHARD_PARTS.map((part) => this.part(uid, part))
  }

  /** Where it is said that the pool may have a key to give. */
  channel(uid: number): string {
    return this.part(uid, 'available')
  }

  part(uid: number, part: (typeof SHARD_PARTS)[number]): string {
    return `${this.#prefix}:{${uid.toString(36)}}:${part}`
  }
}

/** Names for the keys of a shard in Lua, for the head of a script. */
export function luaNames(): string {
  const names = SHARD_PARTS.map((part) => `K_${part.replaceAll('-', '_').toUpperCase()}`)
  return `local ${names.join(', ')} = unpack(KEYS)\n`
}
