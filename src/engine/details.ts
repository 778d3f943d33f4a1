import type { Save } from './unsaved.ts'

const CHUNK_SHIFT = 10
const CHUNK_SLOTS = 1 << CHUNK_SHIFT
const SHARDS = 256

/** A credential apart from the key's id. The engine knows neither it nor how to read it. */
export interface SealedValue {
  /** Encrypted. */
  readonly sealed: string
  /** The same for the same value, and of no use to who does not have the secret that it was made with. */
  readonly digest: string
}

/** What most keys do not have. */
export interface Detail {
  readonly value: SealedValue | null
  readonly name: string | null
  /** A JSON object, as text. */
  readonly metadata: string | null
}

export const NO_DETAIL: Detail = Object.freeze({ value: null, name: null, metadata: null })

/** What the detail of a slot is saved under. */
export function entryName(slot: number): string {
  return `key/${slot}`
}

/**
 * Values, names and metadata of the keys that have some, by slot, and the way back from a value. On the heap,
 * in many small parts, so that none stops the world when it grows.
 */
export class Details {
  readonly #chunks: ((Detail | undefined)[] | undefined)[] = []
  /** By the digest of a value the slots of all keys that have it, at most one in each pool. */
  readonly #byDigest = Array.from({ length: SHARDS }, () => new Map<string, number | number[]>())
  readonly #save: Save
  #values = 0

  constructor(save: Save) {
    this.#save = save
  }

  /** Keys that have a value. */
  get values(): number {
    return this.#values
  }

  get(slot: number): Detail {
    return this.#chunks[slot >>> CHUNK_SHIFT]?.[slot & (CHUNK_SLOTS - 1)] ?? NO_DETAIL
  }

  /**
   * The slots that have the value with that digest, over all pools: it takes time for each. In some there may not be a
   * key yet.
   */
  find(digest: string): readonly number[] {
    const found = this.#shard(digest).get(digest)
    if (found === undefined) return []
    return typeof found === 'number' ? [found] : found
  }

  set(slot: number, detail: Detail): void {
    const isNone = detail.value === null && detail.name === null && detail.metadata === null
    this.put(slot, isNone ? NO_DETAIL : detail)
    this.#save(entryName(slot), isNone ? null : JSON.stringify(detail))
  }

  /** What is saved already, or will be. */
  put(slot: number, detail: Detail): void {
    const before = this.get(slot).value?.digest
    const after = detail.value?.digest
    if (before !== after) {
      if (before !== undefined) this.#removeDigest(before, slot)
      if (after !== undefined) this.#addDigest(after, slot)
    }
    const chunk = (this.#chunks[slot >>> CHUNK_SHIFT] ??= [])
    chunk[slot & (CHUNK_SLOTS - 1)] = detail === NO_DETAIL ? undefined : detail
  }

  /** The key is gone. Returns whether there was anything to forget. */
  forget(slot: number): boolean {
    if (this.get(slot) === NO_DETAIL) return false
    this.put(slot, NO_DETAIL)
    return true
  }

  /** Of all keys that have some. */
  *slots(): Generator<number, undefined> {
    for (const [number, chunk] of this.#chunks.entries()) {
      for (const [place, detail] of chunk?.entries() ?? []) {
        if (detail !== undefined) yield (number << CHUNK_SHIFT) | place
      }
    }
  }

  #addDigest(digest: string, slot: number): void {
    const shard = this.#shard(digest)
    const found = shard.get(digest)
    this.#values++
    if (found === undefined) shard.set(digest, slot)
    else if (typeof found === 'number') shard.set(digest, [found, slot])
    else found.push(slot)
  }

  #removeDigest(digest: string, slot: number): void {
    const shard = this.#shard(digest)
    const rest = this.find(digest).filter((other) => other !== slot)
    this.#values--
    if (rest.length === 0) shard.delete(digest)
    else shard.set(digest, rest.length === 1 ? rest[0]! : rest)
  }

  #shard(digest: string): Map<string, number | number[]> {
    const [first, second] = [digest.charCodeAt(0), digest.charCodeAt(1)]
    return this.#byDigest[((first & 15) << 4) | (second & 15)]!
  }
}
