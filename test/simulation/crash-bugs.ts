/** Each promise of the store broken once, and how soon the crash simulation finds it. */
import { simulateCrashes, SMALL } from './crash-simulation.ts'
import { type Copies, type Edit, SMALL_SLICES } from './store-copies.ts'

const STORE = 'store/embedded/embedded-store.ts'
const GROUP_COMMIT = 'store/embedded/group-commit.ts'
const ORCHESTRATOR = 'service/orchestrator.ts'
const WAITERS = 'service/waiters.ts'
const CHUNKS = 'store/embedded/chunks.ts'

/** A promise, and how to break it. */
export interface Bug extends Edit {
  promise: string
}

export const BUGS: readonly Bug[] = [
  {
    promise: 'an answer waits for the disk',
    file: STORE,
    find: 'if (saved !== null) await saved',
    replace: 'saved?.catch(() => undefined)',
  },
  {
    promise: 'so does a look at what others have changed',
    file: GROUP_COMMIT,
    find: 'return this.#underWay.at(-1)?.committed ?? null',
    replace: 'return null',
  },
  {
    promise: 'a look waits for the last of all that are under way',
    file: GROUP_COMMIT,
    find: 'this.#underWay.at(-1)?.committed',
    replace: 'this.#underWay[0]?.committed',
  },
  {
    promise: 'a group of nothing but time waits until nothing else is under way',
    file: GROUP_COMMIT,
    find: '(isOfTime || this.#isOfTime)',
    replace: '(this.#isOfTime)',
  },
  {
    promise: 'others wait until nothing of nothing but time is under way',
    file: GROUP_COMMIT,
    find: '(isOfTime || this.#isOfTime)',
    replace: '(isOfTime)',
  },
  {
    promise: 'the number of a group of nothing but time is used again',
    file: GROUP_COMMIT,
    find: 'if (this.#underWay.length === 0) this.#sequence = this.#journal.sequence',
    replace: '',
  },
  {
    promise: 'groups that fail together are one failure',
    file: GROUP_COMMIT,
    find: '    if (this.#failure !== null) return // of',
    replace: '    // of',
  },
  {
    promise: 'a change during a commit is in the next group',
    file: GROUP_COMMIT,
    find: '        ticket.resolve()\n',
    replace: '        ticket.resolve()\n        this.#unsaved.take()\n',
  },
  {
    promise: 'what was handed over is not touched any more',
    file: 'engine/unsaved.ts',
    find: 'this.#entries = new Map()\n',
    replace: 'this.#entries.clear()\n',
  },
  {
    promise: 'what time has done is not shown before that time is on record',
    file: GROUP_COMMIT,
    find: ' || lapsedAt > this.#instant',
    replace: '',
  },
  {
    promise: 'a rest that was over together with its lease is on record',
    file: 'engine/pool.ts',
    find: 'this.#lapsed(rest <= now ? rest : until)',
    replace: 'this.#lapsed(until)',
  },
  {
    promise: 'a death that was found at the start is on record before it is shown',
    file: 'engine/engine.ts',
    find: '    this.#tables.unsaved?.lapsed(rows.expiresAt(slot))\n',
    replace: '',
  },
  {
    promise: 'time goes on from the instant on record',
    file: STORE,
    find: 'this.#clock.startFrom(journal.instant)',
    replace: '',
  },
  {
    promise: 'fencing tokens rise over a restart',
    file: 'engine/engine.ts',
    find: 'this.#tables.sawToken(rows.token(slot))',
    replace: '',
  },
  {
    promise: 'the last group is read',
    file: 'store/embedded/recover.ts',
    find: '} else {\n        const { sequence, records } = saved',
    replace:
      '} else if (saved.sequence < journal.sequence) {\n        const { sequence, records } = saved',
  },
  {
    promise: 'no group is cut off that a chunk needs',
    file: CHUNKS,
    find: 'latest : this.#behindSince[oldest]!',
    replace: 'latest : Math.min(latest, this.#behindSince[oldest]! + 1)',
  },
  {
    promise: 'a chunk is of the time of its group',
    file: GROUP_COMMIT,
    find: '      chunks,\n',
    replace: '      chunks: [this.late ?? [], (this.late = chunks)][0],\n',
  },
  {
    promise: 'a chunk that was written falls behind again',
    file: CHUNKS,
    find: '      this.#behindSince[number] = 0\n',
    replace: '',
  },
  {
    promise: 'after a restart it is known which chunks are behind',
    file: 'store/embedded/recover.ts',
    find: '(slot) => chunks.restoreChange(slot, sequence)',
    replace: '() => true',
  },
  {
    promise: 'a key that was deleted stays so',
    file: 'engine/pool.ts',
    find: '} else {\n      this.#tables.unsaved?.add(slot)',
    replace: '} else {',
  },
  {
    promise: 'a pool that was removed stays so',
    file: 'engine/engine.ts',
    find: 'this.#note(pool, true)',
    replace: '',
  },
  {
    promise: 'a pool gets no keys of the one that had its number before',
    file: 'engine/pool.ts',
    find: '      this.#tables.unsaved?.add(slot)\n      this.#forget(slot)',
    replace: '      this.#forget(slot)',
  },
  {
    promise: 'a new policy is kept',
    file: 'engine/engine.ts',
    find: '      pool.policy = policy\n      this.#note(pool)',
    replace: '      pool.policy = policy',
  },
  {
    promise: 'why a key is disabled is kept',
    file: 'engine/tables.ts',
    find: 'this.#save(`reason/${slot}`, reason)',
    replace: '',
  },
  {
    promise: 'values, names and metadata are kept',
    file: 'engine/details.ts',
    find: 'this.#save(entryName(slot), isNone ? null : JSON.stringify(detail))',
    replace: '',
  },
  {
    promise: 'holders are kept',
    file: 'engine/holders.ts',
    find: 'this.#save(`holder/${number}`, JSON.stringify(saved))',
    replace: 'void saved',
  },
  {
    promise: 'a key has nothing of the one that had its slot before',
    file: 'engine/unsaved.ts',
    find: 'this.#needless.set(slot, [name])',
    replace: 'return',
  },
  {
    promise: 'after a full disk the store comes back by itself',
    file: STORE,
    find: "if (failure.code === 'storage_full') this.#reload(journal)",
    replace: "if (failure.code === 'storage_full') return",
  },
  {
    promise: 'after a full disk nothing is left of what was not saved',
    file: GROUP_COMMIT,
    find: '        this.#fail(error)\n',
    replace:
      '        this.#underWay.shift()\n        this.#sequence--\n        ticket.reject(storeFailure(error))\n',
  },
  {
    promise: 'after a full disk nobody is told of what was not saved',
    file: STORE,
    find: '    this.#changes = []\n    this.#engine = this.#newEngine()',
    replace: '    this.#engine = this.#newEngine()',
  },
  {
    promise: 'while the state is read anew, everybody waits',
    file: STORE,
    find: '    if (this.#reloading !== null) await this.#reloading\n    const run = new Run',
    replace: '    const run = new Run',
  },
  {
    promise: 'who began before the state was read anew does not go on',
    file: STORE,
    find: "      if (engine !== this.#engine) throw new StoreFailure('storage_full')\n",
    replace: '',
  },
  {
    promise: 'whether there is room is known when the state was read anew',
    file: STORE,
    find: 'this.#engine.frozen = this.#hasRoom ? null : REFUSED.storage_full\n',
    replace: '\n',
  },
  {
    promise: 'who was granted leases before there was no room is given them',
    file: 'engine/engine.ts',
    find: "operation.op !== 'acquire' || leases.length === 0",
    replace: 'leases.length >= 0',
  },
  {
    promise: 'keys that wait for room to be drained are not counted',
    file: STORE,
    find: 'this.#engine.stateCounts()',
    replace: 'tables.stateCounts',
  },
  {
    promise: 'changes are told when they are on disk',
    file: STORE,
    find: '        return () => {\n          this.#tell(changes)\n',
    replace: '        this.#tell(changes)\n        return () => {\n',
  },
  {
    promise: 'what a request came to is remembered in the commit that did it',
    file: ORCHESTRATOR,
    find: '[operation, ...(remember ? [remember] : [])])\n',
    replace: '[operation])\n      if (remember) await this.#run(pool, [operation, remember])\n',
  },
  {
    promise: 'what a request came to is remembered after a restart',
    file: 'engine/tables.ts',
    find: 'this.#save(`request/${key}`, memory && JSON.stringify({ key, ...memory }))',
    replace: 'if (memory === null) this.#save(`request/${key}`, null)',
  },
  {
    promise: 'that ten minutes are over is on record before a request is a new one',
    file: 'engine/idempotency.ts',
    find: '      if (memory !== undefined) this.#lapsed(memory.until)\n',
    replace: '',
  },
  {
    promise: 'a request is remembered for ten minutes, over a restart too',
    file: 'engine/idempotency.ts',
    find: 'this.#memories.set(key, memory)\n  }\n\n  restored',
    replace: 'this.#memories.set(key, { ...memory, until: memory.until - 1 })\n  }\n\n  restored',
  },
  {
    promise: 'a repeat is asked what it was before it is done',
    file: 'service/requests.ts',
    find: "if ('results' in recalled! && recalled.results !== null) return recalled.results\n",
    replace: '',
  },
  {
    promise: 'a repeat with another body is refused',
    file: 'engine/idempotency.ts',
    find: 'return memory.body === body ? memory.references : REFUSED.idempotency_mismatch',
    replace: 'return memory.references',
  },
  {
    promise: 'a repeat does nothing while the first is under way',
    file: 'service/requests.ts',
    find: 'this.#underWay.add(key)',
    replace: '',
  },
  {
    promise: 'the oldest waiter is served first',
    file: WAITERS,
    find: '[...queue.waiting.values().take(SERVED_AT_A_TIME)]',
    replace: '[...queue.waiting].reverse()',
  },
  {
    promise: 'no draw overtakes who waits',
    file: WAITERS,
    find: 'return this.#queues.size > 0 && this.#queues.has(pool)',
    replace: 'return this.#queues.size > 1 && this.#queues.has(pool)',
  },
  {
    promise: 'who hangs up holds nothing',
    file: WAITERS,
    find: 'else if (waiter.remember === null) this.#giveBack(pool, acquired)',
    replace: '',
  },
  {
    promise: 'nobody waits while there is a key',
    file: WAITERS,
    find: 'else queue.hinted = true // there may be something for another too',
    replace: '',
  },
  {
    promise: 'a hint that comes while somebody is served is not lost',
    file: WAITERS,
    find: '      queue.hinted = false\n      const exhausted = await this.#serveOldest(pool, queue)\n',
    replace:
      '      const exhausted = await this.#serveOldest(pool, queue)\n      queue.hinted = !exhausted\n',
  },
  {
    promise: 'who waited is told when his time is over',
    file: WAITERS,
    find: 'place: Infinity, tell: timeOut',
    replace: 'place: 0, tell: () => undefined',
  },
  {
    promise: 'who waits is told when the disk fails what he was given',
    file: WAITERS,
    find: 'for (const waiter of served) if (!waiter.done) waiter.fail(error as Error)',
    replace: 'for (const waiter of served) queue.waiting.delete(waiter)\n      void error',
  },
  {
    promise: 'after a restart somebody sees to what falls due',
    file: STORE,
    find: '    this.#announced = NEVER\n    this.#announceDue()\n',
    replace: '    this.#announced = NEVER\n',
  },
]

/** Each bug is found within so many seeds. */
export const SEEDS_A_BUG = 300

/** The first seed that finds the bug, and what it has against it; null if none does. */
export async function findBug(copies: Copies, bug: Bug): Promise<string | null> {
  const sources = await copies.load([...SMALL_SLICES, bug])
  for (let seed = 1; seed <= SEEDS_A_BUG; seed++) {
    try {
      await simulateCrashes(sources, { seed, ...SMALL })
    } catch (error) {
      return `seed ${seed}: ${String((error as Error).cause).split('\n')[0]!}`
    }
  }
  return null
}
