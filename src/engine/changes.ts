/** What has happened to a key, by number; the names are those of the events and metrics. */
export const ChangeKind = {
  created: 0,
  leased: 1,
  renewed: 2,
  released: 3,
  unblocked: 4,
  revoked: 5,
  lease_expired: 6,
  kept_alive: 7,
  updated: 8,
  deleted: 9,
  key_expired: 10,
} as const

export type ChangeName = keyof typeof ChangeKind
export type ChangeKind = (typeof ChangeKind)[ChangeName]
export const CHANGE_NAMES = Object.keys(ChangeKind) as ChangeName[]

/** How often what has happened. */
export type Tally = Partial<Record<ChangeName, number>>

export interface Change {
  kind: ChangeName
  pool: string
  keyId: string
  /** Of the key's current or last lease; 0 if its slot has seen none. */
  fencingToken: number
}
