/** What one writes in an afternoon: an array of keys, those that are free filtered out of it, and a sweep by an interval. */
import { randomInt, randomUUID } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerParent } from './child.ts'

const LIFETIME_MS = 3_600_000
const LEASE_MS = 60_000
const SWEEP_MS = 1000

interface Key {
  id: string
  createdAt: number
  blockedAt: number | null
}

let keys: Key[] = []

function sweep(): void {
  const now = Date.now()
  keys = keys.filter(({ createdAt }) => now - createdAt < LIFETIME_MS)
  for (const key of keys) {
    if (key.blockedAt !== null && now - key.blockedAt >= LEASE_MS) key.blockedAt = null
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.statusCode = status
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(body))
}

function draw(response: ServerResponse): void {
  const free = keys.filter(({ blockedAt }) => blockedAt === null)
  if (free.length === 0) {
    answer(response, 404, {})
    return
  }
  const key = free[randomInt(free.length)]!
  key.blockedAt = Date.now()
  answer(response, 200, { keyId: key.id })
}

function unblock(response: ServerResponse, id: string): void {
  const key = keys.find((one) => one.id === id)
  if (key === undefined || key.blockedAt === null) {
    answer(response, 404, {})
    return
  }
  key.blockedAt = null
  answer(response, 200, {})
}

const tasks = {
  /** Listens with so many keys. Answers its port. */
  async serve(count: number): Promise<number> {
    const createdAt = Date.now()
    keys = Array.from({ length: count }, () => ({ id: randomUUID(), createdAt, blockedAt: null }))
    setInterval(sweep, SWEEP_MS)
    const server = createServer((request, response) => {
      if (request.method === 'GET') draw(response)
      else unblock(response, request.url!.slice('/keys/'.length))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  },

  /** Ends the run unless all keys are free. */
  checkReleased(count: number): void {
    const free = keys.filter(({ blockedAt }) => blockedAt === null)
    if (free.length !== count) throw new Error(`left behind: ${count - free.length} keys`)
  },
}

export type NaiveTasks = typeof tasks
answerParent(tasks)
