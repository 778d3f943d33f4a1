/** What operators ask, not clients. */
import type { Route } from './common.ts'

export const operational = {
  health: {
    method: 'GET',
    url: '/healthz',
    scopes: null,
    schema: { summary: 'Whether the process lives' },
  },
  readiness: {
    method: 'GET',
    url: '/readyz',
    scopes: null,
    schema: { summary: 'Whether the server takes work' },
  },
  metrics: {
    method: 'GET',
    url: '/metrics',
    scopes: ['metrics'],
    schema: { summary: "Figures in Prometheus' format" },
  },
  backup: {
    method: 'GET',
    url: '/v1/backup',
    scopes: ['admin'],
    schema: { summary: 'A copy of all that is saved' },
  },
} as const satisfies Record<string, Route>
