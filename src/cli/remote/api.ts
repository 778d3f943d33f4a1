/** A running server, as the commands ask it. */
import { type Problem, ProblemError, UnreachableError } from '../../client/errors.ts'
import { type Answer, type Asking, Transport } from '../../client/transport.ts'
import { ConfigError } from '../config-error.ts'
import { readToken } from '../files.ts'

const DEFAULT_URL = 'http://127.0.0.1:3000'
const PAGE = 1000
/** A page of keys or a thousand new ones may take a slow server long, and a person can press Ctrl-C. */
const REQUEST_TIMEOUT_MS = 300_000

/** What a server said no with, in words for the command line. */
export class ApiError extends Error {
  readonly code: string
  /** Of the answer: it may name a place in what was asked. */
  readonly detail: string

  constructor(code: string, message: string, detail = '') {
    super(message)
    this.code = code
    this.detail = detail
  }
}

/** What to do at the command line, in place of what the server would say to a program. */
const HINTS: Record<string, string> = {
  access_token_required: 'Name a file with --token-file, or set TOKEN_ORCHESTRATOR_TOKEN.',
  pool_not_found: 'Make it by pools create, or correct its name.',
  pool_not_empty: 'Say --force to delete its keys too.',
}

/** Where the server is, and the token to show it. @throws ConfigError where one of them is none. */
export function serverOf(
  flag: string | undefined,
  tokenFile: string | undefined,
  env: NodeJS.ProcessEnv,
): { url: string; token: string | undefined } {
  const named = env.TOKEN_ORCHESTRATOR_URL === '' ? undefined : env.TOKEN_ORCHESTRATOR_URL
  const url = flag ?? named ?? DEFAULT_URL
  const source = flag === undefined ? 'TOKEN_ORCHESTRATOR_URL' : '--url'
  if (!/^https?:\/\//.test(url) || !URL.canParse(url))
    throw new ConfigError(`${source} must be like ${DEFAULT_URL}, not "${url}"`)
  return { url, token: readToken('--token-file', tokenFile, 'TOKEN_ORCHESTRATOR_TOKEN', env) }
}

export class Api {
  readonly url: string
  readonly #transport: Transport

  private constructor(url: string, token: string | undefined) {
    this.url = new URL(url).origin
    // Nothing is sent twice: whoever is at the command line hears at once what is wrong.
    const options = { url, token, requestTimeoutMs: REQUEST_TIMEOUT_MS, retryForMs: 0 }
    this.#transport = new Transport(options)
  }

  /** @throws ConfigError where the URL or the token is none. */
  static open(
    flag: string | undefined,
    tokenFile: string | undefined,
    env: NodeJS.ProcessEnv,
  ): Api {
    const { url, token } = serverOf(flag, tokenFile, env)
    return new Api(url, token)
  }

  /** @throws ApiError where the server refuses, or none answers. */
  async ask<T>(method: string, path: string, body?: object): Promise<T> {
    const { body: answer = {} } = await this.#send(method, path, body === undefined ? {} : { body })
    return answer as T
  }

  /** What /readyz says, which is an answer where it is no too. */
  async readiness(): Promise<string> {
    const { body } = await this.#send('GET', '/readyz', { answers: [503] })
    return (body as { status: string }).status
  }

  async #send(method: string, path: string, asking: Asking): Promise<Answer> {
    try {
      return await this.#transport.request(method, path, asking)
    } catch (error) {
      if (error instanceof ProblemError) throw refusal(error.problem)
      if (error instanceof UnreachableError) throw this.#noAnswer(error)
      throw error
    }
  }

  #noAnswer({ status, cause, message }: UnreachableError): ApiError {
    if (status !== null) {
      const said = `${this.url} is no Token Orchestrator: it answers ${status}`
      return new ApiError('not_ours', said)
    }
    // What fetch throws says why in its own cause.
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
    const text = why instanceof Error && why.message !== '' ? why.message : message
    return new ApiError('unreachable', `no server answers at ${this.url}: ${text}`)
  }

  /** What is there, or null where the server says by that code that it is not. */
  async find<T>(path: string, missing: string): Promise<T | null> {
    try {
      return await this.ask<T>('GET', path)
    } catch (error) {
      if (error instanceof ApiError && error.code === missing) return null
      throw error
    }
  }

  /** All that a listing has, a page at a time. `path` may have a query. */
  async *pages<T>(path: string, field: string, limit = Infinity): AsyncGenerator<T[]> {
    let cursor: string | undefined
    let left = limit
    do {
      const url = new URL(path, this.url)
      url.searchParams.set('limit', String(Math.min(PAGE, left)))
      if (cursor !== undefined) url.searchParams.set('cursor', cursor)
      const page: Record<string, unknown> = await this.ask('GET', url.pathname + url.search)
      const items = page[field] as T[]
      cursor = page.nextCursor as string | undefined
      left -= items.length
      yield items
    } while (cursor !== undefined && left > 0)
  }
}

function refusal({ title, code, detail = '' }: Problem): ApiError {
  const advice = Object.hasOwn(HINTS, code) ? HINTS[code]! : detail
  return new ApiError(code, `${title} ${advice}`.trimEnd(), detail)
}

/** A path whose parts come from outside, each of which stays one part. */
export function path(parts: TemplateStringsArray, ...values: string[]): string {
  return parts.reduce((before, part, at) => {
    const value = values[at - 1]!
    // They would be steps along the path.
    if (value === '' || value === '.' || value === '..')
      throw new ConfigError(`"${value}" names nothing`)
    return before + encodeURIComponent(value) + part
  })
}
