import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts'
import { conformance } from './conformance.ts'
import { eventsAndStorms } from './events.ts'
import { histories } from './history.ts'
import type { OpenStore } from './harness.ts'

const open: OpenStore = (limits, clock, random, events) =>
  EmbeddedStore.inMemory(limits, clock, random, events)

conformance('embedded store', open)
eventsAndStorms('embedded store', open)
histories('embedded store', open)
