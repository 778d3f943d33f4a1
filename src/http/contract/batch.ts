/** Many operations on one pool in one call: the road for hundreds of thousands of leases a second. */
import { Type } from 'typebox'
import { body, KeyId, LeaseId, PoolParams, Problem, type Route } from './common.ts'
import { KeptAlive } from './keys.ts'
import { acquireFields, Lease, Released, releaseFields, renewFields } from './leases.ts'

export const MAX_BATCH_OPERATIONS = 10_000
export const MAX_BATCH_LEASES = 10_000
const MAX_BATCH_BYTES = 8 * 2 ** 20

const Acquire = body(
  {
    op: Type.Literal('acquire'),
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BATCH_LEASES })),
    ...acquireFields,
  },
  { title: 'AcquireOperation' },
)
const Renew = body(
  { op: Type.Literal('renew'), leaseId: LeaseId, ...renewFields },
  { title: 'RenewOperation' },
)
const Release = body(
  { op: Type.Literal('release'), leaseId: LeaseId, ...releaseFields },
  { title: 'ReleaseOperation' },
)
const KeepAlive = body(
  { op: Type.Literal('keepAlive'), keyId: KeyId },
  { title: 'KeepAliveOperation' },
)

export type BatchOperation =
  | Type.Static<typeof Acquire>
  | Type.Static<typeof Renew>
  | Type.Static<typeof Release>
  | Type.Static<typeof KeepAlive>

const BatchBody = body(
  {
    operations: Type.Array(
      Type.Unsafe<BatchOperation>({
        type: 'object',
        required: ['op'],
        discriminator: { propertyName: 'op' },
        oneOf: [Acquire, Renew, Release, KeepAlive],
      }),
      { maxItems: MAX_BATCH_OPERATIONS },
    ),
  },
  { examples: [{ operations: [{ op: 'acquire', count: 2 }] }] },
)

const Done = { status: Type.Literal(200) }

/** What the single route answers, each with its status; of an acquire all the leases that it got. */
const BatchResult = Type.Union([
  Type.Object({ status: Type.Literal(201), leases: Type.Array(Lease) }, { title: 'AcquireResult' }),
  Type.Object({ ...Done, ...Lease.properties }, { title: 'RenewResult' }),
  Type.Object({ ...Done, ...Released.properties }, { title: 'ReleaseResult' }),
  Type.Object({ ...Done, ...KeptAlive.properties }, { title: 'KeepAliveResult' }),
  Problem,
])
const BatchAnswer = Type.Object({ results: Type.Array(BatchResult) })

export const batch = {
  runBatch: {
    method: 'POST',
    url: '/v1/pools/:pool/batch',
    scopes: ['leases', 'keys:write'],
    bodyLimit: MAX_BATCH_BYTES,
    errors: ['pool_not_found'],
    repeatable: true,
    schema: {
      summary: 'Do many things at once',
      params: PoolParams,
      body: BatchBody,
      response: { 200: BatchAnswer },
    },
  },
} as const satisfies Record<string, Route>

export type BatchBody = Type.Static<typeof BatchBody>
