/** All that one store keeps goes into another, of whatever engine, and is compared. */
import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { CopiedKey, CopiedPool } from '../engine/copies.ts'
import type { StateName } from '../engine/rows.ts'

/** Where copies come from. Nothing is changed there, and no server may be at work on it. */
export interface Original {
  /** As of when: keys that are dead by then do not exist. */
  readonly instant: number
  /** Tokens to come are above it. */
  readonly lastToken: number
  documents(): Promise<ReadonlyMap<string, string>>
  holdsValues(): Promise<boolean>
  pools(): Promise<CopiedPool[]>
  /** How many keys it has, dead ones that nobody has cleared away among them. */
  size(pool: CopiedPool): Promise<number>
  /** In pages. */
  keys(pool: CopiedPool): AsyncIterable<readonly CopiedKey[]>
  /** The slots that ids of leases name, of all pools: each is a place that its key must have in an embedded store. */
  slots(): Promise<ReadonlySet<number>>
  /** When a server was last at work on it, as far as it tells. */
  servedAt(): Promise<number | null>
  close(): Promise<void>
}

/** A store in the making, which no server takes for a whole one before `finish`. */
export interface Copy {
  begin(terms: CopyTerms): Promise<void>
  /** Its keys follow. */
  putPool(pool: CopiedPool): Promise<void>
  putKeys(pool: CopiedPool, keys: readonly CopiedKey[]): Promise<void>
  /** What it holds by now, to be compared; it is closed with the copy. */
  look(instant: number): Promise<Original>
  finish(): Promise<void>
  close(): Promise<void>
}

export interface CopyTerms {
  instant: number
  lastToken: number
  documents: ReadonlyMap<string, string>
  pools: readonly CopiedPool[]
  slots: ReadonlySet<number>
}

export interface PoolReport {
  name: string
  keys: number
  /** As it is written down, whatever time has done since. */
  states: Record<StateName, number>
}

export type Progress = (keys: number) => void

/** What there is to be in the copy: all that is in the original, but for the shards of pools. */
export interface Wanted {
  documents: ReadonlyMap<string, string>
  /** Those of the original. */
  pools: readonly CopiedPool[]
}

export async function copyAll(
  original: Original,
  copy: Copy,
  { documents, pools }: Wanted,
  progress: Progress,
): Promise<void> {
  const { instant, lastToken } = original
  await copy.begin({ instant, lastToken, documents, pools, slots: await original.slots() })
  let done = 0
  for (const pool of pools) {
    await copy.putPool(pool)
    for await (const keys of original.keys(pool)) {
      await copy.putKeys(pool, keys)
      done += keys.length
      progress(done)
    }
  }
}

/** Differences that are told one by one. */
const MAX_TOLD = 20
/** Letters of a key's id that may be shown: a plain key is its id. */
const SHOWN_ID = 8

export interface Comparison {
  /** In words; empty: there are none. */
  differences: string[]
  pools: PoolReport[]
}

/** How many keys there are to copy, read from beginning to end. */
export async function survey(original: Original, progress: Progress): Promise<PoolReport[]> {
  const reports: PoolReport[] = []
  let done = 0
  for (const pool of await original.pools()) {
    const { keys, states } = await digestOf(original.keys(pool), (more) => {
      progress((done += more))
    })
    reports.push({ name: pool.name, keys, states })
  }
  return reports
}

/** Reads both from beginning to end. */
export async function compare(
  original: Original,
  copy: Original,
  { documents, pools }: Wanted,
  progress: Progress,
): Promise<Comparison> {
  const differences = differingDocuments(documents, await copy.documents())
  if (copy.lastToken < original.lastToken) differences.push('fencing tokens would fall')
  const reports: PoolReport[] = []
  const others = new Map((await copy.pools()).map((pool) => [pool.name, pool]))
  let done = 0
  const progressOfPool: Progress = (keys) => {
    progress((done += keys))
  }
  for (const pool of pools) {
    const other = others.get(pool.name)
    others.delete(pool.name)
    const mine = await digestOf(original.keys(pool), progressOfPool)
    reports.push({ name: pool.name, keys: mine.keys, states: mine.states })
    if (other === undefined) {
      differences.push(`pool ${pool.name} is missing`)
      continue
    }
    if (!isDeepStrictEqual({ ...pool.policy }, { ...other.policy }))
      differences.push(`pool ${pool.name} has another policy`)
    const its = await digestOf(copy.keys(other), progressOfPool)
    for (const [place, digest] of mine.parts.entries()) {
      if (digest === its.parts[place] || differences.length >= MAX_TOLD) continue
      const found = await differingKeys(original.keys(pool), copy.keys(other), place)
      differences.push(...found.map((what) => `pool ${pool.name}: ${what}`))
    }
  }
  for (const name of others.keys()) differences.push(`pool ${name} should not be there`)
  return { differences: differences.slice(0, MAX_TOLD), pools: reports }
}

