import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'
import { lastOwed } from './pipelining.ts'
import { problem, PROBLEM_TYPE } from './problem.ts'

/** How long a connection that is given up may take to read its last answer. */
const LINGER_MS = 1000
const NOT_HTTP = 'It is not HTTP/1.1 as RFC 9112 has it, or of no method that is known.'

/** Answers what never became a request: the parser refused it, or it took too long. */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  let code: ErrorCode = 'invalid_request'
  if (error.code === 'HPE_HEADER_OVERFLOW') code = 'headers_too_large'
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') code = 'request_timeout'
  const { status } = ERRORS[code]
  const body = problem(code, code === 'invalid_request' ? NOT_HTTP : undefined)
  const answer =
    `HTTP/1.1 ${status} ${STATUS_CODES[status]!}\r\n` +
    `Content-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `Cache-Control: no-store\r\nConnection: close\r\n\r\n${body}`
  const send = (): void => {
    if (!socket.writable) return
    socket.end(answer)
    socket.resume() // what is left unread would turn the end into a reset, and lose the answer
    setTimeout(() => socket.destroy(), LINGER_MS)
  }
  // The answers to what came before it on the connection go first. Its own is not among them: its body
  // will never be whole.
  const before = lastOwed(socket)
  if (before === undefined) send()
  else before.once('close', () => setImmediate(send))
}

/** Refuses a tunnel. Node has let go of the connection by then, so that its errors are ours to bear. */
export function refuseTunnel(_request: unknown, socket: Socket): void {
  socket.on('error', () => socket.destroy())
  answerBrokenRequest(new Error('CONNECT'), socket)
}
