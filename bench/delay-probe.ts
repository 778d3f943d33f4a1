/** Preloaded into a server: tells its parent for how long the event loop has stood still, at the longest. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

const RESOLUTION_MS = 1

if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  process.on('message', (question) => {
    const longestMs = Math.max(0, delay.max / 1e6 - RESOLUTION_MS)
    if (question === 'begin') delay.reset()
    process.send!(longestMs)
  })
  process.channel!.unref()
}
