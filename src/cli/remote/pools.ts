import type { Policy } from '../../engine/policy.ts'
import type { Pool, ShownPool } from '../../http/contract/pools.ts'
import { ConfigError } from '../config-error.ts'
import { path } from './api.ts'
import type { Call, Group } from './command.ts'
import { apply } from './apply.ts'
import { POLICY_FLAGS, policyFrom, policyText } from './policy.ts'

export const pools: Group = {
  summary: 'Pools of keys, and their policies.',
  commands: {
    list: { usage: '', summary: 'List all pools', run: list },
    show: { usage: 'POOL', summary: 'Show a pool, and why it gives no key', run: show },
    create: {
      usage: 'POOL',
      summary: 'Make a pool',
      more: 'What is not said of its policy is the default.',
      flags: POLICY_FLAGS,
      run: create,
    },
    set: {
      usage: 'POOL',
      summary: "Change some of a pool's policy",
      flags: POLICY_FLAGS,
      run: set,
    },
    apply,
    delete: {
      usage: 'POOL',
      summary: 'Delete a pool',
      flags: { force: { help: 'delete its keys too' } },
      run: remove,
    },
  },
}

async function list({ api, out }: Call): Promise<undefined> {
  const head = ['POOL', 'KEY LIFETIME', 'LEASE TTL', 'COOLDOWN', 'MAX KEYS']
  const pages = (): AsyncIterable<Pool[]> => api.pages('/v1/pools', 'pools')
  await out.listing(pages, Infinity, head, ({ name, policy }) => [
    name,
    policyText('keyLifetimeMs', policy.keyLifetimeMs),
    policyText('leaseTtlMs', policy.leaseTtlMs),
    policyText('cooldownMs', policy.cooldownMs),
    policy.maxKeys,
  ])
}

async function show({ api, out, words: [pool] }: Call): Promise<undefined> {
  await out.record(await api.ask<ShownPool>('GET', path`/v1/pools/${pool!}`))
}

async function create(call: Call): Promise<undefined> {
  const { api, out, words } = call
  const policy = policyFrom(call)
  const [name] = words as [string]
  // PUT would replace the policy of one that is there.
  if ((await api.find(path`/v1/pools/${name}`, 'pool_not_found')) !== null)
    throw new ConfigError(`there is a pool "${name}" already: change it with pools set`)
  const pool = await api.ask<Pool>('PUT', path`/v1/pools/${name}`, policy)
  await out.done(`made the pool ${name}`, pool)
}

async function set(call: Call): Promise<undefined> {
  const { api, out, words } = call
  const policy: Partial<Policy> = policyFrom(call)
  const [name] = words as [string]
  if (Object.keys(policy).length === 0) throw new ConfigError('say what to change')
  const pool = await api.ask<Pool>('PATCH', path`/v1/pools/${name}`, policy)
  await out.done(`changed the pool ${name}`, pool)
}

async function remove({ api, out, isSet, words }: Call): Promise<undefined> {
  const [name] = words as [string]
  const force = isSet('force') ? '?force=true' : ''
  await api.ask('DELETE', path`/v1/pools/${name}` + force)
  await out.done(`deleted the pool ${name}`, { deleted: name })
}
