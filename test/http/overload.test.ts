/** More is asked for than can be done: then some hear so, and those who hold leases notice nothing. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Lateness } from '../../src/http/overload.ts'
import { startServe } from '../support/command.ts'
import { Connection, type HttpAnswer } from '../support/connection.ts'

const PERIOD_MS = 10
const FEW = 16
const MANY = FEW + 1

/** An event loop in virtual time. */
class Loop {
  readonly lateness = new Lateness()
  now = 1_000_000

  /** It comes round so long after it should have. Returns whether who asked last was to go. */
  turn(lateMs: number, askers = MANY): boolean {
    this.lateness.expect(this.now + PERIOD_MS)
    this.now += PERIOD_MS + lateMs
    const isOver = this.ask(askers)
    this.lateness.cameRound(this.now)
    return isOver
  }

  /** So many ask at once. Returns whether the last of them is to go. */
  ask(askers: number, now = this.now): boolean {
    for (let before = 1; before < askers; before++) this.lateness.isTooMany(now)
    return this.lateness.isTooMany(now)
  }

  turns(count: number, lateMs: number): boolean[] {
    return Array.from({ length: count }, () => this.turn(lateMs))
  }
}

suite('an overload', () => {
  test('is when the loop has been late for more than half a second', () => {
    assert.deepEqual(new Loop().turns(7, 101), [false, false, false, false, true, true, true])
  })

  test('is not when the loop is slow and yet in time', () => {
    assert(!new Loop().turns(1000, 100).includes(true))
  })

  test('is no burst, nor a single pause however long', () => {
    const loop = new Loop()
    assert.deepEqual(loop.turns(4, 101), [false, false, false, false])
    assert.equal(loop.turn(0), false)
    assert.deepEqual(loop.turns(4, 101), [false, false, false, false])
    assert.deepEqual([loop.turn(0), loop.turn(60_000), loop.turn(0)], [false, false, false])
  })

  test('lets those through who come early in a turn', () => {
    const loop = new Loop()
    loop.turns(10, 150)
    const { lateness, now } = loop
    lateness.expect(now + PERIOD_MS)
    const isOver = [0, 10, 110, 111].map((ms) => loop.ask(MANY, now + ms))
    assert.deepEqual(isOver, [false, false, false, true])
  })

  test('is over once the loop is in time', () => {
    const loop = new Loop()
    loop.turns(10, 150)
    loop.turn(50)
    assert.deepEqual(loop.turns(3, 150), [false, false, false])
  })

  test('is not when nobody asks', () => {
    const loop = new Loop()
    loop.turns(10, 150)
    assert.equal(loop.ask(MANY, loop.now + 60_000), false)
  })

  test('is not what keeps a few from their answers: it is somebody else', () => {
    const loop = new Loop()
    loop.turns(10, 60_000)
    assert.equal(loop.turn(60_000, FEW), false)
    assert.equal(loop.turn(60_000, MANY), true)
  })
})

/** So many more come each round, until some are refused: how many that takes depends on the machine. */
const CROWD = 96
const ENOUGH_REFUSALS = 200
/** What makes work: a page of a thousand keys. */
const COSTLY = '/v1/pools/default/keys?limit=1000'
const LEASES = '/v1/pools/default/leases'

test('a crowd is refused in part; holders go on', { timeout: 120_000 }, async (t) => {
  await using served = await startServe(['--max-keys=20000'])
  const { port } = served
  const holder = new Connection(port)
  const must = async (
    status: number,
    method: string,
    path: string,
    body?: object,
  ): Promise<string> => {
    const answer = await holder.ask(method, path, body)
    assert.equal(answer?.status, status, `${method} ${path}: ${answer?.text}`)
    return answer.text
  }
  await must(201, 'POST', '/keys', { count: 10_000 })
  const leases = await must(200, 'POST', '/v1/pools/default/batch', grab(500))
  const ids = [...leases.matchAll(/"leaseId":"([^"]+)"/g)].map(([, id]) => id!)

  const told = { served: 0, refused: 0 }
  const read = ({ status, head, text }: HttpAnswer): void => {
    if (status === 200) told.served++
    else told.refused++
    if (status !== 200) assert.match(text, /"status":503,"code":"overloaded"/)
    if (status !== 200) assert.match(head, /^HTTP\/1\.1 503 [^]*\r\nretry-after: 1\r\n/)
  }
  const come = async (): Promise<void> => {
    const connection = new Connection(port)
    while (told.refused < ENOUGH_REFUSALS) read((await connection.ask('GET', COSTLY))!)
    connection.close()
  }
  const crowd: Promise<void>[] = []
  let rounds = 0
  while (told.refused < ENOUGH_REFUSALS && ids.length > 1) {
    if (told.refused === 0) crowd.push(...Array.from({ length: CROWD }, come))
    const [id, next] = [ids.pop()!, ids.at(-1)!]
    await must(200, 'POST', `${LEASES}/${next}/renew`, { ttlMs: 60_000 })
    await must(200, 'POST', `${LEASES}/${id}/release`, {})
    for (const path of ['/healthz', '/readyz', '/metrics']) await must(200, 'GET', path)
    rounds++
  }
  await Promise.all(crowd)
  assert(told.served > 0 && rounds > 0)
  t.diagnostic(
    `${crowd.length} came, ${told.served} served, ${told.refused} refused, ${rounds} rounds of a holder`,
  )

  await must(200, 'GET', '/keys')
  const metrics = await must(200, 'GET', '/metrics')
  assert(metrics.includes(`\ntoken_orchestrator_overload_refusals_total ${told.refused}\n`))
  holder.close()
})

function grab(count: number): object {
  return { operations: [{ op: 'acquire', count, ttlMs: 60_000 }] }
}
