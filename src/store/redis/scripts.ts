/** The scripts that do the rules inside Redis: a file each, put together here. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { luaNames } from './layout.ts'

export interface Script {
  readonly sha: string
  readonly text: string
}

/** Rules, and what uses them, in the order in which they need each other. */
const RULES = [
  'rules',
  'views',
  'history',
  'create',
  'import',
  'acquire',
  'renew',
  'keep-alive',
  'release',
]
const MORE_RULES = ['unblock', 'revoke', 'revoke-leases', 'update', 'remove', 'show', 'list']

/** Does operations on a shard. */
export const RUN = script(true, ['head', ...RULES, ...MORE_RULES, 'requests', 'tail'])
export const RESERVE_TOKENS = script(false, ['reserve-tokens'])
export const PUT_SHARD = script(false, ['put-shard'])
export const REMOVE_SHARD = script(true, ['remove-shard'])
export const PUT_POOL = script(false, ['put-pool'])
export const REMOVE_POOL = script(false, ['remove-pool'])
export const PUT_HISTORY = script(false, ['put-history'])
export const PUT_SHARD_HISTORY = script(true, ['put-shard-history'])
export const PUT_DOCUMENT = script(false, ['put-document'])
export const PULSE = script(false, ['pulse'])

// Copies from and to other stores.
const COPYING = ['head', 'rules', 'views']
export const READ_COPIES = script(true, [...COPYING, 'read-copies'])
export const PUT_COPIES = script(true, [...COPYING, 'put-copies'])
export const BEGIN_SHARD = script(true, ['begin-shard'])
export const BEGIN_COPY = script(false, ['begin-copy'])
export const FILL_COPY = script(false, ['fill-copy'])
export const END_COPY = script(false, ['end-copy'])

function script(ofShard: boolean, files: string[]): Script {
  const parts = files.map((file) =>
    readFileSync(new URL(`lua/${file}.lua`, import.meta.url), 'utf8'),
  )
  const text = (ofShard ? luaNames() : '') + parts.join('\n')
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}
