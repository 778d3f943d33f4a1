/** Time as the client needs it. Tests use a virtual one. */
export interface ClientClock {
  /** In ms from anywhere, monotonic: a step of the wall clock changes nothing. */
  now(): number
  /** Calls back once, not before that. Returns what cancels it. */
  callAfter(delayMs: number, callback: () => void): () => void
}

export const systemClock: ClientClock = {
  now: () => performance.now(),
  callAfter(delayMs, callback) {
    const dueAt = performance.now() + delayMs
    // A timer may come round a fraction of a ms early.
    const look = (): void => {
      const leftMs = dueAt - performance.now()
      if (leftMs <= 0) callback()
      else timeout = setTimeout(look, Math.min(leftMs + 1, LONGEST_TIMEOUT_MS))
    }
    let timeout = setTimeout(look, Math.min(delayMs, LONGEST_TIMEOUT_MS))
    return () => {
      clearTimeout(timeout)
    }
  },
}

/** Longer ones come at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** @throws the signal's reason when it is aborted. */
export function sleep(clock: ClientClock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      cancel()
      reject(signal!.reason as Error)
    }
    const cancel = clock.callAfter(ms, () => {
      signal?.removeEventListener('abort', stop)
      resolve()
    })
    if (signal?.aborted === true) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  })
}

/** When this turn of the event loop has done what it has to do, or nearly so where nothing better is known. */
export const afterTurn: (callback: () => void) => unknown =
  'setImmediate' in globalThis ? setImmediate : queueMicrotask
