import { writeFileSync } from 'node:fs'
import { ConfigError } from '../config-error.ts'
import type { AccessToken } from '../../http/contract/tokens.ts'
import { SCOPES } from '../../service/scopes.ts'
import { path } from './api.ts'
import type { Call, Group } from './command.ts'
import { durationOf } from './words.ts'

const HEAD = ['ID', 'NAME', 'SCOPES', 'POOLS', 'EXPIRES']

export const tokens: Group = {
  summary: 'Access tokens: who may do what.',
  commands: {
    list: { usage: '', summary: 'List access tokens, without their secrets', run: list },
    create: {
      usage: 'NAME',
      summary: 'Make an access token, and write its secret, this once',
      flags: {
        scope: {
          placeholder: 'SCOPE',
          multiple: true,
          words: SCOPES,
          help: 'what it may do',
        },
        pool: {
          placeholder: 'POOL',
          multiple: true,
          help: 'which pools it is for; all unless said',
        },
        lifetime: { placeholder: 'DURATION', help: 'when it expires; never unless said' },
        output: {
          placeholder: 'FILE',
          short: 'o',
          help: 'write the secret there, for its owner only',
        },
      },
      run: create,
    },
    delete: { usage: 'ID', summary: 'Delete an access token', run: remove },
  },
}

async function list({ api, out }: Call): Promise<undefined> {
  const pages = (): AsyncIterable<AccessToken[]> => api.pages('/v1/tokens', 'tokens')
  await out.listing(pages, Infinity, HEAD, (token) => [
    token.id,
    token.name,
    token.scopes.join(' '),
    token.pools === '*' ? '*' : token.pools.join(' '),
    token.expiresAt,
  ])
}

async function create(call: Call): Promise<undefined> {
  const { api, out, text, texts, words } = call
  const scopes = texts('scope')
  const pools = texts('pool')
  if (scopes.length === 0) throw new ConfigError(`say what it may do: --scope ${SCOPES.join(', ')}`)
  const lifetimeMs = durationOf(call, 'lifetime')
  const file = text('output')
  // Before the token is made, which nobody could use if its secret were lost.
  if (file !== undefined) writeSecret(file, '', 'wx')
  const made = await api.ask<AccessToken & { token: string }>('POST', '/v1/tokens', {
    name: words[0]!,
    scopes,
    ...(pools.length === 0 ? {} : { pools }),
    ...(lifetimeMs === undefined ? {} : { lifetimeMs }),
  })
  const { token, ...known } = made
  if (file !== undefined) {
    writeSecret(file, `${token}\n`, 'w')
    await out.done(`made the access token ${made.id}; its secret is in ${file}`, known)
  } else {
    out.note(`made the access token ${made.id}; its secret is shown this once:`)
    await out.done(token, made)
  }
}

function writeSecret(file: string, text: string, flag: 'w' | 'wx'): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'EEXIST' ? 'it is there already; move it away first' : message
    throw new ConfigError(`${file} cannot be written: ${why}`)
  }
}

async function remove({ api, out, words }: Call): Promise<undefined> {
  const [id] = words as [string]
  await api.ask('DELETE', path`/v1/tokens/${id}`)
  await out.done(`deleted the access token ${id}`, { deleted: id })
}
