import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ConfigError } from './config-error.ts'
import { type Config } from './config.ts'
import type { Log } from '../log.ts'
import { KEY_BYTES, masterKeyId, MasterKeyError } from '../service/vault.ts'
import { syncPath } from '../store/embedded/sqlite/database.ts'

/** In a data directory, where no other file is named. */
export const OWN_FILE = 'encryption.key'
const OTHERS = 0o077
const HOW_TO = 'make one with "openssl rand -base64 32"'

/**
 * The keys that values are encrypted with: those of the file that is named, else one of its own, which the server
 * makes and keeps beside its data, unless there are values already that `needed` another one.
 *
 * @throws ConfigError where the file holds none.
 * @throws MasterKeyError where one of its own cannot be kept.
 */
export function encryptionKeys(
  { encryptionKeyFile, memory, redis, dataDir }: Config,
  needed: string | null,
  log: Log,
): Buffer[] {
  if (encryptionKeyFile !== undefined) return readKeys(encryptionKeyFile, log)
  if (redis !== undefined) return [] // it would be of use to this server only
  if (memory) return [randomBytes(KEY_BYTES)] // nobody reads them once the process is gone
  const file = join(dataDir, OWN_FILE)
  if (statSync(file, { throwIfNoEntry: false }) === undefined) {
    if (needed !== null) return []
    makeKey(file, dataDir, log)
  }
  return readKeys(file, log)
}

/** The keys in a file, the newest first. @throws ConfigError where it holds none. */
export function readKeys(file: string, log: Log): Buffer[] {
  let lines
  try {
    lines = readFileSync(file, 'utf8').split('\n')
    if ((statSync(file).mode & OTHERS) !== 0) {
      log.warn('others than the owner may use the encryption key file', { file })
    }
  } catch (error) {
    throw new ConfigError(`the encryption key file cannot be read: ${(error as Error).message}`)
  }
  const texts = lines
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (texts.length === 0) throw new ConfigError(`${file} holds no encryption key: ${HOW_TO}.`)
  return texts.map((text, at) => {
    const key = Buffer.from(text, 'base64')
    if (/^[\w+/-]{43}=?$/.test(text) && key.length === KEY_BYTES) return key
    throw new ConfigError(`key ${at + 1} in ${file} is not 32 bytes in base64: ${HOW_TO}.`)
  })
}

/** It must be whole and on the disk before anything is encrypted with it. */
function makeKey(file: string, directory: string, log: Log): void {
  const key = randomBytes(KEY_BYTES)
  const unfinished = `${file}.new`
  try {
    rmSync(unfinished, { force: true })
    writeFileSync(unfinished, `${key.toString('base64')}\n`, { mode: 0o600, flag: 'wx' })
    syncPath(unfinished)
    renameSync(unfinished, file)
    syncPath(directory)
  } catch (error) {
    throw new MasterKeyError(`no encryption key can be kept: ${(error as Error).message}`)
  }
  log.info('made an encryption key: without it the values of keys cannot be read, so keep a copy', {
    file,
    keyId: masterKeyId(key),
  })
}
