/** Whether what callers know of their leases can be true if no key ever had two holders. */
import type { Ending, Held, History } from './history.ts'

export type FaultKind =
  | 'two holders'
  | 'ended early'
  | 'token fell'
  | 'token repeated'
  | 'lease given to two requests'
  | 'request given too much'

export interface Fault {
  kind: FaultKind
  detail: string
}

export interface Verdict {
  faults: Fault[]
  /** Leases that were held for sure for some time. */
  certain: number
}

/** A time for which a lease was held for sure: from `from` on and before `to`. */
interface Interval {
  held: Held
  from: number
  to: number
}

export function judge(history: History): Verdict {
  const faults: Fault[] = []
  const byKey = Map.groupBy(history.held, ({ keyId }) => keyId)
  let certain = 0
  for (const [keyId, leases] of byKey) {
    const life = history.lives.get(keyId) ?? Infinity
    const endings = (history.endings.get(keyId) ?? []).filter(({ inVain }) => !inVain)
    const intervals: Interval[] = []
    for (const held of leases) {
      const end = Math.min(held.deadline, life, firstThatMayEnd(held, endings))
      if (held.toldEndedAt < end) faults.push(fault('ended early', held))
      const to = Math.min(end, held.givenBackAt)
      if (held.receivedAt < to) intervals.push({ held, from: held.receivedAt, to })
    }
    certain += intervals.length
    faults.push(...faultsOfKey(intervals))
  }
  faults.push(...faultsOfTokens(history), ...faultsOfRequests(history.held))
  return { faults, certain }
}

/** When the first request was sent that may have ended the lease, whoever sent it. */
function firstThatMayEnd({ asking }: Held, endings: Ending[]): number {
  let first = Infinity
  for (const { sentAt, answeredAt } of endings) {
    // What was answered before the lease was asked for has ended an earlier one.
    if (answeredAt >= asking.sentAt) first = Math.min(first, sentAt)
  }
  return first
}

function* faultsOfKey(intervals: Interval[]): Generator<Fault> {
  intervals.sort((a, b) => a.from - b.from)
  let last: Interval | undefined
  for (const interval of intervals) {
    if (last !== undefined) {
      const { held } = interval
      if (interval.from < last.to) yield fault('two holders', last.held, held)
      else if (held.token <= last.held.token) yield fault('token fell', last.held, held)
    }
    if (last === undefined || interval.to > last.to) last = interval
  }
}

/** In each pool, one that was asked for after another was received was granted after it. */
function* faultsOfTokens({ held, tokenBefore }: History): Generator<Fault> {
  for (const leases of Map.groupBy(held, ({ asking }) => asking.pool).values()) {
    yield* faultsOfPoolTokens(leases, tokenBefore)
  }
}

function* faultsOfPoolTokens(leases: Held[], tokenBefore: number): Generator<Fault> {
  const byReceipt = leases.toSorted((a, b) => a.receivedAt - b.receivedAt)
  const byAsking = leases.toSorted((a, b) => a.asking.sentAt - b.asking.sentAt)
  const seen = new Set<number>()
  let received = 0
  let highest: Held | undefined
  for (const held of byAsking) {
    for (; byReceipt[received]!.receivedAt < held.asking.sentAt; received++) {
      const earlier = byReceipt[received]!
      if (highest === undefined || earlier.token > highest.token) highest = earlier
    }
    if (highest !== undefined && held.token <= highest.token) {
      yield fault('token fell', highest, held)
    }
    if (held.token <= tokenBefore || seen.has(held.token)) yield fault('token repeated', held)
    seen.add(held.token)
  }
}

function* faultsOfRequests(leases: Held[]): Generator<Fault> {
  for (const same of Map.groupBy(leases, ({ leaseId }) => leaseId).values()) {
    if (same.length > 1) yield fault('lease given to two requests', ...same)
  }
  for (const [{ count }, given] of Map.groupBy(leases, ({ asking }) => asking)) {
    if (given.length > count) yield fault('request given too much', ...given)
  }
}

function fault(kind: FaultKind, ...leases: Held[]): Fault {
  return { kind, detail: `${kind}: ${leases.map((held) => JSON.stringify(held)).join(' and ')}` }
}
