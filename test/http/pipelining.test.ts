/** Those who do not wait for answers leave others their turn. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { Pipelining } from '../../src/http/pipelining.ts'
import { exchange } from '../support/server.ts'

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'
const LAST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
const OTHER = 'GET /other HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'

/** Serves requests that come at once on two connections. @returns in which turn of the event loop each was worked on. */
async function turnsOf(stopwatch: () => number): Promise<number[]> {
  const pipelining = new Pipelining(stopwatch)
  const turns: number[] = []
  let turn = 0
  const count = (): void => {
    turn++
    counter = setImmediate(count)
  }
  let counter = setImmediate(count)
  const server = createServer((_request, response) => {
    pipelining.take(response, () => {
      turns.push(turn)
      void Promise.resolve().then(() => response.end('done'))
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const answers = await Promise.all([
    exchange(port, REQUEST.repeat(50), LAST),
    exchange(port, REQUEST.repeat(50), LAST),
  ])
  for (const answer of answers) assert.equal(answer.match(/HTTP\/1\.1 200 /g)?.length, 51)
  clearImmediate(counter)
  server.close()
  return turns
}

/** The most in one turn. */
function mostOf(turns: number[]): number {
  return Math.max(...turns.map((turn) => turns.filter((other) => other === turn).length))
}

test('where each takes as long as they may take together, a turn sees one of them', async () => {
  let nowMs = 0
  const turns = await turnsOf(() => (nowMs += 2))
  assert.equal(turns.length, 102)
  // The first of a connection waits for nobody.
  assert(mostOf(turns) <= 3, String(turns))
})

test('where they take no time, a turn sees many of them', async () => {
  assert(mostOf(await turnsOf(() => 0)) >= 20)
})

/** One that did not wait takes so long, and another asks meanwhile. @returns the rests before the next. */
async function restsAfter(workMs: number): Promise<number[]> {
  let nowMs = 0
  const rests: number[] = []
  const pipelining = new Pipelining(
    () => nowMs,
    (call, ms) => {
      rests.push(ms)
      nowMs += ms
      setImmediate(call)
    },
  )
  let asked = 0
  const server = createServer((request, response) => {
    pipelining.take(response, () => {
      if (request.url === '/') nowMs += workMs
      // In the middle of it another asks.
      const isMiddle = request.url === '/' && ++asked === 3
      const other = isMiddle ? exchange(port, OTHER) : Promise.resolve()
      void other.then(() => response.end('done'))
    })
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const answer = await exchange(port, REQUEST.repeat(5), LAST)
  assert.equal(answer.match(/HTTP\/1\.1 200 /g)?.length, 6)
  server.close()
  return rests
}

test('where one takes long, others who ask have many times as long before the next', async () => {
  const rests = await restsAfter(10)
  assert.equal(rests.length, 1)
  assert(rests[0]! > 100, String(rests))
})

test('where one takes very long, since the process slept, the others come to their turn all the same', async () => {
  assert.deepEqual(await restsAfter(60_000), [200])
})
