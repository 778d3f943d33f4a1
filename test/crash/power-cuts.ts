/** Cuts the power of the server's disk at random moments under load. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { SeededRandom } from '../support/seeded-random.ts'
import type { PowerDisk } from './power-disk.ts'
import { type Durability, type Settings, TestedServer } from './tested-server.ts'

const LOAD_MS = { least: 200, more: 600 }
const START_MS = 600
const TERMS = { keyLifetimeMs: 3_600_000, leaseTtlMs: 60_000 }

export interface PowerCutOptions {
  /** The first one comes while the server starts. */
  cuts: number
  seed: number
  disk: PowerDisk
  /** On that disk. */
  dataDir: string
  durability: Durability
  signal?: AbortSignal
  /** Called when all is checked that was acknowledged before a cut. */
  onCut?: (cuts: number, server: TestedServer) => void
}

/** Returns the server with its log, ended. */
export async function powerCuts(options: PowerCutOptions): Promise<TestedServer> {
  const { cuts, seed, disk, dataDir, durability, signal, onCut } = options
  const settings: Settings = { ...TERMS, durability }
  const random = new SeededRandom(seed)
  await using server = new TestedServer(dataDir, random)
  const cutPower = async (): Promise<void> => {
    // The machine stops at once. A sync that is under way while XFS shuts down may report success and be
    // lost, but then nobody may be told of it.
    server.freeze()
    await disk.cut()
    assert.equal(await server.kill(), null, 'the server has ended by itself')
  }
  server.launch(settings)
  await sleep(random.below(START_MS)) // while it makes the directory
  await cutPower()
  for (let cut = 1; ; cut++) {
    signal?.throwIfAborted()
    await disk.restore()
    await server.start(settings)
    await server.check()
    onCut?.(cut, server)
    if (cut === cuts) break
    await server.load(LOAD_MS.least + random.below(LOAD_MS.more), cutPower)
  }
  await server.stop()
  return server
}
