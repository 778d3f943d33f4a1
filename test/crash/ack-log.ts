/**
 * The log of what a server has acknowledged, kept outside of it, and whether later answers keep to it. A
 * request without an answer was done or not: both are allowed until something is seen of it.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import { between, exactly, KnownKey, type KnownLease, type ShownKey, SLACK_MS } from './known.ts'
import type { Attempt, Request, Terms, Told } from './requests.ts'
import { UnansweredCreates } from './unanswered-creates.ts'

/**
 * `lost`: an acknowledged change is not there. `double`: two holders at one time. `token`: a fencing token
 * did not rise. `torn`: what should be whole is there in part. `wrong`: what nothing explains.
 */
export type Fault = 'lost' | 'double' | 'token' | 'torn' | 'wrong'

const DETAILS_KEPT = 20
const PICKS = 10
/** A pool with so many keys that nobody has can tell nobody that it has none. */
const MANY_LEFT = 100
/** Keys that were gone before, and of those that have expired since, that are looked at in a check. */
const GONE_CHECKED = 50

export class AckLog {
  terms: Terms = { keyLifetimeMs: 300_000, leaseTtlMs: 60_000 }
  readonly faults: Record<Fault, number> = { lost: 0, double: 0, token: 0, torn: 0, wrong: 0 }
  /** The first faults, in words. */
  readonly details: string[] = []
  /** Changes: how many were answered, and how many were not. */
  acknowledged = 0
  unknown = 0
  /** Leases that can be released. */
  readonly held: KnownLease[] = []
  readonly #keys = new Map<string, KnownKey>()
  /** Keys that may be there, for picking; those that are not are left out in a check. */
  #living: KnownKey[] = []
  /** Drawn before any create had named them. */
  readonly #found = new Set<KnownKey>()
  readonly #pending = new Set<Attempt>()
  readonly #tokens = new Set<number>()
  #highestToken = 0
  readonly #creates = new UnansweredCreates()
  /** Draws without an answer since the last check. */
  #draws: { sentAt: number; ttlMs: number }[] = []
  #strays: { keyId: string; grantedAt: number }[] = []
  #gone: KnownKey[] = []
  #oldGone: KnownKey[] = []

  get faultCount(): number {
    return Object.values(this.faults).reduce((sum, count) => sum + count, 0)
  }

  /** About how many keys there are. */
  get size(): number {
    return this.#living.length
  }

