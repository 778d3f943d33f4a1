/** A connection of a protocol whose replies are lines, with one call, or one pipeline of them, on its way at a time. */
import { connect, type Socket } from 'node:net'

export class LineConnection {
  readonly #socket: Socket
  #received = ''
  /** What each line of the replies to come must begin with; of lines that may be anything, nothing. */
  #expected: readonly string[] = []
  #lines: string[] = []
  #settle!: { resolve: (lines: string[]) => void; reject: (error: Error) => void }

  /** `at` is a port of this machine, or the path of a socket. */
  constructor(at: number | string) {
    this.#socket =
      typeof at === 'number'
        ? connect({ port: at, host: '127.0.0.1', noDelay: true })
        : connect({ path: at })
    this.#socket.setEncoding('latin1')
    this.#socket.on('data', (text: string) => {
      this.#read(text)
    })
    this.#socket.on('error', (error) => {
      this.#settle.reject(error)
    })
  }

  /** Sends commands. Resolves to all lines of their replies. */
  ask(commands: string, expected: readonly string[]): Promise<string[]> {
    this.#expected = expected
    this.#lines = []
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#socket.write(commands, 'latin1')
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    const lines = (this.#received + text).split('\r\n')
    this.#received = lines.pop()!
    for (const line of lines) {
      const expected = this.#expected[this.#lines.length]
      if (expected === undefined || !line.startsWith(expected)) {
        this.#settle.reject(new Error(`answered ${line}`))
        return
      }
      this.#lines.push(line)
    }
    if (this.#lines.length === this.#expected.length) this.#settle.resolve(this.#lines)
  }
}
