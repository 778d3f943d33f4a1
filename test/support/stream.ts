/** A stream of server-sent events, as somebody reads it who may stop reading. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http'

export interface StreamedEvent {
  event: string
  data: Record<string, unknown>
}

const PATIENCE_MS = 20_000

export class EventReader {
  readonly response: IncomingMessage
  /** All that has come, oldest first. */
  readonly events: StreamedEvent[] = []
  /** As it came, comments too. */
  text = ''
  #rest = ''
  #heard = Promise.withResolvers<undefined>()

  private constructor(response: IncomingMessage) {
    this.response = response
    response.setEncoding('utf8')
    response.on('error', () => undefined) // cut off by one side or the other
    response.on('close', () => {
      this.#heard.resolve(undefined)
    })
  }

  static async open(
    port: number,
    query = '',
    headers: OutgoingHttpHeaders = {},
  ): Promise<EventReader> {
    const asked = request({ port, host: '127.0.0.1', path: `/v1/events${query}`, headers })
    asked.end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    assert.equal(response.statusCode, 200)
    asked.on('error', () => undefined)
    return new EventReader(response)
  }

  /** Reads from now on. */
  read(): this {
    this.response.on('data', (part: string) => {
      this.#take(part)
    })
    return this
  }

  /** The first event of that name that has come or comes, which it takes with those before it. */
  async next(name: string): Promise<Record<string, unknown>> {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    for (;;) {
      const at = this.events.findIndex(({ event }) => event === name)
      if (at >= 0) return this.events.splice(0, at + 1).at(-1)!.data
      assert.ok(!this.response.destroyed && !signal.aborted, `no ${name} comes`)
      await Promise.race([this.#heard.promise, once(signal, 'abort')])
    }
  }

  /** Resolves when the stream is over. */
  async over(): Promise<void> {
    if (!this.response.closed) await new Promise((resolve) => this.response.once('close', resolve))
  }

  leave(): void {
    this.response.destroy()
  }

  #take(part: string): void {
    this.text += part
    const blocks = (this.#rest + part).split('\n\n')
    this.#rest = blocks.pop()!
    for (const block of blocks) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? []
      if (event === undefined) assert.equal(block, ':')
      else this.events.push({ event, data: JSON.parse(data!) as StreamedEvent['data'] })
    }
    this.#heard.resolve(undefined)
    this.#heard = Promise.withResolvers()
  }
}
