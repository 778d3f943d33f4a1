import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import type { StoreEvents } from '../store/store.ts'

/** A start that takes longer tells how far it has come, as often. */
const PROGRESS_MS = 1000

/** Hears how far a store has come with reading what was saved, each time from 0 on, and logs it now and then. */
export function logProgress(clock: Clock, log: Log): NonNullable<StoreEvents['recovering']> {
  let toldAt = 0
  return (read, built) => {
    if (read > 0 && clock.elapsedMs() < toldAt + PROGRESS_MS) return
    if (read > 0) log.info('reading what was saved', { keysRead: read, keysInPlace: built })
    toldAt = clock.elapsedMs()
  }
}
