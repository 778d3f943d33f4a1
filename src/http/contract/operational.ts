/** What operators and the curious ask: health, figures, a backup, the API's own description. */
import { Type } from 'typebox'
import type { Route } from './common.ts'

const Readiness = Type.Object({ status: Type.Enum(['ready', 'draining', 'storage_full']) })

export const operational = {
  showHealth: {
    method: 'GET',
    url: '/healthz',
    scopes: [],
    errors: [],
    schema: {
      summary: 'Whether the process lives',
      response: { 200: Type.Object({ status: Type.Literal('ok') }) },
    },
  },
  showReadiness: {
    method: 'GET',
    url: '/readyz',
    scopes: [],
    errors: [],
    schema: {
      summary: 'Whether to send it work',
      response: { 200: Readiness, 503: Readiness },
    },
  },
  readMetrics: {
    method: 'GET',
    url: '/metrics',
    scopes: ['metrics'],
    errors: [],
    produces: 'text/plain',
    schema: { summary: 'Figures for Prometheus', response: { 200: Type.String() } },
  },
  backUp: {
    method: 'GET',
    url: '/v1/backup',
    scopes: ['admin'],
    errors: ['not_durable', 'storage_full', 'storage_failed'],
    produces: 'application/vnd.sqlite3',
    schema: { summary: 'A consistent copy of all that is saved', response: { 200: Type.String() } },
  },
  showDocument: {
    method: 'GET',
    url: '/openapi.json',
    scopes: [],
    errors: [],
    schema: {
      summary: 'This document',
      response: { 200: Type.Object({ openapi: Type.String() }, { additionalProperties: true }) },
    },
  },
  showPage: {
    method: 'GET',
    url: '/docs',
    scopes: [],
    errors: [],
    produces: 'text/html',
    schema: { summary: 'This document as a page', response: { 200: Type.String() } },
  },
  showPageFile: {
    method: 'GET',
    url: '/docs/:file',
    scopes: [],
    errors: ['route_not_found'],
    produces: '*/*',
    schema: {
      summary: 'What the page is made of',
      params: Type.Object({ file: Type.String({ examples: ['start.js', 'swagger-ui.css'] }) }),
      response: { 200: Type.String() },
    },
  },
} as const satisfies Record<string, Route>
