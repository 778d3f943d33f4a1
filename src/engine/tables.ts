import { CHANGE_NAMES, type Change, type ChangeKind } from './changes.ts'
import { DeadlinePages } from './deadlines.ts'
import { Details, entryName } from './details.ts'
import { History, type HistoryLimits } from './history.ts'
import { Holders } from './holders.ts'
import { HOLD_DEADLINE_WORD, Holds } from './holds.ts'
import { Idempotency } from './idempotency.ts'
import { formatKeyId } from './ids.ts'
import { KeyIndex } from './key-index.ts'
import { Pages } from './pages.ts'
import type { Random } from './random.ts'
import { LIFE_WORD, Rows } from './rows.ts'
import type { Save, Unsaved } from './unsaved.ts'

/** Fencing tokens that a ms has room for: those of a later one are above them. */
export const TOKENS_A_MS = 1000

export interface TableLimits {
  /** Keys in all pools together. */
  maxTotalKeys: number
  maxPools: number
  /** None: no history is kept. */
  history?: HistoryLimits | null
}

/** Everything that the pools share: the rows and the pages they cut their structures from. */
export class Tables {
  readonly rows: Rows
  readonly holds: Holds
  readonly index: KeyIndex
  readonly setPages: Pages
  readonly lifePages: DeadlinePages
  readonly holdPages: DeadlinePages
  readonly random: Random
  readonly #save: Save = (name, text) => this.unsaved?.set(name, text)
  readonly holders: Holders
  readonly history: History | null
  readonly details = new Details(this.#save)
  readonly idempotency = new Idempotency(
    (key, memory) => {
      this.#save(`request/${key}`, memory && JSON.stringify({ key, ...memory }))
    },
    (deadline) => this.unsaved?.lapsed(deadline),
  )
  readonly #documents = new Map<string, string>()
  readonly #disabledReasons = new Map<number, string>()
  /** By number of a pool that came from a Redis: what lease ids of there call it. */
  readonly uids = new Map<number, number>()
  /** How often each kind of change has happened since the start, by ChangeKind. */
  readonly changeCounts: number[] = CHANGE_NAMES.map(() => 0)
  /** Set by who wants to be told of each change, not only its count. */
  onChange: ((change: Change) => void) | null = null
  /** Whether he wants it now; asked before each change. */
  isHeard = (): boolean => true
  /** Set by who saves what has changed. */
  unsaved: Unsaved | null = null
  /** Set by who wants to be told that a pool, by name, may have a key to give. */
  onAvailable: ((pool: string) => void) | null = null
  /** Keys of all pools, by state. */
  readonly stateCounts = [0, 0, 0, 0]
  #lastToken = 0

  /** @throws RangeError where the operating system refuses to reserve that much address space. */
  constructor(limits: TableLimits, random: Random) {
    const { maxTotalKeys, maxPools, history } = limits
    this.rows = new Rows(maxTotalKeys)
    this.holds = new Holds(maxTotalKeys)
    this.holders = new Holders(this.holds, this.#save)
    this.index = new KeyIndex(this.rows)
    this.history = history ? new History(this.rows, history, this.#save) : null
    this.setPages = new Pages(maxTotalKeys, maxPools)
    const { rows, holds } = this
    this.lifePages = new DeadlinePages(maxTotalKeys, maxPools, rows.words, rows.stride, LIFE_WORD)
    this.holdPages = new DeadlinePages(
      maxTotalKeys,
      maxPools,
      holds.words,
      holds.stride,
      HOLD_DEADLINE_WORD,
    )
    this.random = random
  }

  /** Memory in use by all structures, in bytes. */
  get bytes(): number {
    return (
      this.rows.bytes +
      this.holds.bytes +
      this.index.bytes +
      this.setPages.bytes +
      this.lifePages.bytes +
      this.holdPages.bytes +
      (this.history?.bytes ?? 0)
    )
  }

  /** What is kept by name beside pools and keys. */
  get documents(): ReadonlyMap<string, string> {
    return this.#documents
  }

  setDocument(name: string, text: string | null): void {
    if (text !== null) this.#documents.set(name, text)
    else if (!this.#documents.delete(name)) return
    this.#save(`document/${name}`, text)
  }

  /** It is saved already. */
  restoreDocument(name: string, text: string): void {
    this.#documents.set(name, text)
  }

  /** Why a key is disabled, if somebody said so. */
  disabledReason(slot: number): string | null {
    return this.#disabledReasons.get(slot) ?? null
  }

  setDisabledReason(slot: number, reason: string | null): void {
    if (reason !== null) this.#disabledReasons.set(slot, reason)
    else if (!this.#disabledReasons.delete(slot)) return
    this.#save(`reason/${slot}`, reason)
  }

  /** What is kept beside the row of a key that is gone is of no use. */
  forgetKey(slot: number): void {
    if (this.#disabledReasons.delete(slot)) this.unsaved?.tidy(slot, `reason/${slot}`)
    if (this.details.forget(slot)) this.unsaved?.tidy(slot, entryName(slot))
  }

  /** It is saved already. */
  restoreDisabledReason(slot: number, reason: string): void {
    this.#disabledReasons.set(slot, reason)
  }

  /** The last fencing token. */
  get lastToken(): number {
    return this.#lastToken
  }

  /** The next fencing token: it needs no counter on disk, since time itself keeps it rising. */
  nextToken(now: number): number {
    this.#lastToken = Math.max(this.#lastToken + 1, now * TOKENS_A_MS)
    return this.#lastToken
  }

  /** The tokens to come are above that one. */
  sawToken(token: number): void {
    if (token > this.#lastToken) this.#lastToken = token
  }

  changed(kind: ChangeKind, pool: string, slot: number): void {
    this.changeCounts[kind]!++
    if (this.onChange === null || !this.isHeard()) return
    const { rows } = this
    this.onChange({
      kind: CHANGE_NAMES[kind]!,
      pool,
      keyId: formatKeyId(rows, slot),
      fencingToken: rows.token(slot),
    })
  }
}
