/** How a server ends when it is asked to: what has begun is finished, and nothing new is begun. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { suite, test } from 'node:test'
import { startServe } from '../support/command.ts'
import { dial, received } from '../support/server.ts'

const BODY = '{"count": 2}'
/** Far below the time after which a server that drains cuts off who does not finish. */
const PROMPT_MS = 3000

/** The head of a request whose body is still to come; resolves when the server waits for it. */
async function begin(port: number): Promise<Awaited<ReturnType<typeof dial>>> {
  const socket = await dial(port)
  socket.write(
    'POST /keys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' +
      `Expect: 100-continue\r\nContent-Length: ${String(BODY.length)}\r\n\r\n`,
  )
  const [said] = (await once(socket, 'data')) as [Buffer]
  assert.match(String(said), /^HTTP\/1\.1 100 /)
  return socket
}

/** Resolves when new connections are refused: a moment after the log says so. */
async function refused(port: number): Promise<void> {
  for (let code = ''; code !== 'ECONNREFUSED';) {
    const socket = connect(port, '127.0.0.1')
    code = await new Promise((resolve) => {
      socket.once('connect', () => {
        resolve('')
      })
      socket.once('error', (error: NodeJS.ErrnoException) => {
        resolve(error.code!)
      })
    })
    socket.destroy()
  }
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  suite(signal, () => {
    test('ends an idle server at once, whoever is connected', async () => {
      await using served = await startServe()
      const idle = await dial(served.port)
      idle.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
      await once(idle, 'data')
      const tunnel = await dial(served.port)
      tunnel.write('CONNECT example.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n')
      await once(tunnel, 'data')
      const start = performance.now()
      served.command.kill(signal)
      assert.equal(await served.command.code, 0)
      assert.ok(performance.now() - start < PROMPT_MS)
      assert.equal(served.command.stderr, '')
      idle.destroy()
      tunnel.destroy()
    })

    test('lets requests finish, refuses new connections, and ends with 0', async () => {
      await using served = await startServe()
      const begun = await Promise.all(Array.from({ length: 5 }, () => begin(served.port)))
      served.command.kill(signal)
      await served.command.says(/"message":"draining"/)
      await refused(served.port)
      const start = performance.now()
      for (const socket of begun) socket.write(BODY)
      const answers = await Promise.all(begun.map(received))
      for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 201 .*"keyIds":\[/s)
      assert.equal(await served.command.code, 0)
      assert.ok(performance.now() - start < PROMPT_MS, 'it waited for connections that are done')
    })
  })
}

test('a server whose log nobody reads any more finishes all the same', async () => {
  await using served = await startServe()
  const begun = await begin(served.port)
  served.command.stopReading()
  served.command.kill('SIGTERM') // which it logs
  await refused(served.port)
  begun.write(BODY)
  assert.match(await received(begun), /^HTTP\/1\.1 201 /)
  assert.equal(await served.command.code, 0)
})

test('who listens to what happens is told that it ends', async () => {
  await using served = await startServe()
  const listening = await dial(served.port)
  listening.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(listening, 'data')
  const start = performance.now()
  served.command.kill('SIGTERM')
  assert.match(await received(listening), /event: end\ndata: .*"code":"draining"/)
  assert.equal(await served.command.code, 0)
  assert.ok(performance.now() - start < PROMPT_MS)
})

test('a request that follows on a connection learns that the server is not ready', async () => {
  await using served = await startServe()
  const socket = await begin(served.port)
  served.command.kill('SIGTERM')
  await served.command.says(/"message":"draining"/)
  socket.write(`${BODY}GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  const answers = await received(socket)
  assert.match(answers, /^HTTP\/1\.1 201 /)
  assert.match(answers, /HTTP\/1\.1 503 .*connection: close.*\{"status":"draining"\}$/is)
  assert.equal(await served.command.code, 0)
})
