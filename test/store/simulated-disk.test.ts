import { test } from 'node:test'
import fc from 'fast-check'
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { agreesWithModel } from '../support/model-commands.ts'
import { SimulatedDisk } from '../support/simulated-disk.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import { type OpenStore, StoreSubject } from './harness.ts'

const RESTART_RUNS = 500

function openOn(disk: SimulatedDisk): OpenStore {
  return (limits, clock, random, events) =>
    EmbeddedStore.open(limits, clock, random, events, (journalEvents) => disk.open(journalEvents))
}

const open: OpenStore = (...rest) => openOn(new SimulatedDisk())(...rest)

conformance('store on a simulated disk', open)
eventsAndStorms('store on a simulated disk', open)

test('a store that is killed again and again answers like one that goes on', async () => {
  const agrees = agreesWithModel((seed) => new StoreSubject(openOn(new SimulatedDisk()), seed, 0.2))
  await fc.assert(agrees, { numRuns: RESTART_RUNS })
})
