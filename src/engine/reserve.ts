/**
 * Zeroed memory that the operating system commits page by page, when first touched. Shared buffers,
 * though one thread uses them: V8 takes gigabytes in plain ones for pressure on its heap, and then
 * requests ran about a third slower (docs/decisions/0007).
 *
 * @throws RangeError where that much address space is not to be had.
 */
export function reserve(bytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(bytes)
}

const CACHE_LINE = 64
/** How far past a page glibc's large blocks begin: behind its own header. */
const BLOCK_HEADER = 16

/**
 * Words of such memory that begin where a cache line does, so that a row of 64 bytes lies in one. Where
 * another allocator is in use they may not, and only speed is lost.
 */
export function reserveRows(words: number): Uint32Array {
  const start = CACHE_LINE - BLOCK_HEADER
  return new Uint32Array(reserve(start + words * 4), start, words)
}
