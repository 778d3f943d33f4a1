/**
 * What callers know of their leases, and when they learned it. Instants are ms of one clock, the callers'
 * own: of the server's they know nothing but that it runs as fast.
 */

/** The server reckons in whole ms: what it counts from may be this much before it came. */
const GRAIN_MS = 1

/** A request for leases and all its repeats. What it is given was granted after it was first sent. */
export interface Asking {
  readonly pool: string
  readonly sentAt: number
  /** The most that it may be given. */
  readonly count: number
  readonly ttlMs: number
  /** The longest that renewals may stretch the lease. */
  readonly totalMs: number
}

export interface Held {
  readonly asking: Asking
  readonly leaseId: string
  readonly keyId: string
  readonly token: number
  /** When its holder heard of it. */
  readonly receivedAt: number
  /** By its TTL it cannot end before. */
  deadline: number
  /** Its holder gave it back; Infinity: not yet. */
  givenBackAt: number
  /** When its holder was told that it had ended; Infinity: never. */
  toldEndedAt: number
  /** A renewal was never answered: from now on nothing puts the deadline off for sure. */
  inDoubt: boolean
}

/** A request that ends whatever lease the key is under. */
export interface Ending {
  readonly sentAt: number
  /** Infinity: not yet. */
  answeredAt: number
  /** It was refused. */
  inVain: boolean
}

export class History {
  readonly held: Held[] = []
  readonly endings = new Map<string, Ending[]>()
  /** Until when each key lives at least; where it is not there, for ever. */
  readonly lives = new Map<string, number>()
  /** No lease has a token as low as that: those of earlier histories were lower. */
  readonly tokenBefore: number
  readonly #byId = new Map<string, Held>()

  constructor(tokenBefore = 0) {
    this.tokenBefore = tokenBefore
  }

  received(
    asking: Asking,
    { leaseId, keyId, fencingToken }: { leaseId: string; keyId: string; fencingToken: number },
    now: number,
  ): Held {
    const known = this.#byId.get(leaseId)
    if (known?.asking === asking && known.keyId === keyId && known.token === fencingToken) {
      return known
    }
    const held = {
      ...{ asking, leaseId, keyId, token: fencingToken, receivedAt: now },
      deadline: asking.sentAt + Math.min(asking.ttlMs, asking.totalMs) - GRAIN_MS,
      ...{ givenBackAt: Infinity, toldEndedAt: Infinity, inDoubt: false },
    }
    this.held.push(held)
    this.#byId.set(leaseId, held)
    return held
  }

  /** From its sending on the lease may end with the new TTL, if that is earlier. Returns what to call when it succeeds. */
  renewing(held: Held, ttlMs: number, now: number): () => void {
    const deadline = Math.min(now + ttlMs, held.asking.sentAt + held.asking.totalMs) - GRAIN_MS
    const before = held.deadline
    held.deadline = Math.min(before, deadline)
    const inDoubt = held.inDoubt
    held.inDoubt = true
    return () => {
      held.inDoubt = inDoubt
      if (!inDoubt) held.deadline = deadline
    }
  }

  givingBack(held: Held, now: number): void {
    held.givenBackAt = Math.min(held.givenBackAt, now)
  }

  /** Its holder was told that it had ended, for a reason that is not his. */
  toldEnded(held: Held, now: number): void {
    held.toldEndedAt = Math.min(held.toldEndedAt, now)
  }

  /** Somebody is about to end whatever lease the key is under. */
  ending(keyId: string, now: number): Ending {
    const ending = { sentAt: now, answeredAt: Infinity, inVain: false }
    const endings = this.endings.get(keyId)
    if (endings === undefined) this.endings.set(keyId, [ending])
    else endings.push(ending)
    return ending
  }

  /** A key was made, or kept alive, by what was sent then. */
  livesOn(keyId: string, sentAt: number, lifetimeMs: number): void {
    const until = sentAt + lifetimeMs - GRAIN_MS
    this.lives.set(keyId, Math.max(this.lives.get(keyId) ?? 0, until))
  }
}