  send(request: Request, now: number): Attempt {
    const attempt = { request, sentAt: now, tokenBefore: this.#highestToken }
    this.#pending.add(attempt)
    if (request.op === 'release') {
      this.#key(request.lease.keyId).busy = true
      request.lease.letGoAt = Math.min(request.lease.letGoAt, now)
    } else if ('keyId' in request) {
      const key = this.#key(request.keyId)
      key.busy = true
      if (request.op === 'remove' && key.lease !== null) {
        key.lease.letGoAt = Math.min(key.lease.letGoAt, now)
      }
    }
    return attempt
  }

  /** `quiet`: nothing else was under way meanwhile, so that all that is shown must be explained. */
  answer(attempt: Attempt, told: Told, now: number, quiet = false): void {
    const { request } = attempt
    this.#pending.delete(attempt)
    if (told !== null && request.op !== 'show') this.acknowledged++
    if (request.op === 'create') this.#created(attempt, told, now)
    else if (request.op === 'draw') this.#drawn(attempt, told, now)
    else if (request.op === 'release') this.#released(attempt, request.lease, told !== null, now)
    else this.#named(attempt, this.#key(request.keyId), told, now, quiet)
  }

  /** The server has died: nothing that is under way will be answered. */
  loseAll(now: number): void {
    for (const attempt of this.#pending) this.#lose(attempt, now)
  }

  /** What must be looked at after a restart; the answers come by `answer`, `quiet`. */
  keysToCheck(random: SeededRandom, now: number): string[] {
    const expired = this.#living.filter((key) => key.removed !== 'yes' && now >= key.deadFrom)
    this.#living = this.#living.filter((key) => key.removed !== 'yes' && now < key.deadFrom)
    for (const { keyId } of expired.splice(GONE_CHECKED)) this.#keys.delete(keyId)
    this.#gone.push(...expired)
    const old = Array.from({ length: GONE_CHECKED }, () => random.pick(this.#oldGone))
    const keys = [...this.#living, ...this.#gone, ...old.filter((key) => key !== undefined)]
    return [...new Set(keys)].map(({ keyId }) => keyId)
  }

  /** All of them are looked at, and now there are that many keys. */
  finishCheck(counted: number, sentAt: number, now: number): void {
    for (const key of this.#found) {
      const { from, to } = key.created
      const isShown = from === to
      if (isShown && !this.#creates.meet(from)) this.#report('wrong', key.keyId, 'nobody made it')
    }
    this.#found.clear()
    const least = this.#living.filter((key) => key.isAliveAt(now)).length
    const most = this.#living.filter((key) => key.removed !== 'yes' && sentAt < key.deadFrom).length
    const fault = this.#creates.isEmpty ? 'lost' : 'torn'
    if (!this.#creates.explain(counted, least, most, now)) {
      this.#report(fault, 'keys', `${counted} are there, ${least} to ${most} are known`)
    }
    this.#matchStrays(now)
    this.#oldGone = this.#oldGone.concat(this.#gone)
    this.#gone = []
  }

  /** A key that may be there, and that nobody is busy with. */
  pick(random: SeededRandom): string | undefined {
    for (let tries = 0; tries < PICKS; tries++) {
      const key = random.pick(this.#living)
      if (key?.removed === 'no' && !key.busy && !this.#found.has(key)) return key.keyId
    }
    return undefined
  }

  /** A lease that its holder has had enough of. */
  pickHeld(random: SeededRandom): KnownLease | undefined {
    for (let tries = 0; tries < PICKS && this.held.length > 0; tries++) {
      const place = random.below(this.held.length)
      const lease = this.held[place]!
      const key = this.#keys.get(lease.keyId)
      if (key?.busy === true) continue
      this.held[place] = this.held.at(-1)!
      this.held.pop()
      if (lease.over !== 'yes' && key?.removed === 'no') return lease
    }
    return undefined
  }

  /** No answer will come. */
  #lose(attempt: Attempt, now: number): void {
    const { request, sentAt } = attempt
    const { keyLifetimeMs, leaseTtlMs } = this.terms
    this.#pending.delete(attempt)
    if (request.op !== 'show') this.unknown++
    if (request.op === 'create') this.#creates.add(request.count, keyLifetimeMs, sentAt, now)
    if (request.op === 'draw') this.#draws.push({ sentAt, ttlMs: leaseTtlMs })
    if (request.op === 'release') {
      this.#key(request.lease.keyId).busy = false
      if (request.lease.over === 'no') request.lease.over = 'maybe'
    }
    if (!('keyId' in request)) return
    const key = this.#key(request.keyId)
    key.busy = false
    if (request.op === 'keepAlive') {
      key.lives.push({ ...between(sentAt, now), lifetimeMs: keyLifetimeMs })
    }
    if (request.op === 'remove' && key.removed === 'no') key.removed = 'maybe'
  }

  #created({ sentAt, request }: Attempt, told: Told, now: number): void {
    const { count } = request as { count: number }
    const { keyLifetimeMs } = this.terms
    const keyIds = told !== null && 'keyIds' in told ? told.keyIds : []
    if (new Set(keyIds).size !== count) {
      this.#report('torn', 'a create', `${keyIds.length} keys of ${count}`)
    }
    for (const keyId of keyIds) {
      const created = between(sentAt, now)
      const before = this.#keys.get(keyId)
      if (before === undefined) {
        this.#add(new KnownKey(keyId, created, keyLifetimeMs))
      } else if (this.#found.delete(before)) {
        before.created = created
        const [life] = before.lives
        if (life?.lifetimeMs === null) before.lives[0] = { ...created, lifetimeMs: keyLifetimeMs }
      } else {
        this.#report('wrong', keyId, 'came twice')
      }
    }
  }

  #drawn({ sentAt, tokenBefore }: Attempt, told: Told, now: number): void {
    if (told === null || !('lease' in told)) {
      const left = this.#freeThroughout(sentAt, now) - this.#pending.size
      if (left > MANY_LEFT) this.#report('wrong', 'a draw', `nothing to give, but ${left} keys`)
      return
    }
    const { keyId, leaseId, fencingToken, blockedUntil } = told.lease
    const { leaseTtlMs: ttlMs } = this.terms
    const key = this.#keys.get(keyId) ?? this.#find(keyId, now)
    if (fencingToken <= tokenBefore) {
      this.#report('token', keyId, `${fencingToken} after ${tokenBefore}`)
    }
    if (this.#tokens.has(fencingToken)) this.#report('token', keyId, `${fencingToken} came twice`)
    this.#tokens.add(fencingToken)
    this.#highestToken = Math.max(this.#highestToken, fencingToken)
    this.#checkAlive(key, sentAt, 'drawn')
    // Where the key's death does not cut it, the end tells the beginning. A keep-alive that was under way
    // too may have come after the grant.
    const isSettled = key.lives.every(({ to }) => to - SLACK_MS < sentAt)
    const isWhole = isSettled && blockedUntil < key.livesUntil
    const grantedAt = blockedUntil - ttlMs
    if (grantedAt > now + SLACK_MS || (isWhole && grantedAt < sentAt - SLACK_MS)) {
      this.#report('wrong', keyId, `blocked until ${blockedUntil}, asked at ${sentAt}`)
    }
    const granted = isWhole ? exactly(grantedAt) : between(sentAt, now)
    const held = { ttlMs, blockedUntil, heldFrom: now, letGoAt: Infinity, over: 'no' } as const
    const lease: KnownLease = { keyId, leaseId, fencingToken, granted, ...held }
    const rival = key.grant(lease)
    if (rival !== null) {
      this.#report('double', keyId, `${fencingToken} beside ${rival.fencingToken}`)
    }
    this.held.push(lease)
  }

  #released({ sentAt }: Attempt, lease: KnownLease, done: boolean, now: number): void {
    const key = this.#key(lease.keyId)
    key.busy = false
    if (done && (lease.over === 'yes' || sentAt >= key.endOf(lease))) {
      this.#report('wrong', lease.keyId, 'a lease that was over has been released')
    }
    if (!done && this.#lasts(key, lease, now)) {
      this.#report('lost', lease.keyId, `lease ${lease.fencingToken} is not there`)
    }
    lease.over = 'yes'
    key.freeFrom = now
  }

  #named(
    { request, sentAt }: Attempt,
    key: KnownKey,
    told: Told,
    now: number,
    quiet: boolean,
  ): void {
    key.busy = false
    if (told === null) {
      if (key.isAliveAt(now)) this.#report('lost', key.keyId, `${request.op}: it is not there`)
      this.#remove(key, now)
      return
    }
    this.#checkAlive(key, sentAt, request.op)
    if (request.op === 'remove') {
      this.#remove(key, now)
      return
    }
    key.removed = 'no'
    if (request.op === 'keepAlive') {
      key.lives = [{ ...between(sentAt, now), lifetimeMs: this.terms.keyLifetimeMs }]
    } else if ('key' in told) {
      const wrong = key.learn(told.key)
      if (wrong !== null) this.#report('lost', key.keyId, wrong)
      if (quiet) this.#shownQuiet(key, told.key, sentAt, now)
      else this.#shown(key, told.key, sentAt, now)
    }
  }

  /** Others may have drawn it meanwhile, unless somebody we know holds it. */
  #shown(key: KnownKey, shown: ShownKey, sentAt: number, now: number): void {
    const { lease } = key
    if (lease === null || !key.isHeld(lease, sentAt, now) || key.shows(lease, shown)) return
    const known = JSON.stringify({ sentAt, now, shown, lease, lives: key.lives })
    this.#report('lost', key.keyId, `lease ${lease.fencingToken} is not shown: ${known}`)
  }

  #shownQuiet(key: KnownKey, shown: ShownKey, sentAt: number, now: number): void {
    const { keyId, lease } = key
    if (shown.state !== (shown.lease === null ? 'available' : 'leased')) {
      this.#report('wrong', keyId, `it is ${shown.state}`)
    }
    if (lease !== null && isThat(key, lease, shown)) {
      if (lease.over === 'yes') this.#report('lost', keyId, `released: ${lease.fencingToken}`)
      if (sentAt >= key.endOf(lease)) this.#report('wrong', keyId, `over: ${lease.fencingToken}`)
      if (lease.over === 'maybe') this.held.push(lease)
      if (lease.over === 'yes') return
      // What was asked for before the crash and not done never will be.
      lease.over = 'no'
      lease.letGoAt = Infinity
      lease.granted = exactly(shown.lease!.grantedAt)
      return
    }
    if (lease !== null) {
      if (this.#lasts(key, lease, now)) {
        this.#report('lost', keyId, `lease ${lease.fencingToken} is not there`)
      }
      lease.over = 'yes'
    }
    if (shown.lease !== null) this.#addStray(key, shown.lease, now)
  }

  /** A lease whose holder had no answer. */
  #addStray(key: KnownKey, shown: { grantedAt: number; expiresAt: number }, now: number): void {
    const { keyId } = key
    const { grantedAt, expiresAt } = shown
    this.#strays.push({ keyId, grantedAt })
    key.grant({
      keyId,
      leaseId: null,
      fencingToken: (key.lease?.fencingToken ?? 0) + 0.5, // above those before it, below all others
      granted: exactly(grantedAt),
      ttlMs: this.#draws[0]?.ttlMs ?? this.terms.leaseTtlMs,
      blockedUntil: expiresAt,
      heldFrom: now,
      letGoAt: Infinity,
      over: 'no',
    })
  }

  /** Each lease that nobody was told of needs a draw of its own that was sent before. */
  #matchStrays(now: number): void {
    const draws = this.#draws.map(({ sentAt }) => sentAt).sort((a, b) => a - b)
    const strays = this.#strays.sort((a, b) => a.grantedAt - b.grantedAt)
    strays.forEach(({ keyId, grantedAt }, at) => {
      const sentAt = draws[at] ?? Infinity
      if (grantedAt < sentAt - SLACK_MS || grantedAt > now + SLACK_MS) {
        this.#report('wrong', keyId, `leased at ${grantedAt} to nobody`)
      }
    })
    this.#draws = []
    this.#strays = []
  }

