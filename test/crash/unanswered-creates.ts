import { between, SLACK_MS, type Window } from './known.ts'

/** Creates that one crash has left without an answer, and the keys that they may have made. */
interface Batch extends Window {
  counts: number[]
  lifetimeMs: number
  /** How many keys they have made altogether; after the first count, this is mostly one number. */
  least: number
  most: number
  /** How many of those we have met since. */
  met: number
}

/**
 * A create without an answer has made all of its keys or none. Nobody knows their ids, but how many keys
 * there are tells which creates were done.
 */
export class UnansweredCreates {
  readonly #batches: Batch[] = []
  #open: Batch | null = null
  /** What was wrong once is not to be told again and again. */
  #drift = 0

  get isEmpty(): boolean {
    return this.#open === null
  }

  /** The outcome of a create that was sent at that instant is unknown by now. */
  add(count: number, lifetimeMs: number, sentAt: number, now: number): void {
    const { from, to } = between(sentAt, now)
    this.#open ??= { counts: [], lifetimeMs, from, to, least: 0, most: 0, met: 0 }
    this.#open.counts.push(count)
    this.#open.from = Math.min(this.#open.from, from)
    this.#open.to = to
  }

  /** A key that no answer has named has turned up. False: none of these creates can have made it. */
  meet(createdAt: number): boolean {
    const batches = this.#open === null ? this.#batches : [...this.#batches, this.#open]
    const batch = batches.find(({ from, to }) => from <= createdAt && createdAt <= to)
    if (batch === undefined) return false
    batch.met++
    return batch === this.#open || batch.met <= batch.most
  }

  /**
   * There are `counted` keys, and between `least` and `most` of them are known, by now. Returns whether
   * that can be explained by creates that were done as a whole or not at all.
   */
  explain(counted: number, least: number, most: number, now: number): boolean {
    let low = counted - most - this.#drift
    let high = counted - least - this.#drift
    for (const batch of this.#batches) {
      const left = remaining(batch, now)
      low -= left.most
      high -= left.least
    }
    const batch = this.#open
    this.#open = null
    const fits = batch === null ? low <= 0 && 0 <= high : decide(batch, low, high, now)
    if (batch !== null && fits) this.#batches.push(batch)
    if (!fits) this.#drift += low > 0 ? low : high
    return fits
  }
}

/** How many keys a batch has made, if between `low` and `high` of them are new to us. False: it cannot be. */
function decide(batch: Batch, low: number, high: number, now: number): boolean {
  const { counts, met } = batch
  const sums = [...subsetSums(counts)].filter((sum) => sum >= met)
  const fitting = mayBeDead(batch, now)
    ? sums.filter((sum) => low <= sum - met && high >= 0)
    : sums.filter((sum) => low <= sum - met && sum - met <= high)
  batch.least = Math.min(...fitting)
  batch.most = Math.max(...fitting)
  return fitting.length > 0
}

/** How many keys of a batch are there that we have not met. */
function remaining(batch: Batch, now: number): { least: number; most: number } {
  const { to, lifetimeMs, least, most, met } = batch
  if (now > to + lifetimeMs + SLACK_MS) return { least: 0, most: 0 }
  return {
    least: mayBeDead(batch, now) ? 0 : Math.max(0, least - met),
    most: Math.max(0, most - met),
  }
}

function mayBeDead({ from, lifetimeMs }: Batch, now: number): boolean {
  return now > from + lifetimeMs - SLACK_MS
}

function subsetSums(counts: number[]): Set<number> {
  const sums = new Set([0])
  for (const count of counts) for (const sum of [...sums]) sums.add(sum + count)
  return sums
}
