/** What answers have told of one key, and what it may have become where an answer is missing. */

/**
 * So much the server's clock and ours may seem to differ: both follow the machine's, but they round, and
 * the server's may have gone on from the latest instant on record.
 */
export const SLACK_MS = 25

/** Instants of the server's clock between which something has happened. */
export interface Window {
  from: number
  to: number
}

/** What has happened between two instants of our clock. */
export function between(from: number, to: number): Window {
  return { from: from - SLACK_MS, to: to + SLACK_MS }
}

/** What the server has told. */
export function exactly(instant: number): Window {
  return { from: instant, to: instant }
}

/** A creation or a keep-alive, which the key outlives by its lifetime; null: we do not know that yet. */
export interface Life extends Window {
  lifetimeMs: number | null
}

export interface KnownLease {
  readonly keyId: string
  /** Null where the caller was never answered, so that nobody knows. */
  readonly leaseId: string | null
  readonly fencingToken: number
  /** When the server granted it. */
  granted: Window
  readonly ttlMs: number
  readonly blockedUntil: number
  /** When its holder had the answer. */
  readonly heldFrom: number
  /** When its holder first asked for what ends it. */
  letGoAt: number
  over: 'no' | 'maybe' | 'yes'
}

/** What `GET /keys/:id` says, as far as it is looked at here. */
export interface ShownKey {
  createdAt: number
  keepAliveAt: number
  expiresAt: number
  state: string
  lease: { grantedAt: number; expiresAt: number } | null
}

export class KnownKey {
  readonly keyId: string
  created: Window
  /** The last one that was acknowledged, and those with unknown outcome since. */
  lives: Life[]
  removed: 'no' | 'maybe' | 'yes' = 'no'
  /** When that was answered or seen. */
  removedAt = Infinity
  /** The latest we know of. */
  lease: KnownLease | null = null
  /** Before that one, and not over for certain when they were last looked at. */
  earlier: KnownLease[] = []
  /** When it was last heard that it is free. */
  freeFrom: number
  /** A request that names it is under way. Others wait, so that we know the order of what happens. */
  busy = false

  constructor(keyId: string, created: Window, lifetimeMs: number | null) {
    this.keyId = keyId
    this.created = created
    this.freeFrom = created.to
    this.lives = [{ ...created, lifetimeMs }]
  }

  /** Until then it is alive, unless it is removed. */
  get livesUntil(): number {
    const ends = this.lives.map(({ from, lifetimeMs }) => from + (lifetimeMs ?? -Infinity))
    return Math.min(...ends) - SLACK_MS
  }

  /** From then on it is dead. */
  get deadFrom(): number {
    return (
      Math.max(...this.lives.map(({ to, lifetimeMs }) => to + (lifetimeMs ?? Infinity))) + SLACK_MS
    )
  }

  isAliveAt(instant: number): boolean {
    return this.removed === 'no' && instant < this.livesUntil
  }

  /**
   * Whether that lease holds throughout, if nothing is lost. What began in the very millisecond in which its
   * holder heard of it may have come before it.
   */
  isHeld(lease: KnownLease, from: number, to: number): boolean {
    return (
      lease.over === 'no' &&
      lease.letGoAt === Infinity &&
      lease.heldFrom < from &&
      to < lease.blockedUntil - SLACK_MS &&
      this.isAliveAt(to)
    )
  }

  /** From then on it is over. A keep-alive may put off an end that came with the key's death. */
  endOf({ granted, ttlMs }: KnownLease): number {
    return granted.to + ttlMs + SLACK_MS
  }

  /** A new lease. Returns the one that its holder cannot have had at the same time, if there is one. */
  grant(lease: KnownLease): KnownLease | null {
    const before = this.lease === null ? this.earlier : [...this.earlier, this.lease]
    const others = before.filter((other) => certainEnd(other) > lease.heldFrom)
    const late = this.lease !== null && this.lease.fencingToken > lease.fencingToken
    this.earlier = late ? [...others.filter((other) => other !== this.lease), lease] : others
    if (!late) this.lease = lease
    const end = certainEnd(lease)
    return others.find((other) => Math.max(other.heldFrom, lease.heldFrom) < end) ?? null
  }

  /** What is shown is so from now on. Returns what is wrong with it. */
  learn(shown: ShownKey): string | null {
    const { createdAt, keepAliveAt, expiresAt } = shown
    const isCreated = isIn(createdAt, this.created)
    const life = this.lives.find(
      (life) =>
        isIn(keepAliveAt, life) &&
        expiresAt - keepAliveAt === (life.lifetimeMs ?? expiresAt - keepAliveAt),
    )
    const expected = this.lives.map(({ from, to }) => `${from}-${to}`).join(' or ')
    this.created = exactly(createdAt)
    this.lives = [{ ...exactly(keepAliveAt), lifetimeMs: expiresAt - keepAliveAt }]
    if (!isCreated) return `was created at ${createdAt}`
    if (life === undefined) return `lives from ${keepAliveAt} to ${expiresAt}, not from ${expected}`
    return null
  }

  /** Whether what is shown is that lease. */
  shows(lease: KnownLease, { lease: shown, expiresAt }: ShownKey): boolean {
    return (
      shown !== null &&
      isIn(shown.grantedAt, lease.granted) &&
      shown.expiresAt === Math.min(shown.grantedAt + lease.ttlMs, expiresAt)
    )
  }
}

/** Until then its holder may rely on it. */
function certainEnd({ letGoAt, blockedUntil }: KnownLease): number {
  return Math.min(letGoAt, blockedUntil - SLACK_MS)
}

function isIn(instant: number, { from, to }: Window): boolean {
  return from <= instant && instant <= to
}
