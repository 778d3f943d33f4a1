/** Node's server with our limits, and what holds for every request before any route sees it. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type ErrorCode, ERRORS } from '../engine/errors.ts'
import { refuseTunnel } from './broken-request.ts'
import { whyNotLocal } from './guard.ts'
import { Pipelining } from './pipelining.ts'
import { problem, PROBLEM_TYPE } from './problem.ts'
import { JoinedResponse } from './response.ts'

export const MAX_HEADER_BYTES = 8 * 1024
const MAX_HEADERS = 500
const HEADERS_TIMEOUT_MS = 5000
/** To receive a request whole. */
const REQUEST_TIMEOUT_MS = 10_000
/** A connection on which nothing moves is given up. Longer than anybody may wait for a key, and than clients are told. */
const IDLE_MS = 90_000
/** About 12 KB of memory each while they are idle. */
const MAX_CONNECTIONS = 20_000
/** How often Node looks for connections that are over those times. */
const TIMEOUT_CHECK_MS = 1000
/** Connections that wait to be taken. Node's 511 are too few when all clients come back at once. */
const BACKLOG = 4096
/** How long the requests that are under way may take once the server is closing. */
const DRAIN_MS = 10_000

const MEDIA_TYPE = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(;|$)/

/** A certificate and its key, in PEM. */
export interface Tls {
  cert: string
  key: string
}

/** @param isOpen whether only local callers are answered, and without an access token. */
export function createListener(
  dispatch: RequestListener,
  isOpen: () => boolean,
  tls: Tls | null,
): Server {
  const pipelining = new Pipelining()
  const isClosing = (): boolean => !server.listening
  const handle = (request: IncomingMessage, response: JoinedResponse): void => {
    response.isClosing = isClosing
    pipelining.take(response, () => {
      if (request.socket.destroyed) return
      if (admit(request, response, isOpen(), scheme)) dispatch(request, response)
    })
  }
  const scheme = tls === null ? 'http' : 'https'
  const options = {
    ServerResponse: JoinedResponse,
    optimizeEmptyRequests: true, // streams that say nothing take a tenth of the time
    requireHostHeader: false, // that is seen to here
    joinDuplicateHeaders: true, // two hosts are none
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: 0, // two new timers a request; `timeout` sees to idle connections, too
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
  }
  const server =
    tls === null
      ? createHttpServer(options, handle)
      : createHttpsServer({ ...options, ...tls }, handle)
  server.timeout = IDLE_MS
  server.maxConnections = MAX_CONNECTIONS
  server.maxHeadersCount = 0 // Node could drop what is too many unseen; we refuse it
  server.on('checkExpectation', handle) // Node would answer by itself
  server.on('connect', refuseTunnel)
  return server
}

/**
 * @returns the port, chosen by the system where 0 was asked for.
 * @throws the system's error, where the address cannot be listened on.
 */
export async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

/** Takes no more connections and resolves when all that was begun is answered. */
export async function drain(server: Server): Promise<void> {
  // What is answered from now on leaves no idle connection to wait for.
  server.keepAliveTimeout = 1
  server.keepAliveTimeoutBuffer = 0
  const timeout = setTimeout(() => {
    server.closeAllConnections()
  }, DRAIN_MS)
  await new Promise((resolve) => server.close(resolve))
  clearTimeout(timeout)
}

/** False: the request has been answered. */
function admit(
  request: IncomingMessage,
  response: ServerResponse,
  isOpen: boolean,
  scheme: 'http' | 'https',
): boolean {
  if (request.rawHeaders.length > 2 * MAX_HEADERS) {
    return refuse(response, 'headers_too_large', `At most ${MAX_HEADERS} headers.`)
  }
  if (isOpen) {
    const foreign = whyNotLocal(request, scheme)
    if (foreign !== null) return refuse(response, 'not_local', foreign)
  } else if (!hasOneHost(request)) {
    return refuse(response, 'invalid_request', 'A request has one Host header (RFC 9112, 3.2).')
  }
  const type = request.headers['content-type']
  // A type that is none, or of no body, counts as no type: where bodies are ignored, so is what is said of them.
  if (type !== undefined && !(hasBody(request) && MEDIA_TYPE.test(type)))
    delete request.headers['content-type']
  return true
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

function hasOneHost({ headers, httpVersion }: IncomingMessage): boolean {
  return headers.host === undefined ? httpVersion === '1.0' : !headers.host.includes(',')
}

function refuse(response: ServerResponse, code: ErrorCode, detail: string): false {
  response.writeHead(ERRORS[code].status, { 'content-type': PROBLEM_TYPE })
  response.end(problem(code, detail))
  return false
}
