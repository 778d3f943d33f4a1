/** Many operations on one pool in one call: the road for hundreds of thousands of leases a second. */
import { Type } from 'typebox'
import { body, KeyId, LeaseId, PoolParams, type Route } from './common.ts'
import { acquireFields, Lease, Released, releaseFields, renewFields } from './leases.ts'

export const MAX_BATCH_OPERATIONS = 10_000
export const MAX_BATCH_LEASES = 10_000
const MAX_BATCH_BYTES = 8 * 2 ** 20

const Acquire = body({
  op: Type.Literal('acquire'),
  count: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BATCH_LEASES })),
  ...acquireFields,
})
const Renew = body({ op: Type.Literal('renew'), leaseId: LeaseId, ...renewFields })
const Release = body({ op: Type.Literal('release'), leaseId: LeaseId, ...releaseFields })
const KeepAlive = body({ op: Type.Literal('keepAlive'), keyId: KeyId })

export type BatchOperation =
  | Type.Static<typeof Acquire>
  | Type.Static<typeof Renew>
  | Type.Static<typeof Release>
  | Type.Static<typeof KeepAlive>

const BatchBody = body({
  operations: Type.Array(
    Type.Unsafe<BatchOperation>({
      type: 'object',
      required: ['op'],
      discriminator: { propertyName: 'op' },
      oneOf: [Acquire, Renew, Release, KeepAlive],
    }),
    { maxItems: MAX_BATCH_OPERATIONS },
  ),
})

/** What the single route answers, each with its status; of an acquire all the leases that it got. */
const BatchResult = Type.Object(
  {
    status: Type.Integer(),
    leases: Type.Optional(Type.Array(Lease)),
    ...Type.Partial(Lease).properties,
    ...Type.Partial(Released).properties,
    code: Type.Optional(Type.String({ description: 'of a problem' })),
  },
  { additionalProperties: true },
)

export const batch = {
  runBatch: {
    method: 'POST',
    url: '/v1/pools/:pool/batch',
    scopes: ['leases', 'keys:write'],
    bodyLimit: MAX_BATCH_BYTES,
    schema: { summary: 'Do many things at once', params: PoolParams, body: BatchBody },
  },
} as const satisfies Record<string, Route>

/** For the documents only: the answer is written straight as text. */
export const BatchAnswer = Type.Object({ results: Type.Array(BatchResult) })

export type BatchBody = Type.Static<typeof BatchBody>
