/** Traces of a real server, as a collector receives them. */
import assert from 'node:assert/strict'
import { type IncomingHttpHeaders, request } from 'node:http'
import { suite, test } from 'node:test'
import { runCli, startServe } from '../support/command.ts'
import { Upstream } from '../support/gateway.ts'
import { json } from '../support/server.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'
const SECRETS = { value: 'sk-live-31415926', token: 'Bearer tok_of_nobody_at_all' }

type Value = { stringValue: string } | { intValue: number }

interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  attributes: { key: string; value: Value }[]
  status: { code: number }
}

interface Export {
  resourceSpans: {
    resource: { attributes: { key: string; value: Value }[] }
    scopeSpans: { spans: Span[] }[]
  }[]
}

/** Takes in what a server exports, and answers as it is told. */
class Collector implements Disposable {
  status = 200
  readonly received: string[] = []
  readonly headers: IncomingHttpHeaders[] = []
  #upstream!: Upstream

  static async start(): Promise<Collector> {
    const collector = new Collector()
    collector.#upstream = await Upstream.start((request, response) => {
      let text = ''
      request.setEncoding('utf8').on('data', (part: string) => (text += part))
      request.on('end', () => {
        collector.received.push(text)
        collector.headers.push(request.headers)
        assert.equal(request.url, '/v1/traces')
        response.writeHead(collector.status, { 'content-type': 'application/json' }).end('{}')
      })
    })
    return collector
  }

  get env(): Record<string, string> {
    return { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#upstream.port}` }
  }

  get resources(): Export['resourceSpans'] {
    return this.received.flatMap((text) => (JSON.parse(text) as Export).resourceSpans)
  }

  get spans(): Span[] {
    return this.resources.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))
  }

  [Symbol.dispose](): void {
    this.#upstream[Symbol.dispose]()
  }
}

function read(attributes: Span['attributes']): Record<string, string | number> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      'stringValue' in value ? value.stringValue : value.intValue,
    ]),
  )
}

