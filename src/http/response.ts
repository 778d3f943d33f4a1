/** How Node writes our answers. */
import { type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { owesMore } from './pipelining.ts'

/** No answer waits for more others than these: about a millisecond. */
const MOST_UNSENT = 64

let unsent: (() => void)[] = []

/**
 * Answers that are ready in one turn of the event loop are written one after another at its end, as Redis does: between
 * requests each write would wake a client that has gone to sleep again, which takes longer than the request.
 */
export class JoinedResponse extends ServerResponse {
  /**
   * Every answer says that it must not be kept. (`setHeader` would cost a fifth of a request.) Nobody here names a
   * reason phrase.
   */
  override writeHead(status: number, headers?: unknown): this {
    return super.writeHead(status, {
      ...(headers as OutgoingHttpHeaders | undefined),
      'cache-control': 'no-store',
    })
  }

  override end(...args: unknown[]): this {
    const send = (): void => {
      super.end(...(args as Parameters<ServerResponse['end']>))
    }
    if (owesMore(this)) {
      send() // what came behind it on its connection waits for it
      return this
    }
    unsent.push(send)
    if (unsent.length === 1) setImmediate(sendAll)
    else if (unsent.length === MOST_UNSENT) sendAll()
    return this
  }
}

function sendAll(): void {
  const all = unsent
  unsent = []
  for (const send of all) send()
}
