/** Calls that are under way in a simulated process. */
import type { AcquireOperation, Lease, Result } from '../../src/engine/operations.ts'
import type { Repeatable } from '../../src/service/requests.ts'
import type { Seen } from './history.ts'

/** A call under way. */
export interface Call {
  readonly what: string
  readonly pool: string
  /** Its place among all calls of the process. */
  readonly place: number
  readonly repeatable: Repeatable | null
  /** Of who waits for a key. */
  readonly waiting: Waiting | null
  /** It asks for one thing, of which the engine has said so much. */
  readonly isSingle: boolean
  readonly looks: Look[]
  /** What its answer has seen so far. */
  seen: Seen | null
  /** It is half done, and waits for settling. */
  isUnsettled: boolean
  /** What its answer must be, where that is not for the history to say. */
  expected: unknown
  /** How often the disk had been full when it came. */
  readonly fulls: number
}

/** What was seen when something was said. */
export interface Look {
  readonly told: Result
  readonly seen: Seen
}

export interface Waiting {
  readonly operation: AcquireOperation
  readonly waitMs: number
  /** When he is told at the earliest that it was in vain. */
  readonly deadline: number
  /** And at the latest, but for a commit; Infinity: it is not known yet. */
  latest: number
  readonly gone: AbortController
  /** Who calls from then on comes after him; Infinity: it is not known that he waits yet. */
  entered: number
  /** He has got what he will get. */
  isOver: boolean
}

export const START = ' start'

/** Which call an operation belongs to; a copy of the operation belongs to it too. */
export const CALL = Symbol('call')

export type OfCall<O> = O & { [CALL]?: Call }

/** Refusals of the service, which no engine has a part in. */
const UNSEEN = ['draining', 'request_in_progress', 'too_many_waiters']

export function leasesOf({ looks }: Call): Lease[] {
  return looks.flatMap(({ told }) => ('leases' in told ? told.leases : []))
}

export function isUnseen(told: unknown): boolean {
  return isRefusalOf(told, UNSEEN)
}

export function isRefusalOf(told: unknown, codes: string[]): boolean {
  return (
    typeof told === 'object' &&
    told !== null &&
    'code' in told &&
    codes.includes(told.code as string)
  )
}
