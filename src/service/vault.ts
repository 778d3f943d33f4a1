/**
 * Values at rest. Each is encrypted (AES-256-GCM) with a data key, and the data keys lie in the store, encrypted
 * with a master key that the operator keeps: so a change of master key need not touch the values.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto'
import type { SealedValue } from '../engine/details.ts'
import type { Random } from '../engine/random.ts'
import type { Store } from '../store/store.ts'

export const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** As long as a UUID: nobody finds two values with the same one. */
const DIGEST_BYTES = 16
const CIPHER = 'aes-256-gcm'
const DOCUMENT = 'keyring'

/** The master key that the values need is not there, or the data keys are not what was written. */
export class MasterKeyError extends Error {}

/** A value that will not decrypt: it is not what was written. */
export class UnreadableValue extends Error {
  readonly code = 'value_unreadable'
}

/** The key ring as it is kept: its keys encrypted with the master key of that id. */
interface SavedRing {
  masterKeyId: string
  /** What values are found again by. It never changes, else equal values would not be seen. */
  digestKey: string
  /** By id; the last one is for new values. */
  dataKeys: [string, string][]
}

/** The id of the master key that the values in the store need; null: there are none. */
export async function neededMasterKey(store: Store): Promise<string | null> {
  if (!(await store.holdsValues())) return null
  const text = await savedText(store)
  return text === null ? null : (JSON.parse(text) as SavedRing).masterKeyId
}

/**
 * What of a store's documents goes with its keys to another store: without values the key ring is of no use there, and
 * would keep servers without a master key away.
 * @throws MasterKeyError where there are values that none of the master keys opens.
 */
export function documentsToCopy(
  documents: ReadonlyMap<string, string>,
  holdsValues: boolean,
  masterKeys: readonly Buffer[],
): ReadonlyMap<string, string> {
  if (!holdsValues) return new Map([...documents].filter(([name]) => name !== DOCUMENT))
  const text = documents.get(DOCUMENT)
  const saved = text === undefined ? null : (JSON.parse(text) as SavedRing)
  const master = masterKeys.find((key) => masterKeyId(key) === saved?.masterKeyId)
  if (saved === null || master === undefined) throw missing(saved, masterKeys)
  openRing(saved, master)
  return documents
}

interface Ring {
  digestKey: Buffer
  dataKeys: Map<string, Buffer>
}

/** Without a master key nothing is kept that has to be secret: bodies of requests are told apart by it. */
const PUBLIC_DIGEST_KEY = Buffer.alloc(KEY_BYTES)

export class Vault {
  readonly #store: Store
  readonly #masterKeys: readonly Buffer[]
  readonly #random: Random
  #ring: Ring = { digestKey: PUBLIC_DIGEST_KEY, dataKeys: new Map() }
  /** The id of the data key for new values; null: there is none, nor any master key. */
  #latest: string | null = null

  private constructor(store: Store, masterKeys: readonly Buffer[], random: Random) {
    this.#store = store
    this.#masterKeys = masterKeys
    this.#random = random
  }