  /** It has been met by a request that was sent then. */
  #checkAlive({ keyId, removed, removedAt, deadFrom }: KnownKey, sentAt: number, by: string): void {
    const wasDeleted = removed === 'yes' && sentAt > removedAt
    if (wasDeleted) this.#report('lost', keyId, `${by}: it was deleted`)
    else if (sentAt >= deadFrom) this.#report('wrong', keyId, `${by}: it is dead`)
  }

  /**
   * Keys that were free when last heard of, and live. What was under way at the same time does not count: it may
   * have come later, though its answer was heard first.
   */
  #freeThroughout(from: number, to: number): number {
    const free = (key: KnownKey): boolean => key.lease === null || key.lease.over === 'yes'
    return this.#living.filter((key) => key.freeFrom < from && key.isAliveAt(to) && free(key))
      .length
  }

  /** Whether a lease that was not released must be there. */
  #lasts(key: KnownKey, lease: KnownLease, now: number): boolean {
    return lease.over === 'no' && now < lease.blockedUntil - SLACK_MS && key.isAliveAt(now)
  }

  #key(keyId: string): KnownKey {
    return this.#keys.get(keyId)!
  }

  #add(key: KnownKey): void {
    this.#keys.set(key.keyId, key)
    this.#living.push(key)
  }

  /** A key whose create is under way, or was never answered. */
  #find(keyId: string, now: number): KnownKey {
    const key = new KnownKey(keyId, { from: 0, to: now }, null)
    this.#add(key)
    this.#found.add(key)
    return key
  }

  #remove(key: KnownKey, now: number): void {
    if (key.removed === 'yes') return
    key.removed = 'yes'
    key.removedAt = now
    this.#gone.push(key)
  }

  #report(fault: Fault, what: string, detail: string): void {
    this.faults[fault]++
    if (this.details.length < DETAILS_KEPT) this.details.push(`${fault}: ${what}: ${detail}`)
  }
}

/** Where we are not sure when a lease was granted, one that is over is not taken for its successor. */
function isThat(key: KnownKey, lease: KnownLease, shown: ShownKey): boolean {
  const isSure = lease.over !== 'yes' || lease.granted.from === lease.granted.to
  return isSure && key.shows(lease, shown)
}
