/** When answers are written. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { RequestListener, Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { suite, test } from 'node:test'
import { createListener, drain, listen } from '../../src/http/listener.ts'

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Asks on connections of their own, all at once when all are taken. @returns what is heard on each. */
async function askAll(server: Server, texts: string[], answers: number): Promise<string[]> {
  const { port } = server.address() as AddressInfo
  const sockets: Socket[] = []
  while (sockets.length < texts.length) {
    const taken = once(server, 'connection') // one a turn
    sockets.push(connect(port, '127.0.0.1'))
    await taken
  }
  const heard = sockets.map((socket) => hear(socket, answers))
  for (const [at, socket] of sockets.entries()) socket.write(texts[at]!)
  return Promise.all(heard)
}

async function hear(socket: Socket, answers: number): Promise<string> {
  let text = ''
  for await (const chunk of socket.setEncoding('latin1')) {
    text += chunk as string
    if (text.split('HTTP/1.1 ').length > answers) break
  }
  return text
}

async function serving(
  dispatch: RequestListener,
  ask: (server: Server) => Promise<void>,
): Promise<void> {
  const server = createListener(dispatch, () => true, null)
  await listen(server, '127.0.0.1', 0)
  try {
    await ask(server)
  } finally {
    await drain(server)
  }
}

suite('answers', () => {
  test('of one turn are written when all of its requests have been worked on', async () => {
    const sockets: Socket[] = []
    const writtenBefore: number[] = []
    await serving(
      ({ socket }, response) => {
        writtenBefore.push(sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0))
        sockets.push(socket)
        response.end('done')
      },
      async (server) => {
        for (const text of await askAll(server, Array<string>(8).fill(REQUEST), 1)) {
          assert.match(text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\ndone$/s)
        }
      },
    )
    assert.deepEqual(writtenBefore, Array<number>(8).fill(0))
  })

  test('wait for no more than 64', async () => {
    let unsent = 0
    let most = 0
    await serving(
      (_request, response) => {
        most = Math.max(most, ++unsent)
        response.once('prefinish', () => unsent--)
        response.end('done')
      },
      async (server) => {
        const heard = await askAll(server, Array<string>(500).fill(REQUEST), 1)
        assert(heard.every((text) => text.endsWith('done')))
      },
    )
    assert(most > 32 && most <= 64, String(most))
  })

  test('say how long an idle connection is kept, or close it where the server closes', async () => {
    let closing: Promise<void> | undefined
    let server!: Server
    await serving(
      ({ url }, response) => {
        if (url === '/last') closing = drain(server)
        response.end('done')
      },
      async (serving) => {
        server = serving
        const [kept] = await askAll(server, [REQUEST], 1)
        assert.match(kept!, /\r\nConnection: keep-alive\r\n/)
        assert.match(kept!, /\r\nkeep-alive: timeout=72\r\n/)
        const [last] = await askAll(server, [REQUEST.replace('/', '/last')], 1)
        assert.match(last!, /\r\nConnection: close\r\n/)
        assert.doesNotMatch(last!, /keep-alive/)
        await closing
      },
    )
  })

  test('of requests that did not wait come in their order, each with its own', async () => {
    const paths = Array.from({ length: 20 }, (_, at) => `/${at}`)
    const text = paths.map((path) => REQUEST.replace('/', path)).join('')
    await serving(
      (request, response) => {
        response.end(`path ${request.url!}.`)
      },
      async (server) => {
        const [heard] = await askAll(server, [text], paths.length)
        const told = [...heard!.matchAll(/path (\/\d+)\./g)].map(([, path]) => path)
        assert.deepEqual(told, paths)
      },
    )
  })
})
