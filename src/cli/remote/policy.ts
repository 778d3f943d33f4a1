/** Policies as people write them: `--lease-ttl 5m`, and the same in a file. */
import { ConfigError } from '../config-error.ts'
import { durationMs } from '../config.ts'
import { DEFAULT_POLICY, type Policy } from '../../engine/policy.ts'
import type { Call } from './command.ts'
import type { Flag } from '../flags.ts'
import { suggestion } from '../suggest.ts'

type Field = keyof Policy

const HELP: Record<Field, string> = {
  keyLifetimeMs: 'life of a key from its creation or last keep-alive, or never',
  leaseTtlMs: 'how long a lease lasts that says nothing else',
  maxLeaseTtlMs: 'the longest that may be asked for',
  maxLeaseTotalMs: 'the longest that renewals can stretch a lease, or never',
  cooldownMs: 'rest of a key after a clean release',
  expiredLeaseCooldownMs: 'rest after a lease that expired or was revoked',
  failureCooldownMs: 'rest after a failure, doubled with each in a row',
  maxFailureCooldownMs: 'the longest of those',
  maxKeys: 'keys that the pool may hold',
  shards: 'parts that Redis keeps its keys in, fixed when the pool is made',
}
const NULLABLE: readonly Field[] = ['keyLifetimeMs', 'maxLeaseTotalMs']
/** Numbers, not durations. */
const COUNTS: readonly Field[] = ['maxKeys', 'shards']

export const POLICY_FIELDS = Object.keys(DEFAULT_POLICY) as Field[]

export const POLICY_FLAGS: Record<string, Flag> = Object.fromEntries(
  POLICY_FIELDS.map((field) => [
    flagOf(field),
    { placeholder: COUNTS.includes(field) ? 'NUMBER' : 'DURATION', help: HELP[field] },
  ]),
)

/** leaseTtlMs -> lease-ttl */
function flagOf(field: Field): string {
  return field.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** What the flags of a command say of a policy. */
export function policyFrom({ text }: Call): Partial<Policy> {
  const given = POLICY_FIELDS.flatMap((field) => {
    const value = text(flagOf(field))
    return value === undefined ? [] : [[field, readField(field, value, `--${flagOf(field)}`)]]
  })
  return Object.fromEntries(given) as Partial<Policy>
}

/** A policy in a file. @param place names it in errors. */
export function readPolicy(fields: object, place: string): Partial<Policy> {
  const read = Object.entries(fields).map(([name, value]) => {
    if (!POLICY_FIELDS.some((field) => field === name))
      throw new ConfigError(`${place} has no "${name}"${suggestion(name, POLICY_FIELDS)}`)
    return [name, readField(name as Field, value, `${place}: ${name}`)]
  })
  return Object.fromEntries(read) as Partial<Policy>
}

/** As the server wants it, which checks ranges. */
function readField(field: Field, value: unknown, place: string): number | null {
  const isNullable = NULLABLE.includes(field)
  const isCount = COUNTS.includes(field)
  if (isNullable && (value === null || value === 'never')) return null
  if (typeof value === 'number' && Number.isInteger(value)) return value
  const text = typeof value === 'string' ? value : ''
  const number = /^\d{1,15}$/.test(text) && (isCount || text === '0') ? Number(text) : undefined
  const read = number ?? (isCount ? undefined : durationMs(text))
  if (read !== undefined) return read
  const never = isNullable ? ', or never' : ''
  const must = isCount ? 'a whole number' : `a duration like 500ms, 60s, 5m or 1h${never}`
  throw new ConfigError(`${place} must be ${must}, not ${JSON.stringify(value)}`)
}

/** The same the other way: the longest unit that a duration is a whole number of. */
export function policyText(field: Field, value: number | null): string {
  if (value === null) return 'never'
  if (COUNTS.includes(field) || value === 0) return String(value)
  const units: [number, string][] = [
    [3_600_000, 'h'],
    [60_000, 'm'],
    [1000, 's'],
  ]
  const [unitMs, unit] = units.find(([unitMs]) => value % unitMs === 0) ?? [1, 'ms']
  return `${value / unitMs}${unit}`
}
