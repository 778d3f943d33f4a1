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
