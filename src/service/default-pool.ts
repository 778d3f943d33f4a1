import { ERRORS } from '../engine/errors.ts'
import { DEFAULT_POLICY, type Policy } from '../engine/policy.ts'
import { type Store, StoreFailure } from '../store/store.ts'

/** The pool of the classic API, which is always there. */
export const DEFAULT_POOL = 'default'

/** Sees to it that it is there, with what is given of its policy, which goes before what it was. */
export async function putDefaultPool(store: Store, given: Partial<Policy>): Promise<void> {
  const before = await store.policy(DEFAULT_POOL)
  if (before !== undefined && Object.keys(given).length === 0) return
  const policy = { ...DEFAULT_POLICY, ...before, ...given }
  const maxLeaseTtlMs = Math.max(policy.leaseTtlMs, policy.maxLeaseTtlMs)
  const wanted = { ...policy, maxLeaseTtlMs }
  if (before !== undefined && isSame(before, wanted)) return
  const put = await store.putPool(DEFAULT_POOL, wanted)
  if (typeof put === 'string') return
  if (put.code === 'storage_full') throw new StoreFailure('storage_full')
  throw new Error(`the default pool cannot be made: ${put.detail ?? ERRORS[put.code].title}`)
}

function isSame(a: Policy, b: Policy): boolean {
  return (Object.keys(b) as (keyof Policy)[]).every((field) => a[field] === b[field])
}
