/** Requests: what is sent again and when, in virtual time, and what comes of answers that are not the server's. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ProblemError, Transport, UnreachableError } from '../../src/client/client.ts'
import { ClientWorld } from '../support/client-world.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const STEP_MS = 50
/** More than an answer takes that is there at once. */
const TURNS = 3

/** Answers in turn, the last one for ever; what it was asked and when. */
class Answering {
  readonly clock = new VirtualClock(0)
  readonly asked: { at: number; headers: Headers; url: string; redirect: unknown }[] = []
  readonly transport: Transport
  readonly #answers: (() => Response)[]

  constructor(...answers: (() => Response)[]) {
    this.#answers = answers
    const { clock } = this
    this.transport = new Transport({
      url: 'http://keys.example.org/base/',
      token: 'secret-token',
      random: () => 0,
      clock: {
        now: () => clock.now(),
        callAfter: (ms, callback) => clock.callAt(clock.now() + ms, callback),
      },
      fetch: (url, { headers, redirect } = {}) => {
        const asked = {
          at: clock.now(),
          headers: new Headers(headers),
          url: url as string,
          redirect,
        }
        const answer = this.#answers[Math.min(this.asked.push(asked), this.#answers.length) - 1]!
        return new Promise((resolve) => {
          resolve(answer())
        })
      },
    })
  }

  /** In steps, so that no time goes by before what is under way has come to rest. */
  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= STEP_MS) {
      for (let turn = 0; turn < TURNS; turn++) await this.clock.yield()
      await this.clock.advance(STEP_MS)
    }
    await this.clock.yield()
  }

  get times(): number[] {
    return this.asked.map(({ at }) => at)
  }
}

const ok = (): Response => Response.json({ fine: true })
const refused = (): Response => {
  throw new TypeError('fetch failed')
}
function problem(code: string, status: number, headers: Record<string, string> = {}) {
  return () => Response.json({ code, status, title: 'No.' }, { status, headers })
}

suite('a request', () => {
  test('goes below the path of the URL, with the access token, and is not redirected', async () => {
    const { transport, asked } = new Answering(ok)
    const { body, status } = await transport.request('GET', '/v1/pools')
    assert.deepEqual([body, status], [{ fine: true }, 200])
    assert.equal(asked[0]!.url, 'http://keys.example.org/base/v1/pools')
    assert.equal(asked[0]!.headers.get('authorization'), 'Bearer secret-token')
    assert.equal(asked[0]!.headers.get('content-type'), null)
    assert.equal(asked[0]!.redirect, 'manual')
  })

  test('is sent again with longer and longer pauses, and not for ever', async () => {
    const answering = new Answering(refused)
    const again = assert.rejects(answering.transport.request('GET', '/'), UnreachableError)
    await answering.advance(60_000)
    await again
    const seen = answering.times
    assert.deepEqual(seen.slice(0, 8), [0, 50, 150, 350, 750, 1550, 3150, 5650])
    assert(seen.at(-1)! <= 30_000 && seen.at(-1)! > 25_000)
  })

  test('comes back when the server says', async () => {
    const answering = new Answering(problem('draining', 503, { 'Retry-After': '7' }), ok)
    const asked = answering.transport.request('POST', '/')
    await answering.advance(10_000)
    await asked
    assert.deepEqual(answering.times, [0, 7000])
  })

  test('fails at once where that is later than it has patience', async () => {
    const { transport } = new Answering(problem('draining', 503, { 'Retry-After': '31' }))
    const error = await transport.request('GET', '/').catch((error: unknown) => error)
    assert(error instanceof ProblemError)
    assert.equal(error.retryAfterMs, 31_000)
  })

  test('that may have been done is sent again only if that is safe', async () => {
    const unknown = [
      refused,
      problem('internal_error', 500),
      () => new Response('', { status: 502 }),
    ]
    for (const answer of unknown) {
      const once = new Answering(answer, ok)
      await assert.rejects(once.transport.request('POST', '/'))
      assert.equal(once.asked.length, 1)
      for (const asking of [{ idempotencyKey: 'a' }, { repeatable: true }]) {
        const twice = new Answering(answer, ok)
        const asked = twice.transport.request('POST', '/', asking)
        await twice.advance(1000)
        await asked
        assert.equal(twice.asked.length, 2)
      }
    }
  })

  test('that the server cannot remember is sent without an Idempotency-Key, and not repeated then', async () => {
    const full = problem('idempotency_full', 503)
    const answering = new Answering(refused, full, ok)
    const asked = answering.transport.request('POST', '/', { idempotencyKey: 'a' })
    await answering.advance(1000)
    await asked
    const keys = (of: Answering): (string | null)[] =>
      of.asked.map(({ headers }) => headers.get('idempotency-key'))
    assert.deepEqual(keys(answering), ['a', 'a', null])
    const once = new Answering(full, refused, ok)
    await assert.rejects(once.transport.request('POST', '/', { idempotencyKey: 'a' }))
    assert.deepEqual(keys(once), ['a', null])
  })

  test('that is refused for good is not sent again', async () => {
    for (const [code, status] of [
      ['lease_ended', 410],
      ['access_token_invalid', 401],
      ['pool_exhausted', 429],
    ] as const) {
      const { transport, asked } = new Answering(problem(code, status))
      await assert.rejects(transport.request('GET', '/'), { name: 'ProblemError', code, status })
      assert.equal(asked.length, 1)
    }
  })

  test('answered by something else is an error that says so', async () => {
    const page = (status: number) => () => new Response('<h1>Hello</h1>', { status })
    for (const status of [200, 302, 404]) {
      const { transport, asked } = new Answering(page(status))
      await assert.rejects(transport.request('GET', '/'), {
        name: 'UnreachableError',
        status,
        message: /keys\.example\.org.* look at the URL/,
      })
      assert.equal(asked.length, 1)
    }
  })

  test('has an answer in a bad status where that is asked for', async () => {
    const draining = (): Response => new Response('{"status": "draining"}', { status: 503 })
    const { transport } = new Answering(draining)
    const { status, body } = await transport.request('GET', '/readyz', { answers: [503] })
    assert.deepEqual([status, body], [503, { status: 'draining' }])
  })

  test('is given up by its signal, in a pause too', async () => {
    const answering = new Answering(refused)
    const controller = new AbortController()
    const asked = answering.transport.request('GET', '/', { signal: controller.signal })
    const rejected = assert.rejects(asked, /enough/)
    await answering.advance(60)
    controller.abort(new Error('enough'))
    await rejected
    await answering.advance(60_000)
    assert.equal(answering.asked.length, 2)
  })

  test('that nobody answers is over in time', async () => {
    await using world = await ClientWorld.start(0)
    world.fate = () => 'request lost'
    const { transport } = world.client({ requestTimeoutMs: 3000 })
    const asked = assert.rejects(
      transport.request('GET', '/v1/pools', { retryForMs: 0 }),
      /3000 ms/,
    )
    await world.advance(3000)
    await asked
  })

  test('no error shows the access token', async () => {
    for (const answer of [
      refused,
      problem('draining', 503),
      () => new Response('', { status: 404 }),
    ]) {
      const { transport } = new Answering(answer)
      const error = await transport
        .request('POST', '/', { retryForMs: 0 })
        .catch((error: unknown) => error)
      assert(error instanceof Error)
      assert(!`${error.stack ?? ''}${JSON.stringify(error)}`.includes('secret-token'))
    }
  })
})
