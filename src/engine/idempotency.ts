import { REFUSED, type Refusal } from './errors.ts'
import type { Answers, Result } from './operations.ts'
import { NEVER } from './rows.ts'

/** How long a success is remembered, in ms. */
export const REMEMBERED_MS = 600_000
const MAX_RECORDS = 1_000_000
/** Forgetting is only tidying, so that many are forgotten at a time. */
const TIDY_AFTER_MS = 1000

/**
 * What is kept of a result: what it names, never what it said, for a lease has other deadlines by the time
 * somebody asks again.
 */
export type Reference =
  | Answers['create']
  | Answers['import']
  | { leaseIds: string[] }
  | { leaseId: string }
  | { result: Result }

interface Memory {
  /** Tells one body from another. */
  body: string
  until: number
  references: Reference[]
}

/** A memory as it is kept on disk. */
export interface SavedMemory extends Memory {
  key: string
}

/**
 * The requests that were done already, so that who repeats one gets its result instead of another.
 * Everything is remembered for the same time, so that the oldest come first.
 */
export class Idempotency {
  readonly #memories = new Map<string, Memory>()
  /** Told of what is to be saved; null: it is gone. */
  readonly #save: (key: string, memory: Memory | null) => void
  /** Told of a deadline that has been acted on. */
  readonly #lapsed: (deadline: number) => void

  constructor(
    save: (key: string, memory: Memory | null) => void,
    lapsed: (deadline: number) => void,
  ) {
    this.#save = save
    this.#lapsed = lapsed
  }

  /** When there is something to forget; NEVER if there is not. */
  get nextDue(): number {
    const oldest = this.#memories.values().next().value
    return oldest === undefined ? NEVER : oldest.until + TIDY_AFTER_MS
  }

  get size(): number {
    return this.#memories.size
  }

  /** What the request came to that this one repeats; null: it is a new one. */
  recall(key: string, body: string, now: number): readonly Reference[] | Refusal | null {
    const memory = this.#memories.get(key)
    if (memory === undefined || memory.until <= now) {
      if (memory !== undefined) this.#lapsed(memory.until)
      return this.#memories.size < MAX_RECORDS ? null : REFUSED.idempotency_full
    }
    return memory.body === body ? memory.references : REFUSED.idempotency_mismatch
  }

  remember(key: string, body: string, results: readonly Result[], now: number): void {
    const memory = { body, until: now + REMEMBERED_MS, references: results.map(referenceTo) }
    this.#memories.delete(key) // what is set again keeps its place in a map
    this.#memories.set(key, memory)
    this.#save(key, memory)
  }

  /** From before a restart, in any order; `restored` follows. */
  restore({ key, ...memory }: SavedMemory): void {
    this.#memories.set(key, memory)
  }

  restored(): void {
    const sorted = [...this.#memories].sort(([, a], [, b]) => a.until - b.until)
    this.#memories.clear()
    for (const [key, memory] of sorted) this.#memories.set(key, memory)
  }

  /** Forgets up to `limit` of what is over. Returns how many it was. */
  settle(now: number, limit: number): number {
    let done = 0
    for (const [key, { until }] of this.#memories) {
      if (done === limit || until > now) break
      this.#memories.delete(key)
      this.#save(key, null)
      done++
    }
    return done
  }
}

export function referenceTo(result: Result): Reference {
  if ('keyIds' in result) return result
  if ('leases' in result) return { leaseIds: result.leases.map(({ leaseId }) => leaseId) }
  if ('lease' in result) return { leaseId: result.lease.leaseId }
  return { result }
}
