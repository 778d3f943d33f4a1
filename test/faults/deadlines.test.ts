/** Leases over a killed server: they go on as they were, and end at their own time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Drawn, Scratch, Served, until } from './served.ts'

/** Longer than a server takes to start on a busy machine. */
const TTL_MS = 10_000
const TERMS = ['--key-lifetime', '1h', '--lease-ttl', `${TTL_MS}ms`]

async function release(served: Served, { keyId, leaseId }: Drawn): Promise<number | undefined> {
  return served.status('PUT', `/keys/${keyId}?leaseId=${leaseId}`)
}

test('a lease excludes others after a kill, and ends at its own time', async () => {
  using scratch = new Scratch()
  const leases: Drawn[] = []
  {
    await using served = await Served.start(scratch.data, { args: TERMS })
    await served.create(5)
    for (let draw = 0; draw < 3; draw++) leases.push(await served.draw())
    await served.kill()
  }
  await using served = await Served.start(scratch.data)
  for (const { keyId, blockedUntil } of leases) {
    const shown = await served.show(keyId)
    assert.deepEqual([shown.isBlocked, shown.blockedUntil], [true, blockedUntil])
  }
  const free = [await served.draw(), await served.draw()]
  assert.equal(new Set([...leases, ...free].map(({ keyId }) => keyId)).size, 5)
  const none = (await served.ask('GET', '/keys'))!
  assert.deepEqual([none.status, none.text], [404, '{}'])

  // A holder from before the restart gives its key back.
  const early = leases.pop()!
  assert.equal(await release(served, early), 200)
  assert.equal(await release(served, early), 404)
  const taken = await served.draw()
  assert.equal(taken.keyId, early.keyId)
  assert.equal(await release(served, early), 404, 'a past holder ended the lease of the next')

  const again: Drawn[] = []
  await until('those leases are over', async () => {
    const reply = (await served.ask('GET', '/keys'))!
    if (reply.status === 200) again.push(reply.body as unknown as Drawn)
    return again.length === 2
  })
  for (const { keyId, blockedUntil } of again) {
    const ended = leases.find((lease) => lease.keyId === keyId)
    assert.ok(ended !== undefined, 'a lease from after the restart was over first')
    const grantedAt = Date.parse(blockedUntil) - TTL_MS
    assert.ok(grantedAt >= Date.parse(ended.blockedUntil), 'it was over before its time')
    assert.equal(await release(served, ended), 404)
  }
  const tokens = [...leases, early, ...free, taken, ...again].map((lease) => lease.fencingToken)
  const rising = [...tokens].sort((a, b) => a - b)
  assert.deepEqual(tokens.slice(4), rising.slice(4), 'later leases have higher tokens')
  assert.equal(new Set(tokens).size, tokens.length)
})

test('what a lease has become is kept, kill after kill', async () => {
  using scratch = new Scratch()
  let last = 0
  let kept: string | undefined
  let deleted: string | undefined
  for (let run = 0; run < 4; run++) {
    await using served = await Served.start(scratch.data, { args: ['--lease-ttl', '1h'] })
    if (kept !== undefined) {
      assert.equal((await served.show(kept)).state, 'available')
      assert.equal(await served.status('GET', `/keys/${deleted!}`), 404)
    } else {
      await served.create(2)
    }
    const drawn = await served.draw()
    assert.ok(drawn.fencingToken > last, 'a fencing token fell')
    last = drawn.fencingToken
    kept = drawn.keyId
    assert.equal(await release(served, drawn), 200)
    ;[deleted] = (await served.create()) as [string]
    await served.do('DELETE', `/keys/${deleted}`)
    await served.kill()
  }
})
