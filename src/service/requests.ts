import { REFUSED, type Refusal } from '../engine/errors.ts'
import { isRefusal, type RememberOperation, type Result } from '../engine/operations.ts'
import type { RunPool } from './waiters.ts'

/** A request that its sender may repeat, since he might never hear of its result. */
export interface Repeatable {
  /** The same for all repeats, and for nothing else. */
  readonly key: string
  /** As text: there may be secrets in it. */
  readonly body: string
}

/** Sees to it that a repeated request is done once. What came of it the store remembers. */
export class Requests {
  readonly #run: RunPool
  readonly #digest: (text: string) => string
  readonly #underWay = new Set<string>()

  /** `digest` is of no use to who guesses at what is in a body. */
  constructor(run: RunPool, digest: (text: string) => string) {
    this.#run = run
    this.#digest = digest
  }

  /** Of a request that has one result. `work` does what it is given as the last thing in the same commit. */
  async once(
    pool: string,
    repeatable: Repeatable | null,
    work: (remember: RememberOperation | null) => Promise<Result>,
  ): Promise<Result> {
    if (repeatable === null) return work(null)
    const results = await this.all(pool, repeatable, 1, async (remember) => [await work(remember)])
    return Array.isArray(results) ? (results[0] as Result) : (results as Refusal)
  }

  /** Of a request that has `count` results. */
  async all(
    pool: string,
    repeatable: Repeatable | null,
    count: number,
    work: (remember: RememberOperation | null) => Promise<readonly Result[]>,
  ): Promise<readonly Result[] | Refusal> {
    if (repeatable === null) return work(null)
    const { key } = repeatable
    const body = this.#digest(`body ${repeatable.body}`)
    if (this.#underWay.has(key)) return REFUSED.request_in_progress
    this.#underWay.add(key)
    try {
      const [recalled] = await this.#run(pool, [{ op: 'recall', key, body }])
      if (isRefusal(recalled!)) return recalled
      if ('results' in recalled! && recalled.results !== null) return recalled.results
      return await work({ op: 'remember', key, body, count, once: true })
    } finally {
      this.#underWay.delete(key)
    }
  }
}
