/** Traces by OpenTelemetry, where its variables in the environment ask for them. */
import type { Sampler, TracerProvider } from '@opentelemetry/sdk-trace'
import { ConfigError } from './config-error.ts'
import type { TracedRequest } from '../http/tracing.ts'
import type { Log } from '../log.ts'
import { version } from '../version.ts'

const SERVICE = 'token-orchestrator'
const PROTOCOL = 'http/json'
/** Loaded only where they are needed, so that nobody else has to install them. */
const PACKAGES = ['api', 'core', 'resources', 'sdk-trace', 'exporter-trace-otlp-http']
const SERVER_ERROR = 500

export interface Tracing {
  trace: (request: TracedRequest) => void
  /** Sends what has not been sent, or gives up after the exporter's timeout. */
  stop: () => Promise<void>
}

/** Null: nobody asks for traces. @throws ConfigError where what is asked for cannot be done. */
export async function startTracing(env: NodeJS.ProcessEnv, log: Log): Promise<Tracing | null> {
  if (!isAskedFor(env)) return null
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL ?? env.OTEL_EXPORTER_OTLP_PROTOCOL ?? ''
  if (protocol !== '' && protocol !== PROTOCOL) {
    throw new ConfigError(
      `traces are sent by ${PROTOCOL}, not by ${protocol}: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=${PROTOCOL}, ` +
        'and as the endpoint the port of your collector that takes it, 4318 as a rule.',
    )
  }
  const packages = await loadPackages()
  const { api, resources, sdk, exporter } = packages
  const sampler = samplerOf(packages, env)
  const tell = (message: string): void => {
    log.warn('OpenTelemetry', { message })
  }
  const logger = { error: tell, warn: tell, info: tell, debug: tell, verbose: tell }
  api.diag.setLogger(logger, { logLevel: api.DiagLogLevel.WARN })
  const named = { 'service.name': SERVICE, 'service.version': version() }
  const provider = new sdk.TracerProvider({
    resource: resources
      .defaultResource()
      .merge(resources.resourceFromAttributes(named))
      .merge(resources.detectResources({ detectors: [resources.envDetector] })),
    sampler,
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new exporter.OTLPTraceExporter() })],
  })
  log.info('traces are sent', { protocol: PROTOCOL })
  const stop = async (): Promise<void> => {
    try {
      await provider.shutdown()
    } catch (error) {
      tell(`the last traces were not delivered: ${(error as Error).message}`)
    }
  }
  return { trace: spanMaker(packages, provider), stop }
}

function isAskedFor(env: NodeJS.ProcessEnv): boolean {
  const endpoints = [env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, env.OTEL_EXPORTER_OTLP_ENDPOINT]
  const isOff = env.OTEL_SDK_DISABLED === 'true' || env.OTEL_TRACES_EXPORTER === 'none'
  return !isOff && endpoints.some((endpoint = '') => endpoint !== '')
}

async function loadPackages() {
  try {
    const [api, core, resources, sdk, exporter] = await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/core'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/sdk-trace'),
      import('@opentelemetry/exporter-trace-otlp-http'),
    ])
    return { api, core, resources, sdk, exporter }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    const names = PACKAGES.map((name) => `@opentelemetry/${name}`)
    throw new ConfigError(
      'OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which take packages that are not there. ' +
        `Install them beside token-orchestrator: npm install ${names.join(' ')}`,
    )
  }
}

type Packages = Awaited<ReturnType<typeof loadPackages>>

/** As OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say; where they say nothing, every request. */
function samplerOf({ sdk }: Packages, env: NodeJS.ProcessEnv): Sampler {
  const name = env.OTEL_TRACES_SAMPLER ?? 'parentbased_always_on'
  const share = Number(env.OTEL_TRACES_SAMPLER_ARG ?? '1')
  const samplers: Record<string, () => Sampler> = {
    always_on: () => new sdk.AlwaysOnSampler(),
    always_off: () => new sdk.AlwaysOffSampler(),
    traceidratio: () => new sdk.TraceIdRatioBasedSampler(share),
  }
  for (const [root, make] of Object.entries({ ...samplers }))
    samplers[`parentbased_${root}`] = () => new sdk.ParentBasedSampler({ root: make() })
  if (!Object.hasOwn(samplers, name))
    throw new ConfigError(`OTEL_TRACES_SAMPLER must be one of ${Object.keys(samplers).join(', ')}.`)
  if (!(share >= 0 && share <= 1))
    throw new ConfigError('OTEL_TRACES_SAMPLER_ARG must be a share from 0 to 1.')
  return samplers[name]!()
}

/** A span tells of route, pool and outcome: never of a path as it was asked for, which may hold a secret. */
function spanMaker({ api, core }: Packages, provider: TracerProvider): Tracing['trace'] {
  const tracer = provider.getTracer(SERVICE, version())
  return ({ method, route, pool, status, code, startedAt, endedAt, traceparent }) => {
    const parent = traceparent === undefined ? null : core.parseTraceParent(traceparent)
    const context =
      parent === null
        ? api.ROOT_CONTEXT
        : api.trace.setSpanContext(api.ROOT_CONTEXT, { ...parent, isRemote: true })
    const attributes = {
      'http.request.method': method,
      ...(route === undefined ? {} : { 'http.route': route }),
      ...(status === null ? {} : { 'http.response.status_code': status }),
      ...(pool === null ? {} : { 'token_orchestrator.pool': pool }),
      ...(code === null ? {} : { 'token_orchestrator.code': code }),
    }
    const name = route === undefined ? method : `${method} ${route}`
    const kind = api.SpanKind.SERVER
    const span = tracer.startSpan(name, { kind, attributes, startTime: startedAt }, context)
    if (status !== null && status >= SERVER_ERROR)
      span.setStatus({ code: api.SpanStatusCode.ERROR })
    span.end(endedAt)
  }
}
