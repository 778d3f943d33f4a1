import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const LENGTH = /\r\ncontent-length: (\d+)/i
const STATUS_AT = 'HTTP/1.1 '.length
/** Shorter than the server says: what is tested here is not his patience. */
const SHED_MS = 20

export interface HttpAnswer {
  status: number
  /** The status line and the headers. */
  head: string
  text: string
}

/** One HTTP/1.1 connection that is kept alive, with one request on its way at a time. */
export class Connection {
  readonly #socket: Socket
  readonly #port: number
  #received = ''
  #asked: ((answer: HttpAnswer | null) => void) | null = null
  #ended = false

  constructor(port: number) {
    this.#port = port
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.setEncoding('latin1').on('data', (text: string) => {
      this.#read(text)
    })
    // An error is an end like others: it may be that the answer never comes.
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', () => {
      this.#end()
    })
  }

  /** `headers` are whole lines. Null: the connection has ended, and what became of the request is unknown. */
  ask(method: string, path: string, body?: object, headers = ''): Promise<HttpAnswer | null> {
    if (this.#ended) return Promise.resolve(null)
    const text = body === undefined ? '' : JSON.stringify(body)
    const type = body === undefined ? '' : 'Content-Type: application/json\r\n'
    const host = `Host: 127.0.0.1:${this.#port}\r\n`
    const length = `Content-Length: ${text.length}\r\n\r\n`
    const answer = new Promise<HttpAnswer | null>((resolve) => (this.#asked = resolve))
    this.#socket.write(`${method} ${path} HTTP/1.1\r\n${host}${headers}${type}${length}${text}`)
    return answer
  }

  /** Reads nothing until `resume`: what is answered meanwhile arrives late. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** What is under way gets no answer any more. */
  close(): void {
    this.#socket.destroy()
    this.#end()
  }

  #read(text: string): void {
    this.#received += text
    const received = this.#received
    const headEnd = received.indexOf('\r\n\r\n') + 4
    if (headEnd < 4) return
    const length = LENGTH.exec(received)?.[1] // a 204 has none
    const end = headEnd + Number(length ?? 0)
    if (received.length < end) return
    this.#received = ''
    const status = Number(received.slice(STATUS_AT, STATUS_AT + 3))
    this.#settle({ status, head: received.slice(0, headEnd), text: received.slice(headEnd) })
  }

  #end(): void {
    this.#ended = true
    this.#settle(null)
  }

  #settle(answer: HttpAnswer | null): void {
    const asked = this.#asked
    this.#asked = null
    asked?.(answer)
  }
}

/** Nothing was done, for the server was asked for too much: here one asks again. */
export function isShed(answer: HttpAnswer | null): boolean {
  return answer?.status === 503 && answer.text.includes('"code":"overloaded"')
}

/** Asks again as long as the server is asked for too much, as it may be on a machine that others use as well. */
export async function insist(
  connection: Connection,
  method: string,
  path: string,
  body?: object,
): Promise<HttpAnswer> {
  for (;;) {
    const answer = await connection.ask(method, path, body)
    assert(answer !== null, 'the server has ended a connection')
    if (!isShed(answer)) return answer
    await sleep(SHED_MS)
  }
}