function ask(
  port: number,
  method: string,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}${path}`, { method, ...init })
}

async function untilWaiting(port: number, count: number): Promise<void> {
  for (;;) {
    const metrics = await (await ask(port, 'GET', '/metrics')).text()
    if (metrics.includes(`token_orchestrator_waiters{pool="llm"} ${count}`)) return
  }
}

suite('traces', () => {
  test('tell of each request its route, pool, status and code, and no secret', async () => {
    using collector = await Collector.start()
    const env = { ...collector.env, OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' }
    const secrets = Object.values(SECRETS)
    {
      await using server = await startServe([], { env })
      const { port } = server
      const traceparent = `00-${TRACE}-${PARENT}-01`
      await ask(port, 'PUT', '/v1/pools/llm', json('{"keyLifetimeMs": null}'))
      const keys = JSON.stringify({ keys: [{ value: SECRETS.value }] })
      await ask(port, 'POST', '/v1/pools/llm/keys', json(keys))
      const leased = await ask(port, 'POST', '/v1/pools/llm/leases', { headers: { traceparent } })
      const { leaseId, keyId } = (await leased.json()) as { leaseId: string; keyId: string }
      await ask(port, 'POST', '/v1/pools/llm/leases')
      await ask(port, 'GET', `/v1/pools/llm/leases/${leaseId}`)
      await ask(port, 'GET', `/v1/pools/${SECRETS.value}`)
      await ask(port, 'GET', `/nowhere/${keyId}?value=${SECRETS.value}`, {
        headers: { authorization: SECRETS.token },
      })
      await ask(port, 'GET', '/keys')
      const hungUp = request({
        port,
        method: 'POST',
        path: '/v1/pools/llm/leases',
        headers: { 'content-type': 'application/json' },
      })
      hungUp.end('{"waitMs": 60000}').on('error', () => undefined)
      await untilWaiting(port, 1)
      hungUp.destroy()
      await untilWaiting(port, 0)
      secrets.push(keyId, leaseId)
      server.command.kill('SIGTERM')
      assert.equal(await server.command.code, 0)
    }
    const spans = collector.spans
      .filter(({ name }) => name !== 'GET /metrics')
      .sort((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)))
    const said = spans.map(({ name, attributes }) => {
      const {
        'http.route': route,
        'http.request.method': method,
        'http.response.status_code': status,
        'token_orchestrator.pool': pool,
        'token_orchestrator.code': code,
        ...others
      } = read(attributes)
      assert.deepEqual(others, {})
      assert.equal(name, route === undefined ? method : `${method!} ${route}`)
      return [name, pool, status, code]
    })
    assert.deepEqual(said, [
      ['PUT /v1/pools/:pool', 'llm', 201, undefined],
      ['POST /v1/pools/:pool/keys', 'llm', 201, undefined],
      ['POST /v1/pools/:pool/leases', 'llm', 201, undefined],
      ['POST /v1/pools/:pool/leases', 'llm', 429, 'pool_exhausted'],
      ['GET /v1/pools/:pool/leases/:leaseId', 'llm', 200, undefined],
      ['GET /v1/pools/:pool', undefined, 404, 'pool_not_found'],
      ['GET', undefined, 404, 'route_not_found'],
      ['GET /keys', undefined, 404, undefined],
      ['POST /v1/pools/:pool/leases', 'llm', undefined, undefined],
    ])
    for (const { kind, startTimeUnixNano, endTimeUnixNano } of spans) {
      assert.equal(kind, 2, 'the side of the server')
      assert(BigInt(endTimeUnixNano) >= BigInt(startTimeUnixNano))
      assert(Math.abs(Number(BigInt(startTimeUnixNano) / 1_000_000n) - Date.now()) < 600_000)
    }
    const [, , followed, own] = spans
    assert.deepEqual([followed!.traceId, followed!.parentSpanId], [TRACE, PARENT])
    assert.notEqual(own!.traceId, TRACE)
    const resource = read(collector.resources[0]!.resource.attributes)
    assert.equal(resource['service.name'], 'token-orchestrator')
    assert.equal(resource['deployment.environment.name'], 'test')
    const all = collector.received.join()
    for (const secret of secrets) assert(!all.includes(secret))
  })

  test('are as many as the sampler says, and named as the environment says', async () => {
    using collector = await Collector.start()
    const env = {
      ...collector.env,
      OTEL_SERVICE_NAME: 'keys-of-ours',
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-key=abc',
    }
    {
      await using server = await startServe([], { env })
      await ask(server.port, 'GET', '/healthz')
      await ask(server.port, 'GET', '/readyz', {
        headers: { traceparent: `00-${TRACE}-${PARENT}-01` },
      })
      server.command.kill('SIGTERM')
      assert.equal(await server.command.code, 0)
    }
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ['GET /readyz'],
    )
    assert.equal(read(collector.resources[0]!.resource.attributes)['service.name'], 'keys-of-ours')
    assert.equal(collector.headers[0]!['x-collector-key'], 'abc')
  })

  test('that nobody takes stop neither the work nor the end', async () => {
    using collector = await Collector.start()
    collector.status = 400
    await using server = await startServe([], { env: collector.env })
    assert.equal((await ask(server.port, 'POST', '/keys')).status, 201)
    server.command.kill('SIGTERM')
    assert.equal(await server.command.code, 0)
    assert.equal(collector.received.length, 1)
    assert.match(server.command.stdout, /the last traces were not delivered/)
  })

  test('are sent by nobody whom nobody asks to', async () => {
    using collector = await Collector.start()
    for (const off of [{ OTEL_SDK_DISABLED: 'true' }, { OTEL_TRACES_EXPORTER: 'none' }]) {
      await using server = await startServe([], { env: { ...collector.env, ...off } })
      await ask(server.port, 'GET', '/healthz')
      server.command.kill('SIGTERM')
      assert.equal(await server.command.code, 0)
    }
    assert.deepEqual(collector.received, [])
  })

  test('that cannot be sent as asked are refused before the start', async () => {
    for (const [variable, value, expected] of [
      ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc', /sent by http\/json, not by grpc/],
      ['OTEL_TRACES_SAMPLER', 'jaeger_remote', /OTEL_TRACES_SAMPLER must be one of always_on, /],
      ['OTEL_TRACES_SAMPLER_ARG', '2', /OTEL_TRACES_SAMPLER_ARG must be a share from 0 to 1/],
    ] as const) {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', [variable]: value }
      const { code, stderr } = await runCli(['serve', '--memory', '--port', '0'], env)
      assert.equal(code, 2)
      assert.match(stderr, expected)
    }
  })
})
