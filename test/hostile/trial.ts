/** Good clients of a real server while it is attacked, how long they wait, and how much memory it takes. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Connection } from '../support/connection.ts'
import { startServe } from '../support/command.ts'
import { attackFromThread } from './attack-thread.ts'
import type { Attack, Outcome } from './attacks.ts'

const GOOD_CLIENTS = 4
const KEYS = 2000
const LOOK_MS = 50

export interface Trial extends Outcome {
  /** Requests of good clients while it was attacked. */
  good: number
  /** p99 of good clients, without the attack and with it. */
  calmMs: number
  disturbedMs: number
  /** The most that the server had in memory, in MB. */
  rss: number
}

export async function tryAttack(
  attack: Attack,
  connections: number,
  forMs: number,
  seed: number,
): Promise<Trial> {
  await using served = await startServe(['--key-lifetime=1h'])
  const { port, command } = served
  const client = new Connection(port)
  assert.equal((await client.ask('POST', '/keys', { count: KEYS }))?.status, 201)
  const calm = await goodClients(
    port,
    () => new Promise((resolve) => setTimeout(resolve, forMs / 3)),
  )
  let rss = 0
  const look = setInterval(() => (rss = Math.max(rss, rssOf(command.pid))), LOOK_MS)
  let outcome: Outcome
  const disturbed = await goodClients(port, async () => {
    outcome = await attackFromThread(attack, port, connections, forMs, seed)
  })
  clearInterval(look)
  const after = await client.ask('GET', '/metrics')
  assert.equal(after?.status, 200)
  client.close()
  const trial = { good: disturbed.length, calmMs: p99(calm), disturbedMs: p99(disturbed), rss }
  return Object.assign(outcome!, trial)
}

/** Draws and unblocks until it is over. Returns how long each request took. */
async function goodClients(port: number, meanwhile: () => Promise<void>): Promise<number[]> {
  const tookMs: number[] = []
  let isOver = false
  const clients = Array.from({ length: GOOD_CLIENTS }, async () => {
    const connection = new Connection(port)
    const ask = async (method: string, path: string): Promise<string> => {
      const sentAt = performance.now()
      const answer = await connection.ask(method, path)
      tookMs.push(performance.now() - sentAt)
      const isShed = answer?.status === 503 && answer.text.includes('"overloaded"')
      assert(answer?.status === 200 || isShed, `${method} ${path}: ${answer?.text}`)
      return isShed ? '' : answer.text
    }
    while (!isOver) {
      const drawn = await ask('GET', '/keys')
      if (drawn !== '') await ask('PUT', `/keys/${(JSON.parse(drawn) as { keyId: string }).keyId}`)
    }
    connection.close()
  })
  await Promise.race([meanwhile(), Promise.all(clients)]) // a client that fails ends it at once
  isOver = true
  await Promise.all(clients)
  return tookMs
}

function p99(samples: number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length * 0.99)]!
}

function rssOf(pid: number): number {
  const kilobytes = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]
  return Number(kilobytes) / 1024
}
