/** Hostile clients beside good ones: `npm run hostile -- --seconds 20 --seed 1`. */
import { parseArgs } from 'node:util'
import { ATTACKS } from './attacks.ts'
import { tryAttack } from './trial.ts'

const MOST_RSS = 512

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
})
const [seconds, seed] = [Number(values.seconds), Number(values.seed)]
console.log(`seed ${seed}, ${seconds} s each`)
for (const attack of ATTACKS) {
  const trial = await tryAttack(attack, attack.sizes[1], seconds * 1000, seed)
  const { connections, answers, wrong, good, calmMs, disturbedMs, rss } = trial
  const told = [...answers].map(([status, times]) => `${times} x ${status}`).join(', ')
  const ratio = (disturbedMs / calmMs).toFixed(1)
  const rate = Math.round(connections / seconds)
  console.log(`${attack.name}, ${attack.sizes[1]} at a time: ${rate} connections a second, ${told}`)
  console.log(
    `  ${good} good requests, p99 ${disturbedMs.toFixed(1)} ms, ${ratio} x the undisturbed; ` +
      `${Math.round(rss)} MB; ${wrong.length} wrong answers`,
  )
  for (const one of wrong.slice(0, 3)) console.log(one)
  if (wrong.length > 0 || rss > MOST_RSS) process.exitCode = 1
}
