let lastSecond = NaN
let lastText = ''

/** An instant (ms since the epoch) in ISO 8601. Most of a burst share the second, which is kept. */
export function iso(instant: number): string {
  const ms = instant % 1000
  const second = instant - ms
  if (second !== lastSecond) {
    lastSecond = second
    lastText = new Date(second).toISOString().slice(0, 20)
  }
  return `${lastText}${String(ms).padStart(3, '0')}Z`
}

export function isoOrNull(instant: number | null): string | null {
  return instant === null ? null : iso(instant)
}
