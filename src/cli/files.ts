/** Files that hold secrets: the certificate's key, and access tokens. */
import { readFileSync, statSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { ConfigError } from './config-error.ts'
import { type Config } from './config.ts'
import type { Tls } from '../http/listener.ts'
import type { Log } from '../log.ts'

/** What an Authorization header can carry (RFC 6750, 2.1). */
const SENDABLE = /^[\w.~+/-]+=*$/
const SHORTEST_SECRET = 32
const LONGEST_SECRET = 512
const READABLE_BY_ALL = 0o004

/** Null: it is to speak HTTP. @throws ConfigError where the files are not what they should be. */
export function readTls({ tlsCert, tlsKey }: Config, log: Log): Tls | null {
  if (tlsCert === undefined || tlsKey === undefined) return null
  const tls = { cert: read('--tls-cert', tlsCert), key: readSecret('--tls-key', tlsKey, log) }
  try {
    createSecureContext(tls)
  } catch (error) {
    const { message } = error as Error
    throw new ConfigError(
      `--tls-cert ${tlsCert} and --tls-key ${tlsKey} must be a certificate and its unencrypted key in PEM (${message}).`,
    )
  }
  return tls
}

/** The secret in the file that the settings name, if they do. @throws ConfigError where it is none. */
export function readAdminSecret({ adminTokenFile }: Config, log: Log): string | null {
  if (adminTokenFile === undefined) return null
  const secret = firstLine(readSecret('--admin-token-file', adminTokenFile, log))
  const { length } = secret
  if (SENDABLE.test(secret) && length >= SHORTEST_SECRET && length <= LONGEST_SECRET) return secret
  throw new ConfigError(
    `the first line of --admin-token-file ${adminTokenFile} must be ${SHORTEST_SECRET} to ${LONGEST_SECRET} random characters of ` +
      'A-Z a-z 0-9 - . _ ~ + /, as openssl rand -hex 32 makes them.',
  )
}

/** An access token to send, if one is given. @throws ConfigError where it is none; it does not show it. */
export function readToken(
  flag: string,
  file: string | undefined,
  variable: string,
  env: NodeJS.ProcessEnv,
): string | undefined {
  if (file === undefined && (env[variable] ?? '') === '') return undefined
  const token = file === undefined ? env[variable]! : firstLine(read(flag, file))
  if (SENDABLE.test(token)) return token
  const source = file === undefined ? variable : `the first line of ${flag} ${file}`
  throw new ConfigError(`${source} is no access token`)
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!.trim()
}

function readSecret(flag: string, file: string, log: Log): string {
  const text = read(flag, file)
  if ((statSync(file).mode & READABLE_BY_ALL) !== 0) {
    log.warn('every user of this machine can read a secret: chmod o-r', { flag, file })
  }
  return text
}

function read(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(`${flag} cannot be read: ${(error as Error).message}.`)
  }
}
