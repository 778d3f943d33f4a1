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

/** The scopes, and those that they have with them. */
export function withImplied(scopes: readonly Scope[]): ReadonlySet<Scope> {
  const all = new Set(scopes.includes('admin') ? SCOPES : scopes)
  if (all.has('leases:admin')) all.add('leases')
  return all
}
