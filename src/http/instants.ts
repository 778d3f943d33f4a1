/** A prime, so that now, now + TTL and the like seldom share a place. */
const PLACES = 61
const seconds = new Float64Array(PLACES).fill(NaN)
const texts: string[] = Array<string>(PLACES).fill('')

/** An instant (ms since the epoch) in ISO 8601. Most of a burst share their seconds, which are kept. */
export function iso(instant: number): string {
  const ms = instant % 1000
  const second = instant - ms
  const place = (second / 1000) % PLACES
  if (seconds[place] !== second) {
    seconds[place] = second
    texts[place] = new Date(second).toISOString().slice(0, 20)
  }
  return `${texts[place]!}${String(ms).padStart(3, '0')}Z`
}

export function isoOrNull(instant: number | null): string | null {
  return instant === null ? null : iso(instant)
}