  /**
   * With the keys that lie in the store, or new ones where there are none yet. The first of the master keys is
   * for writing, the others for reading what was written with them. Where the first is new, so is the data key.
   * Without a master key values are not taken in, nor may there be any.
   *
   * @throws MasterKeyError where values were written with another master key.
   * @throws StoreFailure where the key ring cannot be saved.
   */
  static async open(store: Store, masterKeys: readonly Buffer[], random: Random): Promise<Vault> {
    const vault = new Vault(store, masterKeys, random)
    while (!(await vault.#open()));
    return vault
  }

  /** Whether it has a key to encrypt with. */
  get canSeal(): boolean {
    return this.#latest !== null
  }

  /**
   * Reads the keys again, which another process may have changed.
   * @throws MasterKeyError where they can no longer be read with the master keys of this one.
   */
  async refresh(): Promise<void> {
    const text = await savedText(this.#store)
    const saved = text === null ? null : (JSON.parse(text) as SavedRing)
    if (saved === null && !this.canSeal) return
    if (saved === null) {
      throw new MasterKeyError('the store has lost what was in it, the keys of values among them')
    }
    const master = this.#masterOf(saved)
    if (master === undefined) throw missing(saved, this.#masterKeys)
    this.#take(openRing(saved, master))
  }

  /** False: another process has changed the keys meanwhile. */
  async #open(): Promise<boolean> {
    const text = await savedText(this.#store)
    const saved = text === null ? null : (JSON.parse(text) as SavedRing)
    const known = this.#masterOf(saved)
    if (known === undefined && (await this.#store.holdsValues()))
      throw missing(saved, this.#masterKeys)
    const [master] = this.#masterKeys
    if (master === undefined) return true
    // Without a value nothing is lost with the keys.
    const isNew = saved === null || known === undefined
    const ring = isNew ? newRing(this.#random) : openRing(saved, known)
    if (known !== master) {
      ring.dataKeys.set(`k${ring.dataKeys.size + 1}`, randomBytes(this.#random, KEY_BYTES))
      const sealed = JSON.stringify(sealRing(ring, master, this.#random))
      if (!(await this.#store.replaceDocument(DOCUMENT, text, sealed))) return false
    }
    this.#take(ring)
    return true
  }

  #masterOf(saved: SavedRing | null): Buffer | undefined {
    return this.#masterKeys.find((key) => masterKeyId(key) === saved?.masterKeyId)
  }

  #take(ring: Ring): void {
    this.#ring = ring
    this.#latest = [...ring.dataKeys.keys()].at(-1)!
  }

  /** The same for the same text, and of no use to who does not have the key. */
  digest(text: string): string {
    const digest = createHmac('sha256', this.#ring.digestKey).update(text).digest()
    return digest.toString('base64url', 0, DIGEST_BYTES)
  }

  /** Encrypts a value for that pool: in another it will not decrypt. It must be able to. */
  seal(pool: string, value: string): SealedValue {
    const latest = this.#latest!
    const key = this.#ring.dataKeys.get(latest)!
    const sealed = `${latest}.${seal(key, pool, Buffer.from(value), this.#random)}`
    return { sealed, digest: this.digest(value) }
  }

  /** Whether it has the key of the value, and so may open it; else another process may just have made one. */
  knows(sealed: string): boolean {
    return this.#ring.dataKeys.has(sealed.slice(0, sealed.indexOf('.')))
  }

  /** @throws UnreadableValue where it is not what was written for that pool. */
  open(pool: string, sealed: string): string {
    const dot = sealed.indexOf('.')
    const key = this.#ring.dataKeys.get(sealed.slice(0, dot))
    if (key === undefined) throw new UnreadableValue('the data key of a value is missing')
    return unseal(key, pool, sealed.slice(dot + 1)).toString()
  }
}

/** Tells master keys apart, and nothing else of them. */
export function masterKeyId(key: Buffer): string {
  return createHash('sha256').update('master key id').update(key).digest('hex').slice(0, 8)
}

async function savedText(store: Store): Promise<string | null> {
  return (await store.documents()).get(DOCUMENT) ?? null
}

function missing(saved: SavedRing | null, masterKeys: readonly Buffer[]): MasterKeyError {
  if (saved === null) {
    return new MasterKeyError(
      'there are values, but not the data keys that they are encrypted with',
    )
  }
  const given =
    masterKeys.length === 0 ? 'none was given' : `not ${masterKeys.map(masterKeyId).join(', ')}`
  return new MasterKeyError(
    `the values of keys can be read with the encryption key ${saved.masterKeyId} only, ${given}. ` +
      'Put its file back into the data directory as encryption.key, or name it by --encryption-key-file. ' +
      'A backup does not hold the key.',
  )
}

function newRing(random: Random): Ring {
  return { digestKey: randomBytes(random, KEY_BYTES), dataKeys: new Map() }
}

function sealRing(ring: Ring, master: Buffer, random: Random): SavedRing {
  const wrap = (key: Buffer, name: string): string => seal(master, name, key, random)
  return {
    masterKeyId: masterKeyId(master),
    digestKey: wrap(ring.digestKey, 'digest'),
    dataKeys: [...ring.dataKeys].map(([id, key]) => [id, wrap(key, id)]),
  }
}

function openRing(saved: SavedRing, master: Buffer): Ring {
  try {
    return {
      digestKey: unseal(master, 'digest', saved.digestKey),
      dataKeys: new Map(saved.dataKeys.map(([id, key]) => [id, unseal(master, id, key)])),
    }
  } catch (cause) {
    throw new MasterKeyError('the data keys that values are encrypted with are damaged', { cause })
  }
}

/** Nonce, ciphertext and tag. What it belongs to is authenticated too, so that nothing passes for something else. */
function seal(key: Buffer, belongsTo: string, plain: Buffer, random: Random): string {
  const nonce = randomBytes(random, NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce)
  cipher.setAAD(Buffer.from(belongsTo))
  const parts = [nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]
  return Buffer.concat(parts).toString('base64url')
}

function unseal(key: Buffer, belongsTo: string, text: string): Buffer {
  const sealed = Buffer.from(text, 'base64url')
  try {
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES))
    decipher.setAAD(Buffer.from(belongsTo))
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    const plain = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES))
    return Buffer.concat([plain, decipher.final()])
  } catch (cause) {
    throw new UnreadableValue('a value will not decrypt', { cause })
  }
}

function randomBytes(random: Random, bytes: number): Buffer {
  const words = Uint32Array.from({ length: bytes / 4 }, () => random.uint32())
  return Buffer.from(words.buffer)
}
