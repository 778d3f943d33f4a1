/** The rules of one key as its callers see them, with time: what each answer may follow on. */

/** The clocks of callers and server round differently, and the server's may stand still for a moment. */
const SLACK_MS = 25

/** What a caller has asked of one key, and what he was told. */
export interface Operation {
  readonly key: string
  /** Instants of the caller's clock. */
  readonly calledAt: number
  /** Infinity: he was told nothing. Then it was done by `until`, or never. */
  readonly returnedAt: number
  readonly until: number
  readonly act: Act
}

/** `told` is null where the outcome is unknown; false: it was refused. */
export type Act =
  | { op: 'acquire'; ttlMs: number; told: { leaseId: string; token: number } | false | null }
  | { op: 'renew'; leaseId: string; ttlMs: number; told: boolean | null }
  | { op: 'release'; leaseId: string; told: boolean | null }
  | { op: 'revoke'; told: boolean | null }

export interface State {
  /** Null: nobody has it. */
  readonly leaseId: string | null
  /** The highest that is known. */
  readonly token: number
  /** Between these instants the lease ends by time. */
  readonly endsFrom: number
  readonly endsBy: number
}

export const FREE: State = { leaseId: null, token: 0, endsFrom: -Infinity, endsBy: -Infinity }

/**
 * What the key is after the operation, which came to pass at some instant from `from` on; null: it cannot have, with
 * that answer.
 */
export function step(state: State, operation: Operation, from: number): State | null {
  const { act, until: by } = operation
  const mayBeFree = state.leaseId === null || by >= state.endsFrom - SLACK_MS
  const mayBeHeld = state.leaseId !== null && from <= state.endsBy + SLACK_MS
  const free = { ...FREE, token: state.token }
  if (act.op === 'acquire') {
    if (act.told === false) return mayBeHeld ? state : null
    if (!mayBeFree) return null
    const { leaseId, token } = act.told ?? { leaseId: `?${operation.calledAt}`, token: state.token }
    if (act.told !== null && token <= state.token) return null
    return { leaseId, token, endsFrom: from + act.ttlMs, endsBy: by + act.ttlMs }
  }
  if (act.op === 'revoke') {
    if (act.told === false) return mayBeFree ? state : null
    return mayBeHeld ? free : null
  }
  const isHeld = mayBeHeld && state.leaseId === act.leaseId
  if (act.told === false) return state.leaseId !== act.leaseId || mayBeFree ? state : null
  if (!isHeld) return null
  if (act.op === 'release') return free
  return { ...state, endsFrom: from + act.ttlMs, endsBy: by + act.ttlMs }
}
