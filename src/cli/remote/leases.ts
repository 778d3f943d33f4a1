import { ConfigError } from '../config-error.ts'
import { OUTCOMES } from '../../engine/transitions.ts'
import type { HeldLease, Lease } from '../../http/contract/leases.ts'
import { path } from './api.ts'
import type { Call, Group } from './command.ts'
import type { Flag } from '../flags.ts'
import { durationOf, LIMIT_FLAGS, limitOf, secretWords } from './words.ts'

const TTL: Record<string, Flag> = {
  ttl: { placeholder: 'DURATION', help: 'how long it lasts from now, unless as before' },
}
const BY_STDIN =
  'LEASE is a lease id, or - to read it from stdin: who knows it may renew and release.'
const HEAD = ['KEY', 'HOLDER', 'GRANTED', 'EXPIRES', 'FENCING TOKEN']

export const leases: Group = {
  summary: 'Who holds which key.',
  commands: {
    list: {
      usage: 'POOL',
      summary: 'List leases, without their ids',
      flags: { holder: { placeholder: 'NAME', help: 'only his' }, ...LIMIT_FLAGS },
      run: list,
    },
    acquire: {
      usage: 'POOL',
      summary: 'Lease a key, and write the lease with the value of the key',
      flags: {
        ttl: { placeholder: 'DURATION', help: 'how long it lasts, unless as the pool says' },
        wait: { placeholder: 'DURATION', help: 'how long to wait for a key, at most 60s' },
        holder: { placeholder: 'NAME', help: 'who you are' },
        key: { placeholder: 'KEY', help: 'that key and no other' },
      },
      run: acquire,
    },
    show: {
      usage: 'POOL LEASE',
      summary: 'Show a lease with the value of its key',
      more: BY_STDIN,
      run: show,
    },
    renew: {
      usage: 'POOL LEASE',
      summary: 'Put the end of a lease off',
      more: BY_STDIN,
      flags: { ...TTL, 'keep-alive': { help: 'and the death of its key' } },
      run: renew,
    },
    release: {
      usage: 'POOL LEASE',
      summary: 'Give a key back',
      more: BY_STDIN,
      flags: {
        outcome: { placeholder: 'WORD', words: OUTCOMES, help: 'how the key did; ok unless said' },
        'retry-after': { placeholder: 'DURATION', help: 'its rest after rate_limited or error' },
        reason: { placeholder: 'TEXT', help: 'why it is invalid' },
      },
      run: release,
    },
    revoke: {
      usage: 'POOL',
      summary: 'Take all keys from a holder',
      flags: { holder: { placeholder: 'NAME', help: 'whose' } },
      run: revoke,
    },
  },
}

async function list(call: Call): Promise<undefined> {
  const { api, out, text, words } = call
  const limit = limitOf(call)
  const holder = text('holder')
  const query = holder === undefined ? '' : `?${new URLSearchParams({ holder }).toString()}`
  const listing = path`/v1/pools/${words[0]!}/leases` + query
  const pages = (most: number): AsyncIterable<HeldLease[]> => api.pages(listing, 'leases', most)
  await out.listing(pages, limit, HEAD, (lease) => [
    lease.keyId,
    lease.holder,
    lease.grantedAt,
    lease.expiresAt,
    lease.fencingToken,
  ])
}

async function acquire(call: Call): Promise<undefined> {
  const { api, out, text, words } = call
  const body = given({
    ttlMs: durationOf(call, 'ttl'),
    waitMs: durationOf(call, 'wait'),
    holder: text('holder'),
    keyId: text('key'),
  })
  await out.record(await api.ask<Lease>('POST', path`/v1/pools/${words[0]!}/leases`, body))
}

async function show(call: Call): Promise<undefined> {
  await call.out.record(await call.api.ask<Lease>('GET', await leasePath(call)))
}

async function renew(call: Call): Promise<undefined> {
  const body = given({
    ttlMs: durationOf(call, 'ttl'),
    keepAlive: call.isSet('keep-alive') ? true : undefined,
  })
  const { expiresAt, keyExpiresAt } = await call.api.ask<Lease>(
    'POST',
    `${await leasePath(call)}/renew`,
    body,
  )
  await call.out.done(`renewed until ${expiresAt}`, { expiresAt, keyExpiresAt })
}

async function release(call: Call): Promise<undefined> {
  const { out, text } = call
  const body = given({
    outcome: text('outcome'),
    retryAfterMs: durationOf(call, 'retry-after'),
    reason: text('reason'),
  })
  const answer = await call.api.ask<{ released: boolean; reason?: string }>(
    'POST',
    `${await leasePath(call)}/release`,
    body,
  )
  const sentence = answer.released ? 'released' : `it had ended: ${answer.reason ?? 'long ago'}`
  await out.done(sentence, answer)
}

async function revoke({ api, out, text, words }: Call): Promise<undefined> {
  const holder = text('holder')
  if (holder === undefined) {
    throw new ConfigError('say whose: --holder NAME (of one key: keys revoke POOL KEY)')
  }
  const query = new URLSearchParams({ holder }).toString()
  const answer = await api.ask<{ revoked: number }>(
    'DELETE',
    path`/v1/pools/${words[0]!}/leases` + `?${query}`,
  )
  await out.done(`revoked ${answer.revoked} leases`, answer)
}

async function leasePath({ words }: Call): Promise<string> {
  const [pool, lease, extra] = (await secretWords(words)) as [string, string, string?]
  if (extra !== undefined) throw new ConfigError('it takes one lease')
  return path`/v1/pools/${pool}/leases/${lease}`
}

/** The fields that something was said of. */
function given(fields: Record<string, unknown>): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
