import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { SqliteJournal } from '../../src/store/embedded/sqlite/sqlite-journal.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import { histories } from './history.ts'
import type { OpenStore } from './harness.ts'

const ROOT = mkdtempSync(join(tmpdir(), 'token-orchestrator-'))
const opened: Promise<EmbeddedStore>[] = []

after(async () => {
  // Where a test has failed its store is still open, and would keep the process from ending.
  const stores = await Promise.allSettled(opened)
  for (const store of stores) if (store.status === 'fulfilled') await store.value.close()
  rmSync(ROOT, { recursive: true })
})

const open: OpenStore = (limits, clock, random, events) => {
  const directory = join(ROOT, String(opened.length))
  const store = EmbeddedStore.open(limits, clock, random, events, (journalEvents) =>
    SqliteJournal.open(
      { directory, sync: true, history: (limits.history ?? null) !== null },
      journalEvents,
    ),
  )
  opened.push(store)
  return store
}

// Each run opens a database: a few are enough, for the same code runs on the simulated disk.
conformance('durable store', open, { modelRuns: 20 })
eventsAndStorms('durable store', open)
histories('durable store', open)
