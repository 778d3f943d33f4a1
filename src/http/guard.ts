/**
 * Open mode: without access tokens the server trusts whoever is on this machine, and nobody else. A web
 * page or a proxy must not get in by accident, so that what only they would send is refused.
 */
import type { IncomingMessage } from 'node:http'

const LOOPBACK_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i
const FORWARDING = new Set(['forwarded', 'via', 'x-real-ip'])

/** What is wrong with the request, for its sender; null if nothing is. */
export function whyNotLocal(request: IncomingMessage, scheme: 'http' | 'https'): string | null {
  const { headers, url } = request
  const { host, origin } = headers
  if (host === undefined || !LOOPBACK_HOST.test(host)) {
    return 'The Host header must be localhost or a loopback address.'
  }
  // A target in absolute form goes before the header (RFC 9112, 3.2.2).
  if (!url!.startsWith('/') && !url!.startsWith(`${scheme}://${host}/`)) {
    return 'The request target names another host.'
  }
  if (origin !== undefined && origin !== `${scheme}://${host}`) {
    return 'The Origin header names another site.'
  }
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') {
    return 'The Sec-Fetch-Site header says that another site asks.'
  }
  for (const name in headers) {
    if (name.startsWith('x-forwarded-') || FORWARDING.has(name)) {
      return `The ${name} header says that the request was forwarded.`
    }
  }
  return null
}
