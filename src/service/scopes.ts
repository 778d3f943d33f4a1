/** What an access token may allow. `admin` has all the others, `leases:admin` has `leases`. */
export const SCOPES = [
  'read',
  'keys:write',
  'pools:write',
  'leases',
  'leases:admin',
  'introspect',
  'metrics',
  'admin',
] as const

export type Scope = (typeof SCOPES)[number]
