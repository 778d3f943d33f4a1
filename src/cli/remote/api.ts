/** A running server, as the commands ask it. */
import { ConfigError } from '../../config.ts'
import { readToken } from '../files.ts'

const DEFAULT_URL = 'http://127.0.0.1:3000'
const PAGE = 1000

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

interface Problem {
  title?: string
  code?: string
  detail?: string
}

/** What to do at the command line, in place of what the server would say to a program. */
const HINTS: Record<string, string> = {
  access_token_required: 'Name a file with --token-file, or set TOKEN_ORCHESTRATOR_TOKEN.',
  access_token_invalid: 'Ask whoever runs the server for a new one.',
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
  readonly #url: string
  readonly #token: string | undefined

  private constructor(url: string, token: string | undefined) {
    this.#url = url
    this.#token = token
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

  get url(): string {
    return new URL(this.#url).origin
  }

  /** @throws ApiError where the server refuses, or none answers. */
  async ask<T>(method: string, path: string, body?: object): Promise<T> {
    const { status, answer } = await this.#send(method, path, body)
    if (status < 400) return answer as T
    throw refusal(status, answer as Problem)
  }

  /** What /readyz says, which is an answer where it is no too. */
  async readiness(): Promise<string> {
    const { answer } = await this.#send('GET', '/readyz')
    return (answer as { status: string }).status
  }

  async #send(
    method: string,
    path: string,
    body?: object,
  ): Promise<{ status: number; answer: unknown }> {
    const url = new URL(path, this.#url)
    const headers: Record<string, string> = {}
    if (this.#token !== undefined) headers.authorization = `Bearer ${this.#token}`
    if (body !== undefined) headers['content-type'] = 'application/json'
    let status, text
    try {
      const content = body === undefined ? null : JSON.stringify(body)
      const response = await fetch(url, { method, headers, body: content, redirect: 'error' })
      status = response.status
      text = await response.text()
    } catch (error) {
      const { cause } = error as Error
      const why = cause instanceof Error && cause.message !== '' ? cause.message : String(error)
      throw new ApiError('unreachable', `no server answers at ${url.origin}: ${why}`)
    }
    const answer = parse(text)
    if (answer !== undefined) return { status, answer }
    throw new ApiError('not_ours', `${url.origin} is no Token Orchestrator: it answers ${status}`)
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
      const url = new URL(path, this.#url)
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

/** An empty answer is an empty object; undefined: it is no JSON. */
function parse(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function refusal(status: number, { title, code = '', detail = '' }: Problem): ApiError {
  const advice = Object.hasOwn(HINTS, code) ? HINTS[code]! : detail
  return new ApiError(
    code,
    `${title ?? `The server answers ${status}.`} ${advice}`.trimEnd(),
    detail,
  )
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
