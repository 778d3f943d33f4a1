/**
 * The server of the storm benchmark: the parts of `serve --memory`, put together here so that a million
 * keys can be given deadlines that fill one second exactly, and so that its sweeper can be watched.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { SystemClock } from '../src/clock.ts'
import { isRefusal } from '../src/engine/operations.ts'
import { HttpServer } from '../src/http/server.ts'
import { Log } from '../src/log.ts'
import { SystemRandom } from '../src/random.ts'
import { Access } from '../src/service/access.ts'
import { DEFAULT_POOL } from '../src/service/default-pool.ts'
import { Orchestrator } from '../src/service/orchestrator.ts'
import { KEY_BYTES } from '../src/service/vault.ts'
import { EmbeddedStore } from '../src/store/embedded/embedded-store.ts'
import type { StoreEvents } from '../src/store/store.ts'
import { answerParent } from './child.ts'
import { LIMITS, POLICY } from './workload.ts'

const STORM_MS = 1000
const CREATED_AT_A_TIME = 1000
const DELAY_RESOLUTION_MS = 1

const clock = new SystemClock()
/** When the last key of the storm dies. */
let until = Infinity
/** How many ms after that all of them were gone. */
const cleared = Promise.withResolvers<number>()
/** How far the oldest deadline that was not worked off ever lay in the past. */
let latestMs = 0
let delay: ReturnType<typeof monitorEventLoopDelay>

function openStore(events: StoreEvents): EmbeddedStore {
  return EmbeddedStore.inMemory(LIMITS, clock, new SystemRandom(), {
    ...events,
    // The store says when the next deadline falls due; in a storm that instant is past.
    wakeAt: (instant) => {
      const now = clock.now()
      latestMs = Math.max(latestMs, now - instant)
      if (instant > until) cleared.resolve(now - until)
      events.wakeAt(instant)
    },
  })
}

const tasks = {
  /**
   * Starts with `survivors` long-lived keys and `mortals` that die within `STORM_MS`, from `inMs` on.
   * Returns when that is.
   */
  async start(survivors: number, mortals: number, inMs: number) {
    // No lease ends before its key dies, so that a draw's answer tells the death of the key.
    const policy = { ...POLICY, leaseTtlMs: POLICY.maxLeaseTtlMs }
    const orchestrator = await Orchestrator.start(clock, openStore, {
      policy,
      masterKeys: () => [Buffer.alloc(KEY_BYTES)],
      random: new SystemRandom(),
    })
    const create = async (count: number, lifetimeMs: number): Promise<void> => {
      const [created] = await orchestrator.run(DEFAULT_POOL, [{ op: 'create', count, lifetimeMs }])
      if (isRefusal(created)) throw new Error(created.code)
    }
    const from = clock.now() + inMs
    let lastDeath = from
    for (let made = 0; made < mortals; made += CREATED_AT_A_TIME) {
      const diesAt = from + Math.floor((made / mortals) * STORM_MS)
      await create(CREATED_AT_A_TIME, diesAt - clock.now())
      lastDeath = diesAt
      await clock.yield()
    }
    until = lastDeath
    for (let made = 0; made < survivors; made += CREATED_AT_A_TIME) {
      await create(CREATED_AT_A_TIME, POLICY.maxLeaseTtlMs)
    }
    const access = await Access.open(orchestrator, clock, new SystemRandom())
    const server = await HttpServer.create(orchestrator, access, new Log('error', console.error))
    return { port: await server.listen('127.0.0.1', 0), from, until }
  },

  cleared: () => cleared.promise,

  watch(): void {
    latestMs = 0
    delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
    delay.enable()
  },

  /** Of the time since `watch`; the delays are without the resolution of the timer behind them. */
  seen() {
    delay.disable()
    return {
      latestMs,
      delayP99: delay.percentile(99) / 1e6 - DELAY_RESOLUTION_MS,
      delayMax: delay.max / 1e6 - DELAY_RESOLUTION_MS,
    }
  },
}

export type StormServerTasks = typeof tasks
answerParent(tasks)
