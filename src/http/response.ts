/** How Node writes our answers. */
import { type OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { owesMore } from './pipelining.ts'

/** No answer waits for more others than these: about a millisecond. */
const MOST_UNSENT = 64
/** In seconds, what clients are told of how long an idle connection is kept for sure. */
const KEEP_ALIVE_S = 72

const NEVER = (): boolean => false

let unsent: (() => void)[] = []

/**
 * Answers that are ready in one turn of the event loop are written one after another at its end, as Redis does: between
 * requests each write would wake a client that has gone to sleep again, which takes longer than the request.
 */
export class JoinedResponse extends ServerResponse {
  /** Whether the server takes no more connections: then this one ends with the last answer that it is owed. */
  isClosing = NEVER

  /**
   * Says that the answer must not be stored, and how long its connection is kept. (`setHeader` would cost a fifth of a
   * request.) Nobody here names a reason phrase.
   */
  override writeHead(status: number, headers?: unknown): this {
    if (this.isClosing() && !owesMore(this)) this.shouldKeepAlive = false
    const all: OutgoingHttpHeaders = {
      ...(headers as OutgoingHttpHeaders | undefined),
      'cache-control': 'no-store',
    }
    if (this.shouldKeepAlive) all['keep-alive'] = `timeout=${KEEP_ALIVE_S}`
    return super.writeHead(status, all)
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
