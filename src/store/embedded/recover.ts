import type { Clock } from '../../clock.ts'
import type { Engine } from '../../engine/engine.ts'
import { RecordError } from '../../engine/records.ts'
import { Recovery } from '../../engine/recovery.ts'
import type { StoreEvents } from '../store.ts'
import { Chunks } from './chunks.ts'
import { type Journal, JournalError } from './journal.ts'

/** Slots built before others have their turn. */
const SLOTS_A_TURN = 10_000

/**
 * Brings what the journal holds into an engine that is empty. Returns which chunks lack what.
 * @throws JournalError
 */
export async function recover(
  engine: Engine,
  journal: Journal,
  clock: Clock,
  events: StoreEvents,
): Promise<Chunks> {
  const recovery = new Recovery(engine)
  const chunks = new Chunks(engine.tables)
  const now = clock.now()
  events.recovering?.(0, 0)
  try {
    for await (const saved of journal.read()) {
      if (saved.kind === 'entry') {
        recovery.readEntry(saved.name, saved.value)
      } else if (saved.kind === 'chunk') {
        recovery.readRecords(saved.records)
        chunks.restoreChunk(saved.number, saved.sequence)
      } else if (saved.kind === 'history') {
        recovery.readHistory(saved.part)
      } else {
        const { sequence, records } = saved
        recovery.readRecords(records, (slot) => chunks.restoreChange(slot, sequence))
        chunks.restoreGroup(records.byteLength)
      }
      events.recovering?.(recovery.slots, 0)
    }
    while (!recovery.build(now, SLOTS_A_TURN)) {
      events.recovering?.(recovery.slots, recovery.built)
      await clock.yield()
    }
  } catch (error) {
    if (!(error instanceof RecordError)) throw error
    throw new JournalError(
      'damaged',
      `the data contradict themselves or the limits: ${error.message}`,
    )
  }
  return chunks
}
