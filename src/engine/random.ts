/** Where the engine gets its randomness: unpredictable in service, seeded in tests. */
export interface Random {
  /** A uniform integer in [0, 2^32). */
  uint32(): number
}

/** A uniform integer in [0, bound), 1 <= bound <= 2^32, without the bias of a bare modulo. */
export function below(random: Random, bound: number): number {
  const limit = 2 ** 32 - (2 ** 32 % bound)
  for (;;) {
    const drawn = random.uint32()
    if (drawn < limit) return drawn % bound
  }
}
