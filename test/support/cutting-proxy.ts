/** A TCP proxy that cuts connections when it is told to. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class CuttingProxy implements AsyncDisposable {
  readonly port: number
  /** Where connections go from now on. */
  target: number
  /** Refuses those that come. */
  closed = false
  /** How many bytes of an answer pass before its connection is cut; null: all, and it is not. */
  cutAfter: () => number | null = () => null
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server, target: number) {
    this.#server = server
    this.target = target
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => {
      this.#carry(socket)
    })
  }

  static async start(target: number): Promise<CuttingProxy> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new CuttingProxy(server, target)
  }

  /** All connections there are. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #carry(near: Socket): void {
    if (this.closed) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ port: this.target, host: '127.0.0.1', noDelay: true })
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        other.destroy()
      })
    }
    near.pipe(far)
    far.on('data', (data: Buffer) => {
      const bytes = this.cutAfter()
      if (bytes === null) near.write(data)
      else near.write(data.subarray(0, bytes), () => near.resetAndDestroy())
    })
  }
}
