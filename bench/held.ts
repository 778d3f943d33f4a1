/** Keys that somebody holds, over all connections of a load: each goes to one at most. */
export class Held {
  readonly #keyIds = new Set<string>()

  take(keyIds: readonly string[]): void {
    for (const keyId of keyIds) {
      if (this.#keyIds.has(keyId)) throw new Error(`two hold the key ${keyId}`)
      this.#keyIds.add(keyId)
    }
  }

  /** Before it is sent: from then on others may get them. */
  giveUp(keyIds: readonly string[]): void {
    for (const keyId of keyIds) this.#keyIds.delete(keyId)
  }
}
