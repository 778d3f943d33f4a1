/** An attack in a thread of its own: good clients in the same one would wait for the attackers' own work. */
import { once } from 'node:events'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { ATTACKS, type Attack, attackWith, type Outcome } from './attacks.ts'

interface Order {
  name: string
  port: number
  connections: number
  forMs: number
  seed: number
}

export async function attackFromThread(
  { name }: Attack,
  port: number,
  connections: number,
  forMs: number,
  seed: number,
): Promise<Outcome> {
  const order: Order = { name, port, connections, forMs, seed }
  const thread = new Worker(new URL(import.meta.url), { workerData: order })
  const [outcome] = (await once(thread, 'message')) as [Outcome]
  return outcome
}

if (parentPort !== null) {
  const { name, port, connections, forMs, seed } = workerData as Order
  const attack = ATTACKS.find((one) => one.name === name)!
  const damage = await attackWith(attack, port, connections, forMs, seed)
  const { answers, wrong } = damage
  parentPort.postMessage({ connections: damage.connections, answers, wrong })
}
