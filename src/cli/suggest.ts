/** A typo is further from what was meant than this only by chance. */
const FARTHEST = 2

/** ": did you mean ...?" where a word is near enough to what was written, else nothing. */
export function suggestion(word: string, known: Iterable<string>, before = ''): string {
  let nearest: string | null = null
  let least = FARTHEST + 1
  for (const candidate of known) {
    const distance = candidate.startsWith(word) && word.length > 1 ? 1 : distanceOf(word, candidate)
    if (distance >= least || distance >= candidate.length) continue
    nearest = candidate
    least = distance
  }
  return nearest === null ? '' : `: did you mean "${before}${nearest}"?`
}

/** Letters to change, add, drop or swap with the next (optimal string alignment). */
function distanceOf(a: string, b: string): number {
  let older: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row[j] = Math.min(last[j]! + 1, row[j - 1]! + 1, change)
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (isSwap) row[j] = Math.min(row[j]!, older[j - 2]! + 1)
    }
    older = last
    last = row
  }
  return last[b.length]!
}
