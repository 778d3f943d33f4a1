/** Kills the server at random moments under load, starts it again, and looks whether it kept its word. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { SeededRandom } from '../support/seeded-random.ts'
import { type Settings, TestedServer } from './tested-server.ts'

const LOAD_MS = { least: 50, more: 450 }
/** Some are killed while they start, too. */
const KILLED_AT_START = 0.2
const START_MS = 400
/** 850 000 keys that die soon: so much journal (more than 32 MB) that chunks are written from then on. */
const BULK_CREATES = 85
const BULK_LIFETIME_MS = 1000

const HOUR_MS = 3_600_000
/** What the rounds are started with, in turns. */
const ROUNDS: Settings[] = [
  { durability: 'fsync', keyLifetimeMs: HOUR_MS, leaseTtlMs: 2000 },
  { durability: 'fsync', keyLifetimeMs: HOUR_MS, leaseTtlMs: 60_000 },
  { durability: 'os', keyLifetimeMs: HOUR_MS, leaseTtlMs: 2000 },
  { durability: 'fsync', keyLifetimeMs: 5000, leaseTtlMs: 1000 },
  { durability: 'os', keyLifetimeMs: 300_000, leaseTtlMs: 60_000 },
]

export interface KillLoopOptions {
  kills: number
  seed: number
  dataDir: string
  /** Whether it begins with so many keys that the journal is cut later on. */
  bulk: boolean
  /** Ends the loop before its time. */
  signal?: AbortSignal
  /** Called when all is checked that was acknowledged before a kill. */
  onCheck?: (kills: number, server: TestedServer) => void
  /** Done to the data before each start, while no server uses them. */
  betweenRuns?: (kills: number) => void
}

/** Returns the server with its log, ended. */
export async function killLoop(options: KillLoopOptions): Promise<TestedServer> {
  const { kills, seed, dataDir, bulk, signal, onCheck, betweenRuns } = options
  const random = new SeededRandom(seed)
  await using server = new TestedServer(dataDir, random)
  let killed = 0
  const kill = async (): Promise<void> => {
    assert.equal(await server.kill(), null, 'the server has ended by itself')
    killed++
  }
  const killAtStart = async (settings: Settings): Promise<void> => {
    server.launch(settings)
    await sleep(random.below(START_MS))
    await kill()
  }

  const first = { ...ROUNDS[0]!, keyLifetimeMs: BULK_LIFETIME_MS }
  await killAtStart(first) // while it makes the directory
  if (bulk) {
    await server.start(first)
    await server.makeBulk(BULK_CREATES)
    await kill()
  }
  for (let round = 0; ; round++) {
    signal?.throwIfAborted()
    const settings = ROUNDS[round % ROUNDS.length]!
    betweenRuns?.(killed)
    if (killed < kills && random.chance(KILLED_AT_START)) await killAtStart(settings)
    await server.start(settings)
    await server.check()
    onCheck?.(killed, server)
    if (killed >= kills) break
    await server.load(LOAD_MS.least + random.below(LOAD_MS.more), kill)
  }
  await server.stop()
  return server
}
