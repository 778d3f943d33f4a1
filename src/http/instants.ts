const DAY_MS = 86_400_000
/** A prime, and more than the days of a year: most keys die within one. */
const PLACES = 367
const days = new Float64Array(PLACES).fill(NaN)
const dates: string[] = Array<string>(PLACES).fill('')

/**
 * An instant (ms since the epoch) in ISO 8601. Dates are kept and times reckoned, for a thousand leases have
 * a thousand instants. One call with a character each leaves no parts to be joined.
 */
// prettier-ignore
export function iso(instant: number): string {
  const day = (instant / DAY_MS) | 0
  const place = day % PLACES
  if (days[place] !== day) {
    days[place] = day
    dates[place] = new Date(day * DAY_MS).toISOString().slice(0, 10)
  }
  const date = dates[place]!
  const ms = (instant - day * DAY_MS) | 0
  const seconds = (ms / 1000) | 0
  const minutes = (seconds / 60) | 0
  const hour = (minutes / 60) | 0
  const minute = minutes % 60
  const second = seconds % 60
  const milli = ms % 1000
  return String.fromCharCode(
    date.charCodeAt(0), date.charCodeAt(1), date.charCodeAt(2), date.charCodeAt(3), 45,
    date.charCodeAt(5), date.charCodeAt(6), 45, date.charCodeAt(8), date.charCodeAt(9), 84,
    digit(hour / 10), digit(hour), 58, digit(minute / 10), digit(minute), 58,
    digit(second / 10), digit(second), 46, digit(milli / 100), digit(milli / 10), digit(milli), 90,
  )
}

/** The ASCII code of the last digit of a number's whole part. */
function digit(number: number): number {
  return 48 + ((number | 0) % 10)
}

export function isoOrNull(instant: number | null): string | null {
  return instant === null ? null : iso(instant)
}
