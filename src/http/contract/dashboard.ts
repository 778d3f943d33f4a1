/** A page for people. It holds nothing: what it shows it asks of the API, with its reader's access token. */
import { Type } from 'typebox'
import type { Route } from './common.ts'

export const dashboard = {
  page: {
    method: 'GET',
    url: '/dashboard',
    scopes: null,
    errors: [],
    produces: 'text/html',
    schema: {
      summary: 'Pools and keys, to look at and to act on',
      response: { 200: Type.String() },
    },
  },
  pageFile: {
    method: 'GET',
    url: '/dashboard/:file',
    scopes: null,
    errors: ['route_not_found'],
    produces: '*/*',
    schema: {
      summary: 'What the dashboard is made of',
      params: Type.Object({ file: Type.String({ examples: ['main.js', 'style.css'] }) }),
      response: { 200: Type.String() },
    },
  },
} as const satisfies Record<string, Route>
