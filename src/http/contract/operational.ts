/** What operators and the curious ask: health, figures, a backup, the API's own description. */
import { Type } from 'typebox'
import type { Route } from './common.ts'

const Readiness = Type.Object({
  status: Type.Enum(['ready', 'draining', 'storage_full', 'store_unavailable']),
})

export const operational = {
  health: {
    method: 'GET',
    url: '/healthz',
    scopes: null,
    errors: [],
    schema: {
      summary: 'Whether the process lives',
      response: { 200: Type.Object({ status: Type.Literal('ok') }) },
    },
  },
  readiness: {
    method: 'GET',
    url: '/readyz',
    scopes: null,
    errors: [],
    schema: {
      summary: 'Whether the server takes work',
      response: { 200: Readiness, 503: Readiness },
    },
  },
  metrics: {
    method: 'GET',
    url: '/metrics',
    scopes: ['metrics'],
    essential: true,
    errors: [],
    produces: 'text/plain',
    schema: { summary: "Figures in Prometheus' format", response: { 200: Type.String() } },
  },
  backup: {
    method: 'GET',
    url: '/v1/backup',
    scopes: ['admin'],
    errors: ['not_durable', 'backup_elsewhere', 'storage_full', 'storage_failed'],
    produces: 'application/vnd.sqlite3',
    schema: { summary: 'A copy of all that is saved', response: { 200: Type.String() } },
  },
  document: {
    method: 'GET',
    url: '/openapi.json',
    scopes: null,
    errors: [],
    schema: {
      summary: 'This document',
      response: { 200: Type.Object({ openapi: Type.String() }, { additionalProperties: true }) },
    },
  },
  page: {
    method: 'GET',
    url: '/docs',
    scopes: null,
    errors: [],
    produces: 'text/html',
    schema: { summary: 'This document as a page', response: { 200: Type.String() } },
  },
  pageFile: {
    method: 'GET',
    url: '/docs/:file',
    scopes: null,
    errors: ['route_not_found'],
    produces: '*/*',
    schema: {
      summary: 'What the page is made of',
      params: Type.Object({ file: Type.String({ examples: ['start.js', 'swagger-ui.css'] }) }),
      response: { 200: Type.String() },
    },
  },
} as const satisfies Record<string, Route>
