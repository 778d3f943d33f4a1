/** As many as may wait do so, each on a connection of his own, and are served in the order in which they came. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Connection, type HttpAnswer, insist } from '../support/connection.ts'
import { startTried } from './tried-server.ts'

const WAITERS = 10_000
const PATH = '/v1/pools/default'
/** At first they come one by one, then some at a time: who is read first of those nobody can tell. */
const SINGLES = 100
const GROUP = 100
const CREATES = [1, 1, 3, 256, 257, 1500, 1, 2500, 5481]
/** Who do not wait, at the same time as each of these. */
const DRAWS = 5

interface Told {
  fencingToken: number
  code: string
}

function bodyOf(answer: HttpAnswer): Told {
  return JSON.parse(answer.text) as Told
}

test(`${WAITERS} who wait are served in their order, and no draw overtakes them`, async (t) => {
  await using served = await startTried('--memory')
  const connect = (): Connection => new Connection(served.port)
  const owner = connect()
  const crowd: Connection[] = []
  const wait = (connection: Connection): Promise<HttpAnswer> =>
    insist(connection, 'POST', `${PATH}/leases`, { waitMs: 60_000 })
  let early = 0
  const waiting = async (count: number): Promise<void> => {
    const show = async (): Promise<string> => (await insist(owner, 'GET', PATH)).text
    while (!(await show()).includes(`"waiters":${count},`)) {
      assert.equal(early, 0, 'some were answered before the last ones came')
    }
  }
  const start = performance.now()
  const answers: Promise<HttpAnswer>[] = []
  const groups: number[] = []
  while (answers.length < WAITERS) {
    const size = answers.length < SINGLES ? 1 : GROUP
    for (let more = size; more > 0; more--) {
      groups.push(answers.length - (size - more))
      const connection = connect() // not before: one that is silent for long is ended
      crowd.push(connection)
      answers.push(
        wait(connection).finally(() => {
          early++
        }),
      )
    }
    await waiting(answers.length)
  }
  t.diagnostic(`all have come after ${((performance.now() - start) / 1000).toFixed(1)} s`)
  assert.equal(bodyOf(await wait(owner)).code, 'too_many_waiters')
  const others = Array.from({ length: DRAWS }, connect)
  for (const count of CREATES) {
    const draws = others.map((other) => insist(other, 'GET', '/keys'))
    const created = await insist(owner, 'POST', '/keys', { count })
    assert.equal(created.status, 201)
    for (const draw of await Promise.all(draws)) assert.equal(draw.status, 404)
  }
  const told = (await Promise.all(answers)).map(bodyOf)
  let highest = 0
  for (let at = 0; at < WAITERS;) {
    const group = told.filter((_, other) => groups[other] === groups[at])
    at += group.length
    const tokens = group.map(({ fencingToken }) => fencingToken)
    assert(Math.min(...tokens) > highest, `${tokens.join()} after ${highest}`)
    highest = Math.max(...tokens)
  }
  for (const connection of [owner, ...others, ...crowd]) connection.close()
})
