/** Access tokens: who may do what. They are documents of the store, found by the hash of their secret. */
import { hash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { REFUSED, type Refusal } from '../engine/errors.ts'
import { formatUuid, randomKeyId } from '../engine/ids.ts'
import type { Random } from '../engine/random.ts'
import type { Store } from '../store/store.ts'
import { type Scope, withImplied } from './scopes.ts'

const MAX_TOKENS = 10_000
/** The id and the name of the token whose secret stands in a file of the operator's. */
export const FILE_TOKEN = 'admin-token-file'

const DOCUMENT = 'token/'
/** So that a secret that has leaked is seen to be one. */
const SECRET_PREFIX = 'tok_'
const SECRET_WORDS = 8

/** Scopes that cannot be held to some pools: an admin makes any token, and figures name all pools. */
const SERVER_WIDE: ReadonlySet<Scope> = new Set(['admin', 'metrics'])

/** What is asked of a new token. */
export interface TokenTerms {
  name: string
  scopes: readonly Scope[]
  /** '*': all that there are and will be. */
  pools: '*' | readonly string[]
  /** Null: it does not expire. */
  lifetimeMs: number | null
}

/** What is kept of a token. Its secret is not. */
interface SavedToken extends Omit<TokenTerms, 'lifetimeMs'> {
  id: string
  sha256: string
  createdAt: number
  expiresAt: number | null
}

/** A token as its callers are known by. It never changes. */
export class AccessToken {
  readonly id: string
  readonly name: string
  readonly sha256: string
  readonly scopes: readonly Scope[]
  readonly pools: '*' | readonly string[]
  readonly createdAt: number
  readonly expiresAt: number | null
  readonly #allowed: ReadonlySet<Scope>
  readonly #visible: ReadonlySet<string>

  constructor({ id, name, sha256, scopes, pools, createdAt, expiresAt }: SavedToken) {
    this.id = id
    this.name = name
    this.sha256 = sha256
    this.scopes = scopes
    this.pools = pools
    this.createdAt = createdAt
    this.expiresAt = expiresAt
    this.#allowed = withImplied(scopes)
    this.#visible = new Set(pools === '*' ? [] : pools)
  }

  /** Whether it has one of the scopes. */
  may(scopes: readonly Scope[]): boolean {
    return scopes.some((scope) => this.#allowed.has(scope))
  }

  /** To whom it does not show a pool, for him there is none. */
  sees(pool: string): boolean {
    return this.pools === '*' || this.#visible.has(pool)
  }

  isOver(now: number): boolean {
    return this.expiresAt !== null && this.expiresAt <= now
  }

  /** Whether it is enough to keep a server manageable. */
  get isLastingAdmin(): boolean {
    return this.expiresAt === null && this.scopes.includes('admin')
  }
}

export type Documents = Pick<Store, 'documents' | 'putDocument'>

/** The tokens of a server. Changes are made one after another, so that each sees what was before it. */
export class Access {
  readonly #documents: Documents
  readonly #clock: Clock
  readonly #random: Random
  readonly #byId = new Map<string, AccessToken>()
  readonly #byHash = new Map<string, AccessToken>()
  #lastChange: Promise<unknown> = Promise.resolve()

  private constructor(documents: Documents, clock: Clock, random: Random) {
    this.#documents = documents
    this.#clock = clock
    this.#random = random
  }

  static async open(documents: Documents, clock: Clock, random: Random): Promise<Access> {
    const access = new Access(documents, clock, random)
    await access.#read()
    return access
  }

  /** Other processes may have changed what the store has. */
  refresh(): Promise<void> {
    return this.#inTurn(() => this.#read())
  }

  /** No token was ever made: whoever is on this machine is trusted. */
  get isOpen(): boolean {
    return this.#byId.size === 0
  }

  /** The token with that secret, if there is one and it is not over. */
  authenticate(secret: string): AccessToken | null {
    const token = this.#byHash.get(digest(secret))
    return token === undefined || token.isOver(this.#clock.now()) ? null : token
  }

  /** Why who came with that token, or with none in open mode, may not go on; null: he may. */
  whyNotStill(token: AccessToken | null): Refusal | null {
    if (token === null) return this.isOpen ? null : REFUSED.access_token_required
    const isKnown = this.#byHash.get(token.sha256)?.id === token.id
    return isKnown && !token.isOver(this.#clock.now()) ? null : REFUSED.access_token_invalid
  }

  /** The secret is told here, and never again. */
  create(terms: TokenTerms): Promise<{ token: AccessToken; secret: string } | Refusal> {
    return this.#inTurn(async () => {
      const { name, scopes, pools, lifetimeMs } = terms
      if (pools !== '*' && scopes.some((scope) => SERVER_WIDE.has(scope))) {
        const detail = 'The scopes admin and metrics are about all pools: leave "pools" out.'
        return { code: 'invalid_request', detail }
      }
      const secret = this.#newSecret()
      const createdAt = this.#clock.now()
      const expiresAt = lifetimeMs === null ? null : createdAt + lifetimeMs
      const saved = { id: this.#newId(), name, sha256: digest(secret), scopes, pools }
      const token = new AccessToken({ ...saved, createdAt, expiresAt })
      if (this.isOpen && !token.isLastingAdmin) return REFUSED.admin_token_first
      const refusal = (await this.#makeRoom()) ?? (await this.#keep(token))
      return refusal ?? { token, secret }
    })
  }

  remove(id: string): Promise<Refusal | null> {
    return this.#inTurn(async () => {
      const token = this.#byId.get(id)
      if (token === undefined || token.isOver(this.#clock.now())) return REFUSED.token_not_found
      if (token.isLastingAdmin && !this.#hasLastingAdminBeside(token)) {
        return REFUSED.last_admin_token
      }
      return this.#forget(token)
    })
  }

  /** Makes the secret that of an admin, in place of the one that came from the file before. */
  trustFile(secret: string): Promise<Refusal | null> {
    return this.#inTurn(async () => {
      const sha256 = digest(secret)
      const before = this.#byId.get(FILE_TOKEN)
      if (before?.sha256 === sha256) return null
      const saved = { id: FILE_TOKEN, name: FILE_TOKEN, sha256, createdAt: this.#clock.now() }
      const terms = { scopes: ['admin'], pools: '*', expiresAt: null } as const
      return this.#keep(new AccessToken({ ...saved, ...terms }))
    })
  }

  /** Those after the id that `cursor` is, in the order of their ids. */
  page(limit: number, cursor = ''): { tokens: AccessToken[]; nextCursor: string | null } {
    const now = this.#clock.now()
    const after = [...this.#byId.values()].filter(({ id }) => id > cursor)
    const tokens = after
      .filter((token) => !token.isOver(now))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    if (tokens.length <= limit) return { tokens, nextCursor: null }
    return { tokens: tokens.slice(0, limit), nextCursor: tokens[limit - 1]!.id }
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#lastChange.then(change).catch(async (error: unknown) => {
      await this.#read() // the outcome is unknown: what the store has is true
      throw error
    })
    this.#lastChange = changed.catch(() => undefined)
    return changed
  }

  async #read(): Promise<void> {
    const documents = await this.#documents.documents()
    // From here on in one go: nobody is to see a part of it.
    this.#byId.clear()
    this.#byHash.clear()
    for (const [name, text] of documents) {
      if (name.startsWith(DOCUMENT)) this.#enter(new AccessToken(JSON.parse(text) as SavedToken))
    }
  }

  #enter(token: AccessToken): void {
    const before = this.#byId.get(token.id)
    if (before !== undefined) this.#byHash.delete(before.sha256)
    this.#byId.set(token.id, token)
    this.#byHash.set(token.sha256, token)
  }

  async #keep(token: AccessToken): Promise<Refusal | null> {
    const refusal = await this.#documents.putDocument(DOCUMENT + token.id, JSON.stringify(token))
    if (refusal === null) this.#enter(token)
    return refusal
  }

  async #forget(token: AccessToken): Promise<Refusal | null> {
    const refusal = await this.#documents.putDocument(DOCUMENT + token.id, null)
    if (refusal !== null) return refusal
    this.#byId.delete(token.id)
    this.#byHash.delete(token.sha256)
    return null
  }

  /** For one more token; those that are over give way. */
  async #makeRoom(): Promise<Refusal | null> {
    if (this.#byId.size < MAX_TOKENS) return null
    const now = this.#clock.now()
    const over = [...this.#byId.values()].filter((token) => token.isOver(now))
    const refusals = await Promise.all(over.map((token) => this.#forget(token)))
    const refused = refusals.find((refusal) => refusal !== null)
    return refused ?? (this.#byId.size < MAX_TOKENS ? null : REFUSED.too_many_tokens)
  }

  #hasLastingAdminBeside(token: AccessToken): boolean {
    return this.#byId.values().some((other) => other !== token && other.isLastingAdmin)
  }

  #newId(): string {
    const words = new Uint32Array(4)
    randomKeyId(this.#random, words)
    return formatUuid(words[0]!, words[1]!, words[2]!, words[3]!)
  }

  #newSecret(): string {
    const words = Uint32Array.from({ length: SECRET_WORDS }, () => this.#random.uint32())
    return SECRET_PREFIX + Buffer.from(words.buffer).toString('base64url')
  }
}

function digest(secret: string): string {
  return hash('sha256', secret, 'base64url')
}
