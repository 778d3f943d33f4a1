/** Where the engine gets its randomness: unpredictable in service, seeded in tests. */
export interface Random {
  /** A uniform integer in [0, 2^32). */
  uint32(): number
}

/** A uniform integer in [0, bound), 1 <= bound <= 2^31: as many bits as it takes, until they fit. */
export function below(random: Random, bound: number): number {
  const mask = 0xffffffff >>> Math.clz32(bound)
  for (;;) {
    const drawn = (random.uint32() & mask) >>> 0
    if (drawn < bound) return drawn
  }
}
