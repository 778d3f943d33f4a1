/** The public API, as this page asks it. */

/** Gone with the tab; a token is never kept for longer. */
const STORED_AS = 'access-token'
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 15_000

/** What the API refused, in its own words. */
export class Refused extends Error {
  constructor({ status, code, title, detail }) {
    super([title, detail].filter(Boolean).join(' '))
    this.status = status
    this.code = code
  }
}

export function isSignedIn() {
  return sessionStorage.getItem(STORED_AS) !== null
}

/** Null: without a token from now on. */
export function signIn(token) {
  if (token === null) sessionStorage.removeItem(STORED_AS)
  else sessionStorage.setItem(STORED_AS, token)
}

/** How far the server's clock is ahead of this one, where that is more than what the header rounds off. */
let aheadMs = 0

export function serverNow() {
  return Date.now() + aheadMs
}

/** The answer's body. @throws Refused, or what `fetch` throws where nobody answers */
export async function ask(method, path, { body, signal } = {}) {
  const headers = introduction()
  if (body !== undefined) headers['content-type'] = 'application/json'
  const response = await fetch(path, { method, headers, signal, body: JSON.stringify(body) })
  const ahead = Date.parse(response.headers.get('date')) - Date.now()
  aheadMs = Math.abs(ahead) > 2000 ? ahead : 0
  if (!response.ok) throw await refusal(response)
  return response.status === 204 ? null : response.json()
}

export function poolPath(name) {
  return `/v1/pools/${encodeURIComponent(name)}`
}

/**
 * Tells what happens until the signal: what the API tells, and `open` and `lost` of the connection, which is
 * taken up again by itself.
 * @throws Refused where it makes no sense to try again
 */
export async function listen(query, signal, heard) {
  for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted;) {
    try {
      const response = await fetch(`/v1/events?${query}`, { headers: introduction(), signal })
      if (!response.ok) throw await refusal(response)
      pauseMs = FIRST_PAUSE_MS
      heard('open', {})
      await read(response.body, heard)
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof Refused && [401, 403, 404].includes(error.status)) throw error
    }
    if (signal.aborted) return
    heard('lost', {})
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
    pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)
  }
}

/** EventSource could not send the token. */
async function read(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = ''; ;) {
    const { done, value } = await reader.read()
    if (done) return
    const blocks = (rest + value).split('\n\n')
    rest = blocks.pop()
    for (const block of blocks) {
      const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? []
      if (event !== undefined) heard(event, JSON.parse(data))
    }
  }
}

function introduction() {
  const token = sessionStorage.getItem(STORED_AS)
  return token === null ? {} : { authorization: `Bearer ${token}` }
}

async function refusal(response) {
  const { status } = response
  const text = await response.text()
  try {
    return new Refused({ status, ...JSON.parse(text) })
  } catch {
    return new Refused({ status, title: `The server answers ${status}.` })
  }
}
