/**
 * One HTTP/1.1 connection with one request on its way at a time: no promise and no header object for a
 * request, so that what is measured is the server.
 */
import { connect, type Socket } from 'node:net'

const LENGTH = /\r\ncontent-length: (\d+)/i
const STATUS_AT = 'HTTP/1.1 '.length
/** Where an id goes in a request that names one. */
const ID = '00000000-0000-0000-0000-000000000000'

/** The bytes of a request, as curl would send it, that is sent again and again with other ids. */
export class Template {
  readonly bytes: Buffer
  readonly #idAt: number

  /** `path` ends where the id begins, if there is one. */
  constructor(port: number, method: string, path: string, withId: boolean) {
    this.bytes = Buffer.from(
      `${method} ${path}${withId ? ID : ''} HTTP/1.1\r\n` +
        `Host: 127.0.0.1:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n`,
      'latin1',
    )
    this.#idAt = method.length + 1 + path.length
  }

  /** The bytes may be used again once the answer is there. */
  with(id: string): Buffer {
    this.bytes.write(id, this.#idAt, 'latin1')
    return this.bytes
  }
}

/** The bytes of any other request. */
export function requestOf(port: number, method: string, path: string, body?: string): Buffer {
  const content =
    body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`
  return Buffer.from(
    `${method} ${path} HTTP/1.1\r\n` +
      `Host: 127.0.0.1:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\n${content}\r\n${body ?? ''}`,
    'latin1',
  )
}

export class Connection {
  /** What to do with an answer; it may send the next request. */
  onAnswer: (status: number, body: string) => void = () => undefined
  readonly #socket: Socket
  #received = ''

  constructor(port: number, buffer: Buffer) {
    this.#socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: {
        buffer, // read at once, so that all connections can share it
        callback: (length) => {
          this.#read(buffer.toString('latin1', 0, length))
          return true
        },
      },
    })
    this.#socket.on('error', (error) => {
      throw error
    })
    this.#socket.on('end', () => {
      throw new Error('the server closed a connection')
    })
  }

  send(request: Buffer): void {
    this.#socket.write(request)
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    const received = this.#received + text
    this.#received = received
    const headEnd = received.indexOf('\r\n\r\n') + 4
    if (headEnd < 4) return
    const length = LENGTH.exec(received)?.[1]
    if (length === undefined) throw new Error(`an answer without a length: ${received}`)
    const end = headEnd + Number(length)
    if (received.length < end) return
    if (received.length > end) throw new Error(`more than was asked for: ${received}`)
    this.#received = ''
    this.onAnswer(Number(received.slice(STATUS_AT, STATUS_AT + 3)), received.slice(headEnd))
  }
}

export function openConnections(port: number, count: number): Connection[] {
  const buffer = Buffer.alloc(64 * 1024)
  return Array.from({ length: count }, () => new Connection(port, buffer))
}

/** The `keyId` of an answer. */
export function keyIdOf(body: string): string {
  const at = body.indexOf('"keyId":"') + '"keyId":"'.length
  return body.slice(at, at + ID.length)
}

/** The `leaseId` of an answer; how long it is depends on the store. */
export function leaseIdOf(body: string): string {
  const at = body.indexOf('"leaseId":"') + '"leaseId":"'.length
  return body.slice(at, body.indexOf('"', at))
}
