/** Where what is kept in Redis: the names of its keys. */
import slotOf from 'cluster-key-slot'

const SLOTS = 16_384
/** Of a key id so many bits, its first 3 digits, say its shard. */
const ROUTING_BITS = 12

/** Changes when an older program could not read what is written. */
export const FORMAT = 1
/** Of data that has, or has had, a history: an older program would go on without telling it. */
export const HISTORY_FORMAT = 2

/** Of data with a pool of several shards, which an older program would take for a pool of one. */
export const SHARDS_FORMAT = 3

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
  /** Where servers tell each other what they do. */
  readonly changes: string

  constructor(prefix: string) {
    this.#prefix = prefix
    this.pools = `${prefix}:{all}:pools`
    this.names = `${prefix}:{all}:names`
    this.meta = `${prefix}:{all}:meta`
    this.documents = `${prefix}:{all}:documents`
    this.changes = `${prefix}:{all}:changes`
  }

  /** All keys of a pool's shard, by its tag; they are in one slot. */
  shard(tag: string): string[] {
    return SHARD_PARTS.map((part) => this.part(tag, part))
  }

  /** Where it is said that the shard may have a key to give. */
  channel(tag: string): string {
    return this.part(tag, 'available')
  }

  part(tag: string, part: (typeof SHARD_PARTS)[number]): string {
    return `${this.#prefix}:{${tag}}:${part}`
  }
}

/** What tells the shards of a pool apart: each lies in another part of the slots, so that they are on as many nodes as can be. */
export function tagsOf(uid: number, shards: number): string[] {
  const name = uid.toString(36)
  if (shards === 1) return [name]
  const tags: string[] = []
  for (let number = 0, found = 0; found < shards; number++) {
    const tag = `${name}.${number.toString(36)}`
    const shard = shardOfText(tag, shards)
    if (tags[shard] !== undefined) continue
    tags[shard] = tag
    found++
  }
  return tags
}

/** The shard of a key, in whatever pool its id came to be; 0 of what cannot be an id. */
export function shardOfKey(keyId: string, shards: number): number {
  const digits = /^[\da-f]{3}/i.exec(keyId)?.[0] ?? '0'
  return (parseInt(digits, 16) * shards) >> ROUTING_BITS
}

/** Makes the id of a key of that shard, given as the first 32 bits of a random one. */
export function routed(word: number, shard: number, shards: number): number {
  const rest = 32 - ROUTING_BITS
  const least = Math.ceil((shard << ROUTING_BITS) / shards)
  const next = Math.ceil(((shard + 1) << ROUTING_BITS) / shards)
  const bits = least + (((word >>> rest) * (next - least)) >> ROUTING_BITS)
  return ((bits << rest) | (word & (2 ** rest - 1))) >>> 0
}

/** The shard of what has no id: evenly, and always the same. */
export function shardOfText(text: string, shards: number): number {
  return Math.floor((slotOf(text) * shards) / SLOTS)
}

/** Names for the keys of a shard in Lua, for the head of a script. */
export function luaNames(): string {
  const names = SHARD_PARTS.map((part) => `K_${part.replaceAll('-', '_').toUpperCase()}`)
  return `local ${names.join(', ')} = unpack(KEYS)\n`
}
