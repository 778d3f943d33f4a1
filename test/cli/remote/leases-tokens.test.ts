/** Leases and access tokens from the command line, as processes against a real server. */
import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { HeldLease, Lease } from '../../../src/http/contract/leases.ts'
import type { AccessToken } from '../../../src/http/contract/tokens.ts'
import { Operator } from '../../support/remote.ts'

test('leases are taken, shown, renewed, released and revoked', async () => {
  await using operator = await Operator.start()
  await operator.does(['keys', 'import', 'default', '--format', 'text'], 'sk-1\nsk-2\n')
  const acquire = ['leases', 'acquire', 'default', '--holder', 'worker 7', '--ttl', '90s']
  const [lease] = (await operator.asks<Lease>(acquire)) as [Lease]
  assert.match(lease.value!, /^sk-[12]$/)
  assert(lease.expiresInMs > 60_000 && lease.expiresInMs <= 90_000)
  const table = await operator.does(['leases', 'list', 'default'])
  assert.match(table, /^KEY +HOLDER +GRANTED +EXPIRES +FENCING TOKEN\n[0-9a-f-]{36} +worker 7 +20/)
  assert(!table.includes(lease.leaseId))
  // A lease id is a secret: it goes by stdin.
  const shown = await operator.does(['leases', 'show', 'default', '-'], lease.leaseId)
  assert.match(shown, /^holder +worker 7$/m)
  const renew = ['leases', 'renew', 'default', '-', '--ttl', '1h', '--keep-alive']
  assert.match(await operator.does(renew, lease.leaseId), /^renewed until 20\d\d-.*Z\n$/)
  const release = ['leases', 'release', 'default', lease.leaseId]
  const outcome = ['--outcome', 'rate_limited', '--retry-after', '1h']
  assert.equal(await operator.does([...release, ...outcome]), 'released\n')
  assert.equal(await operator.does(release), 'it had ended: released\n')
  await operator.does(acquire)
  const exhausted = await operator.fails(1, [...acquire, '--wait', '0'])
  assert.match(exhausted, /Every key of the pool is leased or cooling\./)
  const mine = await operator.asks<HeldLease>(['leases', 'list', 'default', '--holder', 'worker 7'])
  assert.equal(mine.length, 1)
  assert.deepEqual(await operator.asks(['leases', 'list', 'default', '--holder', 'nobody']), [])
  const revoke = ['leases', 'revoke', 'default']
  assert.match(await operator.fails(2, revoke), /say whose: --holder NAME/)
  assert.equal(await operator.does([...revoke, '--holder', 'worker 7']), 'revoked 1 leases\n')
  for (const [args, expected] of [
    [['acquire', 'default', '--ttl', 'long'], /--ttl must be a duration/],
    [['release', 'default', 'x', '--outcome', 'eror'], /did you mean "error"\?/],
    [['show', 'default', '-'], /it takes one lease/],
  ] as const)
    assert.match(await operator.fails(2, ['leases', ...args], 'a\nb'), expected)
})

test('access tokens are made, shown once, listed and deleted', async () => {
  await using operator = await Operator.start()
  const file = join(operator.directory, 'admin.token')
  const admin = ['tokens', 'create', 'admin', '--scope', 'admin', '-o', file]
  assert.match(await operator.does(admin), /its secret is in .*admin\.token\n$/)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const secret = readFileSync(file, 'utf8').trim()
  assert.match(secret, /^tok_/)
  assert.match(await operator.fails(1, ['tokens', 'list']), /An access token is needed/)
  const as = ['--token-file', file]
  const again = await operator.fails(2, [...admin, ...as])
  assert.match(again, /admin\.token cannot be written: it is there already; move it away first/)
  const terms = ['--scope', 'leases', '--scope', 'read', '--pool', 'default', '--lifetime', '24h']
  const made = await operator.tries(['tokens', 'create', 'worker 7', ...terms, ...as])
  assert.match(made.stdout, /^tok_[\w-]+\n$/)
  assert.match(made.stderr, /shown this once:\n$/)
  assert(!made.stderr.includes(made.stdout.trim()))
  const listed = await operator.asks<AccessToken>(['tokens', 'list', ...as])
  assert.deepEqual(listed.map(({ name }) => name).sort(), ['admin', 'worker 7'])
  const { id, scopes, pools, expiresAt } = listed.find(({ name }) => name === 'worker 7')!
  assert.deepEqual([scopes.toSorted(), pools], [['leases', 'read'], ['default']])
  assert.notEqual(expiresAt, null)
  assert.match(await operator.does(['tokens', 'list', ...as]), /worker 7 +leases read +default +20/)
  assert.equal(
    await operator.does(['tokens', 'delete', id, ...as]),
    `deleted the access token ${id}\n`,
  )
  for (const [args, expected] of [
    [['create', 'x'], /say what it may do: --scope read, /],
    [['create', 'x', '--scope', 'laeses'], /--scope must be one of .*: did you mean "leases"\?/],
    [['create'], /NAME is missing/],
    [
      ['create', 'x', '--scope', 'read', '-o', '/nowhere/x'],
      /\/nowhere\/x cannot be written: ENOENT/,
    ],
  ] as const)
    assert.match(await operator.fails(2, ['tokens', ...args, ...as]), expected)
  assert.equal((await operator.asks(['tokens', 'list', ...as])).length, 1, 'none was made')
})