function differingDocuments(
  documents: ReadonlyMap<string, string>,
  others: ReadonlyMap<string, string>,
): string[] {
  const names = new Set([...documents.keys(), ...others.keys()])
  const differing = [...names].filter((name) => documents.get(name) !== others.get(name))
  return differing.map((name) => `what is kept as ${name} is not the same`)
}

/** Keys apart by the first byte of their ids, so that where two pools differ not all of them must be gone through. */
const PARTS = 256

interface Digest {
  keys: number
  states: PoolReport['states']
  /** Of each part the sum of what its keys come to: in whatever order, it is the same. */
  parts: bigint[]
}

async function digestOf(
  pages: AsyncIterable<readonly CopiedKey[]>,
  progress: Progress,
): Promise<Digest> {
  const states = { available: 0, leased: 0, cooling: 0, disabled: 0 }
  const parts = Array.from({ length: PARTS }, () => 0n)
  let count = 0
  for await (const keys of pages) {
    for (const key of keys) {
      states[key.state]++
      const hash = createHash('sha256').update(textOf(key)).digest('hex')
      parts[partOf(key)]! += BigInt(`0x${hash}`)
    }
    count += keys.length
    progress(keys.length)
  }
  return { keys: count, states, parts }
}

function partOf({ keyId }: CopiedKey): number {
  return parseInt(keyId.slice(0, 2), 16)
}

const KEY_FIELDS = [
  ...['keyId', 'state', 'createdAt', 'keepAliveAt', 'expiresAt', 'until', 'fencingToken'],
  ...['endReason', 'failures', 'hasOwnLifetime', 'disabled', 'disabledReason', 'name', 'metadata'],
] as (keyof CopiedKey)[]

/** All that the key is, by the name of each part. */
function partsOf(key: CopiedKey): [string, unknown][] {
  const { value, lease } = key
  return [
    ...KEY_FIELDS.map((field): [string, unknown] => [field, key[field]]),
    ['value', value && [value.sealed, value.digest]],
    ['leaseId', lease?.leaseId],
    ['holder', lease?.holder],
    ['grantedAt', lease?.grantedAt],
    ['ttlMs', lease?.ttlMs],
    ['lostCooldownMs', lease?.lostCooldownMs],
  ]
}

function textOf(key: CopiedKey): string {
  return JSON.stringify(partsOf(key).map(([, part]) => part))
}

async function differingKeys(
  pages: AsyncIterable<readonly CopiedKey[]>,
  otherPages: AsyncIterable<readonly CopiedKey[]>,
  part: number,
): Promise<string[]> {
  const mine = await keysOfPart(pages, part)
  const its = await keysOfPart(otherPages, part)
  const told: string[] = []
  for (const [keyId, key] of mine) {
    const other = its.get(keyId)
    its.delete(keyId)
    const shown = `key ${keyId.slice(0, SHOWN_ID)}…`
    if (other === undefined) told.push(`${shown} is missing`)
    else if (textOf(key) !== textOf(other)) {
      const others = new Map(partsOf(other))
      const differing = partsOf(key).filter(
        ([name, value]) => !isDeepStrictEqual(value, others.get(name)),
      )
      told.push(`${shown} has another ${differing.map(([name]) => name).join(', ')}`)
    }
  }
  for (const keyId of its.keys()) told.push(`key ${keyId.slice(0, SHOWN_ID)}… should not be there`)
  return told
}

async function keysOfPart(
  pages: AsyncIterable<readonly CopiedKey[]>,
  part: number,
): Promise<Map<string, CopiedKey>> {
  const found = new Map<string, CopiedKey>()
  for await (const keys of pages) {
    for (const key of keys) if (partOf(key) === part) found.set(key.keyId, key)
  }
  return found
}
