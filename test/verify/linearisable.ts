/**
 * Whether what callers of one key were told could have been told by a key to which one thing happens at a time. The
 * search is that of Wing and Gong (Testing and Verifying Concurrent Objects, 1993) with Lowe's memory of what was tried
 * (Testing for Linearizability, 2017). Keys have nothing to do with one another, so each is looked at alone (Horn and
 * Kroening, Faster Linearizability Checking via P-Compositionality, 2015).
 */
import { FREE, type Operation, type State, step } from './model.ts'

/** So many steps are tried for one key at most. */
const MAX_STEPS = 1_000_000

/** `undecided`: it was given up. */
export type Finding = 'right' | 'wrong' | 'undecided'

interface Taken {
  at: number
  state: State
  from: number
}

/** Of one key. */
export function check(history: readonly Operation[]): Finding {
  const operations = history.toSorted((a, b) => a.calledAt - b.calledAt)
  const isTaken = new Uint8Array(operations.length)
  const tried = new Set<string>()
  const stack: Taken[] = []
  let state = FREE
  let from = -Infinity
  let left = operations.filter(isKnown).length
  let at = 0
  for (let steps = 0; left > 0; steps++) {
    if (steps === MAX_STEPS) return 'undecided'
    const next = candidate(operations, isTaken, at)
    if (next === null) {
      const last = stack.pop()
      if (last === undefined) return 'wrong'
      ;({ state, from } = last)
      isTaken[last.at] = 0
      if (isKnown(operations[last.at]!)) left++
      at = last.at + 1
      continue
    }
    const operation = operations[next]!
    const earliest = Math.max(from, operation.calledAt)
    const after = earliest <= operation.until ? step(state, operation, earliest) : null
    at = next + 1
    if (after === null) continue
    isTaken[next] = 1
    const configuration = `${keyOf(isTaken)} ${Object.values(after).join()}`
    if (tried.has(configuration)) {
      isTaken[next] = 0
      continue
    }
    tried.add(configuration)
    stack.push({ at: next, state, from })
    state = after
    from = earliest
    if (isKnown(operation)) left--
    at = 0
  }
  return 'right'
}

function isKnown({ returnedAt }: Operation): boolean {
  return returnedAt !== Infinity
}

/** The next from `at` on that may be the first of those that are left: it was called before any of them returned. */
function candidate(
  operations: readonly Operation[],
  isTaken: Uint8Array,
  at: number,
): number | null {
  let firstReturn = Infinity
  for (let index = firstLeft(isTaken); index < operations.length; index++) {
    if (isTaken[index] === 1) continue
    const { calledAt, returnedAt } = operations[index]!
    if (calledAt > firstReturn) return null
    if (index >= at) return index
    firstReturn = Math.min(firstReturn, returnedAt)
  }
  return null
}

function firstLeft(isTaken: Uint8Array): number {
  const first = isTaken.indexOf(0)
  return first === -1 ? isTaken.length : first
}

/** Most of what is taken is a beginning; only what goes beyond it needs to be told. */
function keyOf(isTaken: Uint8Array): string {
  const begin = firstLeft(isTaken)
  const end = isTaken.lastIndexOf(1) + 1
  return `${begin}:${isTaken.subarray(begin, Math.max(begin, end)).join('')}`
}
