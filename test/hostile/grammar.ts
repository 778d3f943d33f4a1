/** Requests that no honest client sends, made up from parts that each break a rule of HTTP or of JSON, or strain it. */
import type { SeededRandom } from '../support/seeded-random.ts'

const NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', '\u0000']
const HOST = 'Host: localhost\r\n'
const JSON_TYPE = 'Content-Type: application/json\r\n'

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'PRI', 'get', 'G\0T', 'TRACE', ' GET', '']
const TARGETS = [
  ...['/keys', '/healthz', '*', '', '//', '/keys/\0', '/keys/%00', '/../../etc/passwd', '/%2e%2e/'],
  ...['http://localhost/keys', 'http://evil.example/keys', 'http://[::1/keys', 'localhost:443'],
  ...[
    '/v1/pools/__proto__',
    '/v1/pools/default/keys?limit=__proto__',
    '/keys?__proto__[polluted]=1',
  ],
  `/${'x'.repeat(9000)}`,
]
const VERSIONS = [
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.1',
  'HTTP/1.0',
  'HTTP/2.0',
  'HTTP/1.',
  'http/1.1',
  '',
]
const LINE_ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n']
const HEADERS = [
  ...[HOST, HOST, HOST, 'Host: evil.example\r\n', 'Host:\r\n', JSON_TYPE],
  ...[
    'X: a\r\n b\r\n',
    'X: a\r b\r\n',
    'X : a\r\n',
    ': a\r\n',
    'X\0: a\r\n',
    'X: \0\r\n',
    '__proto__: a\r\n',
  ],
  ...[
    'Expect: 100-continue\r\n',
    'Upgrade: websocket\r\nConnection: Upgrade\r\n',
    'Connection: close\r\n',
  ],
  ...['Content-Encoding: gzip\r\n', 'Idempotency-Key: __proto__\r\n', `X: ${'y'.repeat(9000)}\r\n`],
  'X: y\r\n'.repeat(600),
]
const FRAMINGS = [
  ...[
    '',
    '',
    'Content-Length: 2\r\n',
    'Content-Length: 2\r\nContent-Length: 3\r\n',
    'Content-Length: -1\r\n',
  ],
  ...[
    'Content-Length: 1e9\r\n',
    'Content-Length: 99999999999999999999\r\n',
    'Content-Length: 2, 2\r\n',
  ],
  ...[
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: chunked, chunked\r\n',
    'Transfer-Encoding: x\r\n',
  ],
  ...['Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', 'Transfer-Encoding:\x0bchunked\r\n'],
]
const BODIES = [
  ...[
    '',
    '{}',
    '0\r\n\r\n',
    '2\r\n{}\r\n0\r\n\r\n',
    'ffffffffffffffff\r\n',
    '-1\r\n',
    '2;x=y\r\n{}\r\n0\r\n\r\n',
  ],
  ...[
    'GET /keys HTTP/1.1\r\n\r\n',
    '\0\0\0\0',
    '7fffffff\r\nxx',
    `2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`,
  ],
]

/** A request, or what only looks like the beginning of one. */
export function brokenRequest(random: SeededRandom): string {
  const pick = (parts: readonly string[]): string => random.pick(parts)!
  const headers = Array.from({ length: random.below(4) }, () => pick(HEADERS))
  const start = [pick(METHODS), pick(TARGETS), pick(VERSIONS)].join(
    random.chance(0.95) ? ' ' : '  ',
  )
  const head = `${start}${pick(LINE_ENDS)}${headers.join('')}${pick(FRAMINGS)}`
  const request = `${head}${pick(LINE_ENDS)}${pick(BODIES)}`
  const whole = request.repeat(1 + random.below(3))
  return random.chance(0.1) ? whole.slice(0, random.below(whole.length)) : whole
}

/** A well-framed request to a route that reads JSON, whose body is strange. */
export function strangeJson(random: SeededRandom): string {
  const path = random.pick([
    ...['/keys', '/v1/pools/default/keys', '/v1/pools/default/leases', '/v1/pools/default/batch'],
    ...NAMES.map((name) => `/v1/pools/${encodeURIComponent(name)}/keys`),
  ])!
  const body = random.chance(0.3) ? deepJson(random) : JSON.stringify(strange(random, 0))
  const length = `Content-Length: ${Buffer.byteLength(body)}\r\n`
  return `POST ${path} HTTP/1.1\r\n${HOST}${JSON_TYPE}Connection: close\r\n${length}\r\n${body}`
}

function strange(random: SeededRandom, depth: number): unknown {
  const chosen = random.below(depth > 3 ? 4 : 8)
  if (chosen === 0) return random.pick([null, true, 1e308, -0, 2 ** 53, 0.1])
  if (chosen === 1) return random.pick(NAMES)
  if (chosen === 2) return 'x'.repeat(random.below(300))
  if (chosen === 3) return random.below(3)
  if (chosen === 4) return Array.from({ length: random.below(4) }, () => strange(random, depth + 1))
  const known = [
    'count',
    'keys',
    'operations',
    'op',
    'value',
    'name',
    'metadata',
    'ttlMs',
    'polluted',
  ]
  const fields = Array.from({ length: random.below(4) }, () => {
    const name = random.pick([...NAMES, ...known])!
    return [name, strange(random, depth + 1)] as const
  })
  return Object.fromEntries(fields) // an own __proto__, which JSON.stringify writes
}

function deepJson(random: SeededRandom): string {
  const depth = random.pick([1000, 30_000])!
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
    ['{"metadata":{"__proto__":', '}}'],
  ])!
  const levels = Math.min(depth, Math.floor(60_000 / (open.length + close.length)))
  const whole = `${open.repeat(levels)}1${close.repeat(levels)}`
  return random.chance(0.8) ? whole : whole.slice(0, levels)
}
