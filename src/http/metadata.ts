import { MAX_METADATA_BYTES } from './contract/keys.ts'
import { malformed } from './problem.ts'

/** As it is kept. @throws an error of status 400 where it is too large. */
export function writeMetadata(metadata: object): string {
  const text = JSON.stringify(metadata)
  if (Buffer.byteLength(text) <= MAX_METADATA_BYTES) return text
  throw malformed(`metadata is longer than ${MAX_METADATA_BYTES} bytes.`)
}

export function parseMetadata(text: string | null): Record<string, unknown> | null {
  return text === null ? null : (JSON.parse(text) as Record<string, unknown>)
}
